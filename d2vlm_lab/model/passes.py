"""How the language model reads a batch: three ways to the same states, and the masks and position ids they need.

**One pass.** Nothing that follows the frames can change their states. So the frames, and the start of the prompt before
them, are read once. Their keys and values are kept, and every text about the video runs against them:

    start, frames --+-- question 1, answer 1
                    +-- question 2, answer 2

**A branching pass.** Where several answers to one question are compared (a chosen one and rejected ones), the
question is read once as well:

    start, frames --+-- question 1 --+-- chosen answer
                    |                +-- rejected answer
                    +-- question 2 --+-- chosen answer
                                     +-- rejected answer

**Two passes.** Nothing is kept. The frames are read for their states, then everything is read again for each text.
The authors train in this way. Gradient checkpointing needs it, because it cannot keep keys and values:

    start, frames
    start, frames, question 1, answer 1
    start, frames, question 2, answer 2

Training takes a faster form of the first two ways where it can: packed.py draws it.

Shapes: V videos, N texts, F frames, T tokens of a text, P tokens up to and including the frames, D the language
model's width. In a branching pass also U questions, Q tokens of the longest question, A of the longest answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.utils import output_capturing

from ..data.batch import IGNORE, Batch
from ..data.branches import Branches
from ..data.plan import plan_of
from .backbone import attention_masks, decoder_layers
from .layout import pool_frames
from .precision import dtype_of

HEAD_LAYER = -2  # both heads read the input of the last decoder layer
READ = (HEAD_LAYER, -1)  # the layers whose states are read of a text


@dataclass
class Prefix:
    """What is known of V videos once their frames are read. Nothing in it depends on what follows."""

    cache: DynamicCache | None  # keys and values of the P tokens; None if they are not kept
    mask: Tensor  # (V, P) which tokens exist
    attend: Tensor  # (V, P, P) which of them each token may look at
    position_ids: Tensor  # (V, P), or (3, V, P) where they have three parts
    shift: Tensor  # (V, 1) how much larger than the number of tokens the next position id after the frames is
    owner: Tensor  # (V, P) the frame that each token belongs to, as text around it does; -1: none, it is of the start
    columns: Tensor  # (V, F, tokens of a frame) where the tokens of each frame are
    embeddings: Tensor  # (V, P, D)
    added: tuple[Tensor, ...]  # each (V, P, D): what is added after the first layers, one after the other
    frame_mask: Tensor  # (V, F) which frames exist
    projected: Tensor  # (V, F, D) frames as they enter the language model
    meaning: Tensor  # (V, F, D) states of the frames after the semantic layer
    frame_states: Tensor | None  # (V, F, D) states of the frames that the frame head reads; None without a cache
    hidden: Tensor | None = None  # (V, P) what the words of answers may not look at; None: they may at all


@dataclass
class States:
    """What every pass returns: the states of N texts, and those of the frames before them."""

    head: Tensor  # (N, T, D) what the evidence head reads
    last: Tensor  # (N, T, D) output of the decoder, from which the next token is predicted
    frames: Tensor  # (V, F, D) what the frame head reads; after two passes (N, F, D)
    frames_row: Tensor  # (N,) the row of `frames` that belongs to each text


def one_pass(language: PreTrainedModel, batch: Batch, prefix: Prefix, embeddings: Tensor) -> States:
    """Read every text against the kept keys and values of its video."""
    repeat_rows(prefix.cache, batch.video, plan_of(batch).one_text_each)
    layers = decode(language, embeddings, view(batch, prefix), text_position_ids(batch, prefix), prefix.cache,
                    kept_position_ids(batch, prefix), wanted=READ)
    return States(head=layers[HEAD_LAYER], last=layers[-1], frames=prefix.frame_states, frames_row=batch.video)


def branching_pass(language: PreTrainedModel, batch: Batch, prefix: Prefix, embeddings: Tensor,
                   branches: Branches) -> States:
    """Read every question against its video, then every answer against its question and its video."""
    # Each question is read once, after the frames of its video.
    video, asked = batch.video[branches.text], branches.question_mask
    repeat_rows(prefix.cache, video, branches.one_each)
    ids, kept = text_position_ids(batch, prefix), kept_position_ids(batch, prefix)
    before = seen_before(batch, prefix)[branches.text]
    question_ids = ids[branches.text, :asked.shape[1]]
    question = decode(language, embeddings[branches.text, :asked.shape[1]], causal(asked, before), question_ids,
                      prefix.cache, kept[branches.text], wanted=READ)

    # Each answer goes on from its question.
    repeat_rows(prefix.cache, branches.question, False)
    before = torch.cat([before, asked], 1)[branches.question]
    kept = torch.cat([kept[branches.text], question_ids], 1)[branches.question]
    attend = causal(branches.answer_mask, before)
    if prefix.hidden is not None:
        attend[..., :prefix.mask.shape[1]] &= ~prefix.hidden[batch.video, None]
    answer = decode(language, select(embeddings, branches.columns), attend, ids.gather(1, branches.columns),
                    prefix.cache, kept, wanted=READ)

    def joined(layer: int) -> Tensor:
        """(N, T, D) questions and answers side by side, in the order in which the texts have their tokens."""
        return select(torch.cat([question[layer][branches.question], answer[layer]], 1), branches.order)

    return States(head=joined(HEAD_LAYER), last=joined(-1), frames=prefix.frame_states, frames_row=batch.video)


def two_passes(language: PreTrainedModel, batch: Batch, prefix: Prefix, embeddings: Tensor) -> States:
    """The second of two passes: the start, the frames and the text of each of the N texts."""
    before, size = prefix.mask[batch.video], prefix.mask.shape[1]
    mask = torch.cat([before, batch.mask], 1)
    attend = causal(mask)
    attend[:, :size, :size] = prefix.attend[batch.video]
    attend[:, size:, :size] = view(batch, prefix)[..., :size]
    ids_before = prefix.position_ids[..., batch.video, :]
    ids_after = text_position_ids(batch, prefix).expand(*ids_before.shape[:-1], -1)
    added = tuple(torch.cat([each[batch.video], torch.zeros_like(embeddings)], 1) for each in prefix.added)
    layers = decode(language, torch.cat([prefix.embeddings[batch.video], embeddings], 1), attend,
                    torch.cat([ids_before, ids_after], -1), added=added, wanted=READ)
    frames = pool_frames(layers[HEAD_LAYER][:, :size], prefix.columns[batch.video])
    return States(head=layers[HEAD_LAYER][:, size:], last=layers[-1][:, size:], frames=frames,
                  frames_row=torch.arange(len(before), device=mask.device))


def select(states: Tensor, columns: Tensor) -> Tensor:
    """(N, T, D), (N, A) -> (N, A, D): the states in these columns."""
    return states.gather(1, columns[..., None].expand(-1, -1, states.shape[-1]))


# The decoder, its cache, its masks and its position ids.

def decode(language: PreTrainedModel, embeddings: Tensor, attend: Tensor, position_ids: Tensor,
           cache: DynamicCache | None = None, kept: Tensor | None = None, up_to: int | None = None,
           added: tuple[Tensor, ...] = (), wanted: Sequence[int] | None = None) -> tuple[Tensor | None, ...]:
    """(B, T, D) -> the states of every layer: first the embeddings, last the normalized output of the decoder.

    `attend` (B, T, T) is True where a token may look. With a cache of P tokens, whose position ids are `kept` (B, P),
    it is (B, T, P + T), and the cache grows by T. `up_to` is the highest layer whose states are needed; the layers
    above it may be left out. `added`, each (B, T, D), is added after the first layers by the families that do so.
    `wanted` are the layers whose states are read: those of others may be None, so that they take no memory.
    """
    decoder = language.get_decoder()
    embeddings = embeddings.to(dtype_of(decoder_layers(decoder)))  # trained token embeddings are float32
    key_ids = position_ids if kept is None else torch.cat([kept, position_ids], 1)
    masks = attention_masks(language, attend, position_ids, key_ids, embeddings.dtype)
    further = {}
    if added:  # zeros are added where there is no frame
        everywhere = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
        further = {"visual_pos_masks": everywhere, "deepstack_visual_embeds": [each.flatten(0, 1) for each in added]}
    with shortened(decoder, up_to):
        return decoder(inputs_embeds=embeddings, attention_mask=masks, position_ids=position_ids,
                       past_key_values=cache, use_cache=cache is not None,
                       output_hidden_states=asked_for(decoder, wanted), **further).hidden_states


def asked_for(decoder: nn.Module, wanted: Sequence[int] | None) -> bool | list[int]:
    """The layers whose states a decoder should return; all for None, and in families that offer no choice."""
    records = output_capturing._CAN_RECORD_REGISTRY.get(decoder)
    return True if wanted is None or "hidden_states" not in records else list(wanted)


@contextmanager
def shortened(decoder: nn.Module, up_to: int | None) -> Iterator[None]:
    """A decoder without the layers that the states of layer `up_to` do not need; the whole decoder for None."""
    layers = decoder_layers(decoder)
    name = next(name for name, child in decoder.named_children() if child is layers)
    if up_to is not None:
        # At the first call, transformers decides which layers report their states, so all of them must be there.
        if output_capturing._CAN_RECORD_REGISTRY.get(decoder):
            output_capturing.maybe_install_capturing_hooks(decoder)
        setattr(decoder, name, layers[:up_to + 1])  # one layer more, because the last states are normalized
    try:
        yield
    finally:
        setattr(decoder, name, layers)


def repeat_rows(cache: DynamicCache, rows: Tensor, in_order: bool) -> None:
    """Let the cache hold these rows, some of them several times; as views if possible.

    `in_order` says whether these are all rows in their order; finding that out here would mean waiting for a GPU.
    """
    if in_order:
        return
    one = len(cache.layers[0].keys) == 1
    for layer in cache.layers:
        layer.keys, layer.values = (state.expand(len(rows), -1, -1, -1) if one else state.index_select(0, rows)
                                    for state in (layer.keys, layer.values))


def position_ids_of(mask: Tensor, before: Tensor | None = None) -> Tensor:
    """(B, T) -> (B, T) position ids: the tokens that exist are counted, after those that exist `before` (B, P)."""
    counted = (mask.cumsum(-1) - 1).clamp_min(0)
    return counted if before is None else before.sum(-1, keepdim=True) + counted


def seen_before(batch: Batch, prefix: Prefix) -> Tensor:
    """(N, P) which tokens before it each text sees: all of its video, or what was shown when it was asked."""
    before = prefix.mask[batch.video]
    if batch.asked is None:
        return before
    return before & (prefix.owner[batch.video] < batch.asked[:, None])


def text_position_ids(batch: Batch, prefix: Prefix) -> Tensor:
    """(N, T) position ids of the texts, which follow those of what the texts see, unless the batch has its own."""
    if batch.position_ids is not None:
        return batch.position_ids
    before, shift = seen_before(batch, prefix), prefix.shift[batch.video]
    if batch.asked is not None:
        shift = shift_after(prefix.position_ids[..., batch.video, :], before)
    return position_ids_of(batch.mask, before) + shift


def kept_position_ids(batch: Batch, prefix: Prefix) -> Tensor:
    """(N, P) position ids of what comes before each text; sliding windows are measured by them."""
    return (prefix.position_ids if prefix.position_ids.ndim == 2 else position_ids_of(prefix.mask))[batch.video]


def shift_after(position_ids: Tensor, mask: Tensor) -> Tensor:
    """(V, 1) how much larger than their number the next position id is: 0 where tokens are simply counted."""
    largest = (position_ids * mask).reshape(-1, *mask.shape).amax(0).amax(-1, keepdim=True)
    return largest + 1 - mask.sum(-1, keepdim=True)


def view(batch: Batch, prefix: Prefix) -> Tensor:
    """(N, T, P + T) True where a token of a text may look: not at what is hidden, if it is a word of an answer."""
    attend = causal(batch.mask, seen_before(batch, prefix))
    if prefix.hidden is not None:
        answer = (batch.labels != IGNORE)[:, :, None]
        attend[..., :prefix.mask.shape[1]] &= ~(answer & prefix.hidden[batch.video, None])
    return attend


def causal(mask: Tensor, before: Tensor | None = None) -> Tensor:
    """(B, T) -> (B, T, [P +] T) True where a token may look: at what came `before` (B, P), earlier tokens, itself."""
    size = mask.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=mask.device).tril()
    attend = earlier & mask[:, None]
    return attend if before is None else torch.cat([before[:, None].expand(-1, size, -1), attend], -1)
