"""Fewer frames for the language model: which frames of a long video it sees. Each frame keeps its time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .batch import Clip


def prune(clip: Clip, most: int | None, rule: str = "even") -> Clip:
    """At most `most` frames of a clip, in order. An interval may then begin or end between two frames."""
    if most is None or len(clip.timestamps) <= most:
        return clip
    kept = RULES[rule](clip.features, most)
    return Clip(clip.features[kept], clip.timestamps[kept.numpy()])


def even(features: Tensor, n: int) -> Tensor:
    """(F, ...) -> (n,) frames at equal distances, the first and the last among them."""
    return torch.from_numpy(np.linspace(0, len(features) - 1, n).round().astype(int))


def change(features: Tensor, n: int) -> Tensor:
    """(F, ...) -> (n,) the frames that differ most from the one before or after them: those where something happens."""
    flat = features.flatten(1).float()
    step = (flat[1:] - flat[:-1]).norm(dim=-1)
    most = torch.maximum(torch.cat([step[:1], step]), torch.cat([step, step[-1:]]))
    return most.argsort(descending=True, stable=True)[:n].sort().values


RULES = {"even": even, "change": change}
