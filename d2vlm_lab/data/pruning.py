"""Fewer frames for the language model: which frames of a long video it sees. Each frame keeps its time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..config import Pruning
from .batch import Clip


def prune(clip: Clip, most: int | None, rule: Pruning = "even") -> Clip:
    """At most `most` frames of a clip, in order. An interval may then begin or end between two frames."""
    kept = kept_frames(clip.features, most, rule)
    return clip if isinstance(kept, slice) else Clip(clip.features[kept], clip.timestamps[kept])


def kept_frames(features: Tensor, most: int | None, rule: Pruning = "even") -> slice | np.ndarray:
    """The positions of at most `most` frames, in order; a slice if these are all."""
    if most is None or len(features) <= most:
        return slice(None)
    return RULES[rule](features, most).cpu().numpy()  # the features may lie on a GPU, times and pixels never do


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
