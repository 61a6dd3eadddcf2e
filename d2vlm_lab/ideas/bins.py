"""A time as a distribution over bins, as DisTime has it: one token gives both ends of an interval, without any frame.

The video is divided at anchors 0, 1, ..., B. For each end a small network gives a logit for every anchor, and the time
is the anchor on average. Times are in units of bins here: frame position * B / (F - 1). Where the frames are evenly
spaced this is seconds * B / duration, where the duration is that from the first frame to the last.

Shapes: E evidence tokens, F frames, B bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .salience import Criterion


def expected_anchors(logits: Tensor) -> Tensor:
    """(E, 2, B + 1) -> (E, 2) `sum_a softmax(logits) a`."""
    anchors = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return (logits.softmax(-1) * anchors).sum(-1)


def distribution_focal_loss(logits: Tensor, times: Tensor) -> Tensor:
    """(E, 2, B + 1), (E, 2) -> (E,) `sum over both ends of (right - t) CE(left) + (t - left) CE(right)`, over B.

    `left` and `right` are the anchors around the true time t. CE(a) = -log softmax(logits)[a].
    """
    last = logits.shape[-1] - 1
    left = times.floor().clamp(0, last - 1)
    log_p = logits.log_softmax(-1)
    low, high = (-log_p.gather(-1, anchor.long()[..., None])[..., 0] for anchor in (left, left + 1))
    return ((left + 1 - times) * low + (times - left) * high).sum(-1) / last


def diou_loss(predicted: Tensor, true: Tensor, published: bool = True) -> Tensor:
    """(E, 2), (E, 2) -> (E,) `1 - IoU + (difference of the centres / length of the enclosing interval)^2`.

    As published, the enclosing interval goes from the smaller start to the larger end. Where the predicted ends are the
    wrong way round, it may then have no length, and the loss for an event of one frame reaches 1e13. Otherwise the
    enclosing interval goes from the smallest to the largest of the four ends.
    """
    (a, b), (c, d) = predicted.unbind(-1), true.unbind(-1)
    overlap = (torch.minimum(b, d) - torch.maximum(a, c)).clamp_min(0)
    union = b - a + d - c - overlap
    first, last = (a, b) if published else predicted.sort(-1).values.unbind(-1)
    hull = torch.maximum(last, d) - torch.minimum(first, c)
    return 1 - overlap / union.clamp_min(1e-6) + ((a + b - c - d) / 2 / hull.clamp_min(1e-6)) ** 2


def gaussian_over_anchors(times: Tensor, bins: int) -> Tensor:
    """(E, 2) -> (E, 2, B + 1) `exp(-(a - t)^2 / 2)`, scaled so that it adds up to one over the anchors."""
    anchors = torch.arange(bins + 1, device=times.device, dtype=times.dtype)
    return F.softmax(-(anchors - times[..., None]) ** 2 / 2, -1)


def to_anchors(positions: Tensor, n_frames: Tensor, bins: int) -> Tensor:
    """(E, X) frame positions, (E, 1) -> (E, X) times in bins."""
    last = (n_frames - 1).clamp_min(0)
    return positions.clamp_min(0).minimum(last) * bins / last.clamp_min(1)


def bins_loss(logits: Tensor, intervals: Tensor, mask: Tensor, base: float | None) -> Tensor:
    """(E,) the sum of both losses; `base` is not used."""
    times = to_anchors(intervals.sort(-1).values, mask.sum(-1, keepdim=True), logits.shape[-1] - 1)
    return distribution_focal_loss(logits, times) + diou_loss(expected_anchors(logits), times, published=False)


def bins_read(logits: Tensor, mask: Tensor, criterion: Criterion) -> tuple[Tensor, Tensor]:
    """How likely each frame lies between the ends, and the ends, which may be fractional; no criterion is used."""
    bins, n_frames = logits.shape[-1] - 1, mask.sum(-1, keepdim=True)
    frame = torch.arange(mask.shape[-1], device=mask.device).expand_as(mask)
    time = to_anchors(frame, n_frames, bins)
    left = time.floor().clamp_max(bins - 1).long()
    first, last = logits.softmax(-1).unbind(-2)
    begun, over = first.cumsum(-1), last.flip(-1).cumsum(-1).flip(-1)
    ends = (expected_anchors(logits) * (n_frames - 1) / bins).sort(-1).values
    curve = _between(begun, left, time) * _between(over, left, time)
    return curve.masked_fill(~mask, 0), ends


def _between(values: Tensor, left: Tensor, time: Tensor) -> Tensor:
    """(E, B + 1), (E, F), (E, F) -> (E, F) values between the two anchors around each time."""
    share = time - left
    return (1 - share) * values.gather(-1, left) + share * values.gather(-1, left + 1)
