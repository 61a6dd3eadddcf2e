"""A time as a distribution over bins, as DisTime has it: one token gives both ends of an interval, without any frame.

The video is divided at anchors 0, 1, ..., B. For each end a small network gives a logit for every anchor, and the time
is the anchor on average. Times are in units of bins here: seconds * B / duration.

Shapes: E evidence tokens, B bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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


def diou_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """(E, 2), (E, 2) -> (E,) `1 - IoU + (difference of the centres / length of the enclosing interval)^2`."""
    (a, b), (c, d) = predicted.unbind(-1), true.unbind(-1)
    overlap = (torch.minimum(b, d) - torch.maximum(a, c)).clamp_min(0)
    union = b - a + d - c - overlap
    hull = torch.maximum(b, d) - torch.minimum(a, c)
    return 1 - overlap / union.clamp_min(1e-6) + ((a + b - c - d) / 2 / hull.clamp_min(1e-6)) ** 2


def gaussian_over_anchors(times: Tensor, bins: int, sigma: float = 1.0) -> Tensor:
    """(E, 2) -> (E, 2, B + 1) `exp(-(a - t)^2 / (2 sigma^2))`, scaled so that it adds up to one over the anchors."""
    anchors = torch.arange(bins + 1, device=times.device, dtype=times.dtype)
    return F.softmax(-(anchors - times[..., None]) ** 2 / (2 * sigma ** 2), -1)
