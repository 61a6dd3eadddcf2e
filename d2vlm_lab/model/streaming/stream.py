"""A video that is read while it runs: each frame goes through the tower and the language model once, in blocks.

This gives the same as reading the whole video at once, because a frame never depends on later blocks
(`method.frame_block`):

    frames come                0 1 2 3 4 5 6 7 8 9 ...
    read in blocks of 4       [0 1 2 3][4 5 6 7]            keys and values are kept, and bounded by a `Memory`
    a question asked now                       8 9 | when does it spin?

A question branches off what is kept. The frames of a block that is not complete yet (8 and 9) are read for this
question only, which sees everything up to now, as if the video ended here.

A tower may look at the neighbours of a frame, as the tower of the laptop preset looks at two on either side. Then a
block is read once these neighbours have come, or the stream has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from ...data.batch import encode_start, frame_layout
from ...data.clock import draw_times
from ...data.live.sources import TimedFrame
from ...errors import LabError
from ..backbone import family, position_limit
from ..d2vlm import D2VLM, evaluation
from ..layout import frames_look, lay_out, pool_frames
from ..mrope import has_three_parts
from ..passes import HEAD_LAYER, causal, decode
from .memory import Kept, Memory, branch, forget


@dataclass(frozen=True)
class Block:
    """Frames that have just been read."""

    index: Tensor  # (F,) their numbers in the stream
    seconds: Tensor  # (F,) when they were shown
    states: Tensor  # (F, D) what the frame head reads


class Stream:
    """Reads frames as they come."""

    def __init__(self, model: D2VLM, memory: Memory | None = None):
        self.block = check_streams(model)  # how many frames are read at a time
        self.model, self.memory, self.around = model, memory or Memory(), model.frames.around
        self.kept = start(model)
        self.read: list[TimedFrame] = []  # the last frames that were read, prepared
        self.waiting: list[TimedFrame] = []

    @property
    def newest(self) -> TimedFrame | None:
        """The frame that came last, prepared; None before the first one."""
        frames = self.waiting or self.read
        return frames[-1] if frames else None

    def add(self, frame: TimedFrame) -> Block | None:
        """Take a frame. If a block can be read now, read it and return it.

        A frame of another size than earlier frames is stretched to their size.
        """
        preparation = self.model.frames.preparation
        pixels = preparation.frames(frame.pixels[None])
        if self.newest is not None and self.newest.pixels.shape != pixels.shape[1:]:
            pixels = replace(preparation, resize=self.newest.pixels.shape[:2], crop=None).frames(frame.pixels[None])
        if preparation.clock:
            pixels = pixels.copy()
            draw_times(pixels, np.array([frame.seconds]))
        self.waiting.append(replace(frame, pixels=pixels[0]))
        return self._read(self.block) if len(self.waiting) >= self.block + self.around else None

    def end(self) -> list[Block]:
        """No frame follows: what is still waiting is read, block by block."""
        blocks = []
        while self.waiting:
            blocks.append(self._read(min(self.block, len(self.waiting))))
        return blocks

    def so_far(self) -> Kept:
        """What is kept, followed by the frames that are waiting, read as if the video ended here."""
        return self._extended(len(self.waiting)) if self.waiting else self.kept

    def _read(self, n: int) -> Block:
        whole = self._extended(n)
        self.kept = forget(whole, self.memory)
        self.read = [*self.read, *self.waiting[:n]][-max(1, self.around):]
        self.waiting = self.waiting[n:]
        return Block(whole.index[-n:], whole.seconds[-n:], whole.states[-n:])

    @torch.no_grad()
    def _extended(self, n: int) -> Kept:
        """What is kept, followed by the first `n` waiting frames."""
        before = self.read[len(self.read) - self.around:] if self.around else []
        after = self.waiting[n:n + self.around]
        window = torch.from_numpy(np.stack([each.pixels for each in (*before, *self.waiting[:n], *after)]))
        with evaluation(self.model):
            features = self.model.frames.encode(window.to(self.model.device), len(before), len(after))
            return extended(self.model, self.kept, features, self.waiting[:n])


@torch.no_grad()
def start(model: D2VLM) -> Kept:
    """What is kept before the first frame: the start of the prompt."""
    ids = torch.tensor([encode_start(model.tokenizer, model.prompt)], dtype=torch.long, device=model.device)
    none, states = ids.new_zeros(0), model.embed_words(ids.new_zeros(0))
    kept = Kept(cache=DynamicCache(), position_ids=ids[:, :0], next_position=0, frame=none, projected=states,
                meaning=states, states=states, seconds=none.double(), index=none, weight=none.float(),
                seen=ids.shape[1] if model.method.answer_view == "evidence" else None)
    if ids.shape[1] == 0:
        return kept
    attend = causal(torch.ones_like(ids, dtype=torch.bool))
    with evaluation(model):
        return replace(read_tokens(model, kept, model.embed_words(ids), attend)[0], frame=torch.full_like(ids[0], -1))


def extended(model: D2VLM, kept: Kept, features: Tensor, frames: Sequence[TimedFrame]) -> Kept:
    """What is kept, followed by further frames, which begin a block and may be several blocks."""
    seconds, per_frame = np.array([frame.seconds for frame in frames]), model.frames.tokens_per_frame
    layout = None
    if model.prompt.around_frame:
        layout = [frame_layout(seconds, model.tokenizer, model.prompt).to(model.device)]
    tokens = model.frames.project_batch([features], [None])
    if model.time_embedding is not None:
        tokens = [model.time_embedding.add(tokens[0], torch.from_numpy(seconds).to(tokens[0].device))]
    rows = lay_out(tokens, layout, per_frame, model.embed_words)
    attend = causal(rows.mask, torch.ones_like(kept.position_ids, dtype=torch.bool))
    if model.method.bidirectional_frames:
        attend[..., -rows.mask.shape[1]:] |= frames_look(rows.is_frame, per_frame, model.method.frame_block)
    embeddings = rows.embeddings.to(model.embed_words(kept.frame[:0]).dtype)
    kept, layers = read_tokens(model, kept, embeddings, attend)

    def behind(states: Tensor, layer: Tensor) -> Tensor:
        return torch.cat([states, pool_frames(layer, rows.columns)[0]])

    count, owner = torch.arange(len(frames), device=model.device), len(kept.index) + rows.owner[0]
    return replace(
        kept, frame=torch.cat([kept.frame, owner]), projected=behind(kept.projected, embeddings),
        meaning=behind(kept.meaning, layers[model.method.semantic_layer]),
        states=behind(kept.states, layers[HEAD_LAYER]), weight=torch.cat([kept.weight, torch.ones_like(count).float()]),
        seconds=torch.cat([kept.seconds, torch.from_numpy(seconds).to(kept.seconds)]),
        index=torch.cat([kept.index, count.new_tensor([frame.index for frame in frames])]))


def read_tokens(model: D2VLM, kept: Kept, embeddings: Tensor, attend: Tensor) -> tuple[Kept, tuple[Tensor, ...]]:
    """(1, T, D), (1, T, P + T) -> what is kept, followed by these tokens, and the states of every layer."""
    size, limit = embeddings.shape[1], position_limit(model.language)
    if limit is not None and kept.next_position + size > limit:
        raise LabError(f"the language model ({family(model.language)}) can count {limit:,} positions, which the stream "
                       "has used up; start listening again")
    ids = kept.next_position + torch.arange(size, device=embeddings.device)[None]
    cache = branch(kept.cache)
    layers = decode(model.language, embeddings, attend, ids, cache, kept.position_ids,
                    wanted=(model.method.semantic_layer, HEAD_LAYER))
    return replace(kept, cache=cache, next_position=kept.next_position + size,
                   position_ids=torch.cat([kept.position_ids, ids], 1)), layers


def check_streams(model: D2VLM) -> int:
    """How many frames a block has; an error for a model that cannot read a video while it runs."""
    if model.frames.reads_question:
        raise LabError("the frame encoder of this checkpoint reads the question before it looks at a frame, so that it "
                       "cannot read a video before something is asked")
    if has_three_parts(model.language):
        raise LabError(f"{family(model.language)} models count the time of a whole video at once, and cannot read it "
                       "while it runs")
    if model.method.block is None:
        raise LabError("this checkpoint was trained with frames that look at all later frames; to read a video while "
                       "it runs, train with method.frame_block, or give the block here: block=8")
    return model.method.block
