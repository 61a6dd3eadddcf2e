"""What is kept of a video that is still running, and what is forgotten so that the memory does not grow.

A frame is kept as the keys and values of its tokens, from which later tokens read, and as three states that evidence
needs: what it enters the language model as, what it means, and what the frame head reads. When frames are forgotten,
the keys and values go together with the states. The tokens of the first few frames (*sinks*) stay as keys and values,
because language models rely on the first tokens of what they read:

    start  0 1 2 3 | . . . . . . . . . | 13 14 15 16 17 18       "." is forgotten
           sinks                         kept

Shapes: P tokens and F frames that are kept, D the language model's width, H heads of width d.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from ...config import Forget
from ...data.batch import Clip
from ...errors import LabError
from ...shapes import shown
from ..passes import Prefix

PER_FRAME = ("projected", "meaning", "states", "seconds", "index", "weight")


@dataclass(frozen=True)
class Memory:
    """How much of a stream is kept. Without a bound, this grows with the stream."""

    seconds: float | None = None  # frames that are older than the newest one by more than this are forgotten
    frames: int | None = None  # largest number of frames
    forget: Forget = "oldest"  # which frames are forgotten if there are more
    sinks: int = 4  # frames at the beginning whose keys and values are always kept

    def __post_init__(self):
        if self.forget not in get_args(Forget):
            raise LabError(f"forget is {shown(self.forget)}; it is one of {', '.join(get_args(Forget))}")
        if not (self.seconds is None or self.seconds > 0):
            raise LabError(f"keep_seconds is {shown(self.seconds)}; it must be a positive number, or None")
        if not (self.frames is None or type(self.frames) is int and self.frames > 1):
            raise LabError(f"keep_frames is {shown(self.frames)}; it must be a whole number of at least 2, or None")
        if type(self.sinks) is not int or self.sinks < 0:
            raise LabError(f"sinks is {shown(self.sinks)}; it must be a whole number of at least 0")


@dataclass(frozen=True)
class Kept:
    """What is kept of a stream. Nothing in it is ever changed in place, so that a question can branch off it."""

    cache: DynamicCache  # keys and values, for each layer (1, H, P, d)
    position_ids: Tensor  # (1, P)
    next_position: int  # of the token that comes next
    frame: Tensor  # (P,) which of the F frames each token belongs to; -1: none, it is a sink or the start of the prompt
    projected: Tensor  # (F, D) frames as they enter the language model
    meaning: Tensor  # (F, D) after the semantic layer
    states: Tensor  # (F, D) what the frame head reads
    seconds: Tensor  # (F,) float64 when each was shown
    index: Tensor  # (F,) its number in the stream
    weight: Tensor  # (F,) how many frames it stands for
    # How many of the first tokens the words of answers may look at: the start of the prompt, if `answer_view` hides all
    # that follows it. None: all.
    seen: int | None = None

    @property
    def timestamps(self) -> np.ndarray:
        return self.seconds.cpu().numpy()

    def clip(self) -> Clip:
        """What is kept, as a clip whose frames need not be read again."""
        return Clip(self.projected, self.timestamps, projected=True)

    def prefix(self) -> Prefix:
        """What is kept, as questions need it; they may change the cache of this copy."""
        everything = torch.ones_like(self.position_ids, dtype=torch.bool)
        hidden = None if self.seen is None else everything.cumsum(-1) > self.seen
        return Prefix(cache=branch(self.cache), mask=everything, attend=everything[:, None],
                      position_ids=self.position_ids, shift=self.next_position - everything.sum(-1, keepdim=True),
                      owner=self.frame[None],
                      columns=everything.new_zeros(1, len(self.index), 1, dtype=torch.long), embeddings=self.projected,
                      added=(), frame_mask=everything.new_ones(1, len(self.index)), projected=self.projected[None],
                      meaning=self.meaning[None], frame_states=self.states[None], hidden=hidden)


def branch(cache: DynamicCache) -> DynamicCache:
    """A cache that can grow separately, and shares what is in `cache` so far."""
    other = DynamicCache()
    other.layers = [copy.copy(layer) for layer in cache.layers]
    return other


def forget(kept: Kept, memory: Memory) -> Kept:
    """What stays within the bounds of the memory."""
    if memory.seconds is not None and len(kept.seconds):
        old = kept.seconds < kept.seconds[-1] - memory.seconds
        if old.any():
            kept = without(kept, old, memory.sinks)
    more = 0 if memory.frames is None else len(kept.seconds) - memory.frames
    if more > 0 and memory.forget != "merge":
        gone = oldest(kept, more) if memory.forget == "oldest" else least_changed(kept, more)
        return without(kept, gone, memory.sinks)
    for _ in range(more):
        kept = merged(kept)
    return kept


def without(kept: Kept, gone: Tensor, sinks: int = 0) -> Kept:
    """What is kept, without the frames where (F,) `gone` is True; tokens of the first `sinks` frames stay."""
    lost, stays = torch.cat([gone & (kept.index >= sinks), gone.new_zeros(1)]), torch.cat([~gone, gone.new_zeros(1)])
    place = torch.where(stays, stays.cumsum(0) - 1, -1)  # the new number of each frame; the last entry is for none
    tokens = ~lost[kept.frame]
    return replace(kept, cache=picked(kept.cache, tokens), position_ids=kept.position_ids[:, tokens],
                   frame=place[kept.frame[tokens]], **{name: getattr(kept, name)[~gone] for name in PER_FRAME})


def oldest(kept: Kept, n: int) -> Tensor:
    """(F,) True on the first n frames."""
    return torch.arange(len(kept.index), device=kept.index.device) < n


def least_changed(kept: Kept, n: int) -> Tensor:
    """(F,) True on the n frames, besides the first one, that differ least from the one before them."""
    change = (kept.projected[1:] - kept.projected[:-1]).float().norm(dim=-1)
    least = change.argsort(stable=True)[:n] + 1
    return torch.zeros_like(kept.index, dtype=torch.bool).index_fill(0, least, True)


def merged(kept: Kept) -> Kept:
    """The two neighbours that are most alike become one frame, at the time of the first; its tokens are means, too.

    Text between the two frames that gave the time of the second one is dropped.
    """
    alike = F.cosine_similarity(kept.projected[1:].float(), kept.projected[:-1].float(), dim=-1)
    first = int(alike.argmax())
    second, share = first + 1, (kept.weight[first + 1] / kept.weight[first:first + 2].sum()).item()
    tokens = [(kept.frame == n).nonzero().squeeze(1) for n in (first, second)]
    n = min(map(len, tokens))  # if times are written, their text may differ in length; it stands before the frame

    def mean(states: Tensor, dim: int, a: Tensor, b: Tensor) -> Tensor:
        both = torch.lerp(states.index_select(dim, a), states.index_select(dim, b), share)
        return states.index_copy(dim, a, both)

    cache = branch(kept.cache)
    for layer in cache.layers:
        layer.keys, layer.values = (mean(each, 2, tokens[0][-n:], tokens[1][-n:])
                                    for each in (layer.keys, layer.values))
    place = [kept.index.new_tensor([n]) for n in (first, second)]
    states = {name: mean(getattr(kept, name), 0, *place) for name in ("projected", "meaning", "states")}
    weight = kept.weight.index_add(0, place[0], kept.weight[second:second + 1])
    gone = torch.arange(len(kept.index), device=weight.device) == second
    return without(replace(kept, cache=cache, weight=weight, **states), gone)


def picked(cache: DynamicCache, tokens: Tensor) -> DynamicCache:
    """The keys and values where (P,) `tokens` is True."""
    if tokens.all():
        return cache
    cache, tokens = branch(cache), tokens.nonzero().squeeze(1)
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys.index_select(2, tokens), layer.values.index_select(2, tokens)
    return cache
