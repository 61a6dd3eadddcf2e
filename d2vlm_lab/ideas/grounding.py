"""When did it happen? Evidence against frames: similarity, targets, loss, probability, and the salient interval.

Shapes: E evidence tokens, F frames, D width. Intervals are frame positions, both ends included. Where videos of
different length share a tensor, `mask` (E, F) is True on the frames that exist.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(evidence: Tensor, frames: Tensor) -> Tensor:
    """(..., E, D), (..., F, D) -> (..., E, F) logits of "this frame belongs to this event"."""
    return evidence @ frames.transpose(-1, -2) / math.sqrt(frames.shape[-1])


def frame_targets(intervals: Tensor, n_frames: int, base: float | None = 2.0) -> Tensor:
    """(E, 2) -> (E, F): 1 inside, `base ** -distance` to the nearer end outside; `base=None` is hard, 0 outside."""
    frame = torch.arange(n_frames, device=intervals.device, dtype=intervals.dtype)
    start, end = intervals[:, :1], intervals[:, 1:]
    inside = (start <= frame) & (frame <= end)
    if base is None:
        return inside.to(intervals.dtype)
    distance = torch.minimum((frame - start).abs(), (frame - end).abs())
    return torch.where(inside, 1.0, base ** -distance)


def inside(intervals: Tensor, n_frames: int) -> Tensor:
    """(E, 2) -> (E, F) True on the frames of the rounded interval: put in order, clamped to the video."""
    ends = intervals.round().clamp(0, n_frames - 1).sort(-1).values
    frame = torch.arange(n_frames, device=intervals.device)
    return (ends[:, :1] <= frame) & (frame <= ends[:, 1:])


def grounding_loss(logits: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F), (E, F) -> (E,) binary cross-entropy of each evidence token, mean over its frames."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _masked_mean(loss, mask)


def interval_log_probability(logits: Tensor, targets: Tensor, mask: Tensor | None = None,
                             average: bool = False) -> Tensor:
    """(E, F), (E, F) -> (E,) log p_g: sum over frames (or mean) of log(t p + (1 - t)(1 - p))."""
    p = torch.sigmoid(logits)
    log_p = torch.log(targets * p + (1 - targets) * (1 - p) + 1e-10)
    if average:
        return _masked_mean(log_p, mask)
    return (log_p if mask is None else log_p.masked_fill(~mask, 0)).sum(-1)


def _masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean(-1)
    return values.masked_fill(~mask, 0).sum(-1) / mask.sum(-1)
