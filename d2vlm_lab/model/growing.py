"""Texts that grow by one token at a time, as answers do while they are written.

A new token needs the keys and values of all tokens before it. The keys and values of the frames are kept once for each
video, however many texts are about it. Those of the text itself stand in space that is reserved beforehand, so that
nothing is moved when a token is added (`..` is still free):

    frames of video 1 | q1 q1 q1 a1 a1 .. ..
                      | q2 q2 -- a2 a2 .. ..
    frames of video 2 | q3 q3 -- a3 a3 .. ..

The new tokens of all texts run through the decoder as one row. In the attention, the queries of all texts about a
video meet its frames at once, then the query of each text meets its own tokens, and one softmax covers both.

`Apart` is the plain form, for language models whose attention cannot be replaced: there every text has a copy of its
frames.

Shapes: V videos, M texts of the video with most texts, R texts that still grow, D hidden, P tokens up to and including
the frames, T tokens of the longest prompt, K tokens of a text so far. H heads of width d, G of which share their keys.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from ..data.batch import Batch
from ..data.plan import packing_of
from . import passes
from .backbone import attention_masks, decoder_layers
from .d2vlm import D2VLM
from .packed import attention, lay_out, read_row, serves
from .passes import HEAD_LAYER, READ, Prefix, decode, kept_position_ids, one_pass, seen_before, text_position_ids
from .precision import dtype_of

NAME = "d2vlm_growing"  # of the attention function, as transformers knows it
ROOM = 64  # tokens for which space is reserved at a time
LIVE = 0.75  # when fewer of the kept videos than this share still have a text that grows, the others are dropped


class Growing(Protocol):
    """N texts of which R still grow, and the states of their newest tokens."""

    head: Tensor  # (R, D) what the evidence head reads
    last: Tensor  # (R, D) output of the decoder, from which the next token is predicted

    def keep(self, going_on: Sequence[int]) -> None:
        """Go on with some of the R texts; a text that is named several times goes on in several ways."""

    def grow(self, embeddings: Tensor) -> None:
        """(R, D) Add a token to each text."""


def start_texts(model: D2VLM, batch: Batch, prefix: Prefix, limit: int) -> Growing:
    """Read the prompts of a batch; each has room for `limit` further tokens."""
    form = Together if shares_frames(model) else Apart
    return form(model, batch, prefix, limit)


def shares_frames(model: D2VLM) -> bool:
    """Whether all texts about a video share the keys and values of its frames; otherwise each has a copy of them."""
    return model.fast and serves(model.language)


class Together:
    """The frames of a video are kept once for all texts about it."""

    def __init__(self, model: D2VLM, batch: Batch, prefix: Prefix, limit: int):
        self.language, self.decoder, self.cache = model.language, model.language.get_decoder(), prefix.cache
        self.dtype = dtype_of(decoder_layers(self.decoder))
        text, column = last_tokens(batch)
        end = packing_of(batch).place[text, column]
        read: list[tuple[Tensor, Tensor]] = []  # keys and values of each layer
        head, last = read_row(model.language, batch, prefix, model.embed(batch, prefix), end, read)
        self.head, self.last = head[end], last[end]
        self.states = [[self.set_aside(states, batch) for states in layer] for layer in read]
        self.size = batch.ids.shape[1]  # how many columns of a text are filled

        seen, ids = seen_by_answers(batch, prefix), text_position_ids(batch, prefix)
        self.position = ids[text, column]
        future = torch.arange(1, limit + 1, device=ids.device)
        self.exists = F.pad(torch.cat([seen, batch.mask], 1), (0, limit), value=True)  # (R, P + T + limit)
        self.key_ids = torch.cat([kept_position_ids(batch, prefix), ids, self.position[:, None] + future], 1)
        self.video = batch.video.tolist()  # of each text, as its place among the kept ones
        self.arrange()

    def set_aside(self, states: Tensor, batch: Batch) -> Tensor:
        """(1, H, S, d) keys or values of a row -> (N, H, T + ROOM, d)."""
        return F.pad(lay_out(states, packing_of(batch).place), (0, 0, 0, ROOM))

    def arrange(self) -> None:
        """Find where the texts of each video are among all R texts, and where each is among those of its video."""
        slots, n_videos = defaultdict(list), len(self.cache.layers[0].keys)
        for row, video in enumerate(self.video):
            slots[video].append(row)
        most = max(map(len, slots.values()))
        self.in_order = most == 1 and self.video == list(range(n_videos))
        if not self.in_order:
            place = [(slots[video] + [0] * most)[:most] for video in range(n_videos)]
            seen = Counter()
            back = []
            for video in self.video:
                back.append(video * most + seen[video])
                seen[video] += 1
            self.place, self.back = (torch.tensor(each, device=self.position.device) for each in (place, back))

    def keep(self, going_on: Sequence[int]) -> None:
        kept = torch.tensor(going_on, device=self.position.device)
        self.position, self.exists, self.key_ids = (
            each.index_select(0, kept) for each in (self.position, self.exists, self.key_ids))
        self.states = [[states.index_select(0, kept) for states in layer] for layer in self.states]
        self.video = [self.video[i] for i in going_on]
        live = sorted(set(self.video))
        if len(live) < LIVE * len(self.cache.layers[0].keys):
            self.cache.batch_select_indices(torch.tensor(live, device=self.position.device))
            self.video = [live.index(video) for video in self.video]
        self.arrange()

    def grow(self, embeddings: Tensor) -> None:
        self.position, size = self.position + 1, self.size + 1
        if size > self.states[0][0].shape[2]:
            self.states = [[F.pad(states, (0, 0, 0, ROOM)) for states in layer] for layer in self.states]
        seen = self.cache.layers[0].keys.shape[2] + size
        masks = attention_masks(self.language, self.exists[:, None, :seen], self.position[:, None],
                                self.key_ids[:, :seen], self.dtype)
        with attention(self.decoder, NAME):
            layers = self.decoder(
                inputs_embeds=embeddings[None].to(self.dtype), attention_mask=masks, position_ids=self.position[None],
                use_cache=False, output_hidden_states=passes.asked_for(self.decoder, READ), texts=self).hidden_states
        self.head, self.last, self.size = layers[HEAD_LAYER][0], layers[-1][0], size

    def written(self, layer: int, key: Tensor, value: Tensor) -> list[Tensor]:
        """(1, H, R, d) keys and values of the new tokens -> two of (R, H, K, d): those of all tokens of each text."""
        for states, new in zip(self.states[layer], (key, value)):
            states[:, :, self.size] = new[0].transpose(0, 1)
        return [states[:, :, :self.size + 1] for states in self.states[layer]]

    def by_video(self, states: Tensor) -> Tensor:
        """(R, H, G, X) -> (V, H, M * G, X): the texts of each video side by side."""
        if self.in_order:
            return states
        laid_out = states.index_select(0, self.place.flatten()).unflatten(0, self.place.shape)
        return laid_out.transpose(1, 2).flatten(2, 3)

    def by_text(self, states: Tensor) -> Tensor:
        """(V, H, M * G, X) -> (R, H, G, X)."""
        if self.in_order:
            return states
        return states.unflatten(2, (self.place.shape[1], -1)).transpose(1, 2).flatten(0, 1).index_select(0, self.back)


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, texts: Together,
           scaling: float | None = None, **settings) -> tuple[Tensor, None]:
    """(1, H * G, R, d) queries, (1, H, R, d) keys and values, a mask (R, 1, 1, P + K) -> (1, R, H * G, d)."""
    frames = texts.cache.layers[module.layer_idx]
    keys, values = texts.written(module.layer_idx, key, value)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query = query[0].transpose(0, 1).unflatten(1, (key.shape[1], -1)) * scale
    scores = torch.cat([texts.by_text(texts.by_video(query) @ frames.keys.mT), query @ keys.mT], -1)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1, dtype=torch.float32).to(value.dtype)
    far, near = weights.split([frames.keys.shape[2], keys.shape[2]], -1)
    attended = texts.by_text(texts.by_video(far) @ frames.values) + near @ values
    return attended.flatten(1, 2)[None], None


AttentionInterface.register(NAME, attend)


class Apart:
    """The plain form: a copy of the keys and values of the frames for each text."""

    def __init__(self, model: D2VLM, batch: Batch, prefix: Prefix, limit: int):
        self.language, self.cache = model.language, prefix.cache
        states = one_pass(model.language, batch, prefix, model.embed(batch, prefix))
        text, column = last_tokens(batch)
        self.head, self.last = states.head[text, column], states.last[text, column]
        self.position = text_position_ids(batch, prefix)[text, column]
        self.mask = torch.cat([seen_by_answers(batch, prefix), batch.mask], 1)
        self.key_ids = torch.cat([kept_position_ids(batch, prefix), text_position_ids(batch, prefix)], 1)

    def keep(self, going_on: Sequence[int]) -> None:
        kept = torch.tensor(going_on, device=self.position.device)
        self.cache.batch_select_indices(kept)
        self.position, self.mask, self.key_ids = self.position[kept], self.mask[kept], self.key_ids[kept]

    def grow(self, embeddings: Tensor) -> None:
        self.position, self.mask = self.position + 1, F.pad(self.mask, (0, 1), value=True)
        layers = decode(self.language, embeddings[:, None], self.mask[:, None], self.position[:, None], self.cache,
                        self.key_ids, wanted=READ)
        self.key_ids = torch.cat([self.key_ids, self.position[:, None]], 1)
        self.head, self.last = layers[HEAD_LAYER][:, 0], layers[-1][:, 0]


def seen_by_answers(batch: Batch, prefix: Prefix) -> Tensor:
    """(N, P) what the words of an answer may look at before its text."""
    before = seen_before(batch, prefix)
    return before if prefix.hidden is None else before & ~prefix.hidden[batch.video]


def last_tokens(batch: Batch) -> tuple[Tensor, Tensor]:
    """(N,), (N,) each text and the column of its last token."""
    column = batch.mask.shape[1] - 1 - batch.mask.flip(1).int().argmax(1)
    return torch.arange(len(column), device=column.device), column
