"""When did it happen? Evidence tokens are compared with frames: similarity, targets, loss, probability, overlap.

Shapes: E evidence tokens, F frames, D hidden. Intervals are frame positions, both ends included. Where videos of
different length share a tensor, `mask` (E, F) is True on the frames that exist.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(evidence: Tensor, frames: Tensor) -> Tensor:
    """(..., E, D), (..., F, D) -> (..., E, F) logits `g f^T / sqrt(D)` of "this frame belongs to this event".

    States of 16 bits are compared in float32: their similarities would be equal too often.
    """
    evidence, frames = at_least_float32(evidence), at_least_float32(frames)
    return evidence @ frames.transpose(-1, -2) / math.sqrt(frames.shape[-1])


def at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype.itemsize < 4 else values


def frame_targets(intervals: Tensor, n_frames: int, base: float | None = 2.0) -> Tensor:
    """(E, 2) -> (E, F) targets `t = base^-d`, d frames from the nearer end, 0 inside. base=None: t = 0 outside."""
    frame = torch.arange(n_frames, device=intervals.device, dtype=intervals.dtype)
    start, end = intervals[:, :1], intervals[:, 1:]
    inside = (start <= frame) & (frame <= end)
    if base is None:
        return inside.to(intervals.dtype)
    distance = torch.minimum((frame - start).abs(), (frame - end).abs())
    return torch.where(inside, 1.0, base ** -distance)


def inside(intervals: Tensor, n_frames: int) -> Tensor:
    """(E, 2) -> (E, F) True on the frames of each interval, its ends rounded, put in order and clamped to the video."""
    ends = intervals.round().clamp(0, n_frames - 1).sort(-1).values
    frame = torch.arange(n_frames, device=intervals.device)
    return (ends[:, :1] <= frame) & (frame <= ends[:, 1:])


def grounding_loss(logits: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F), (E, F) -> (E,) `-mean_F [t log p + (1 - t) log(1 - p)]`, p = sigmoid(logits)."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _mean_over_frames(loss, mask)


def interval_log_probability(logits: Tensor, targets: Tensor, mask: Tensor | None = None,
                             average: bool = False) -> Tensor:
    """(E, F), (E, F) -> (E,) `log p_g = sum_F log(t p + (1 - t)(1 - p))`, or the mean over frames."""
    p = torch.sigmoid(logits)
    log_p = torch.log(targets * p + (1 - targets) * (1 - p) + 1e-10)
    if average:
        return _mean_over_frames(log_p, mask)
    return (log_p if mask is None else log_p.masked_fill(~mask, 0)).sum(-1)


def frame_overlap(a: Tensor, b: Tensor) -> Tensor:
    """(E, 2), (E, 2) -> (E,) intersection over union of whole frames: [2, 4] and [4, 6] share one frame of five."""
    both = (torch.minimum(a[:, 1], b[:, 1]) - torch.maximum(a[:, 0], b[:, 0]) + 1).clamp_min(0)
    return both / (a[:, 1] - a[:, 0] + b[:, 1] - b[:, 0] + 2 - both)


def _mean_over_frames(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean(-1)
    return values.masked_fill(~mask, 0).sum(-1) / mask.sum(-1)
