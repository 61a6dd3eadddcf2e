"""How an evidence token says when. `sigmoid` is the method's, the others are for comparison.

The first three compare the token with the frames, and each of them asks another question.

sigmoid: "does this frame belong to the event?", asked of each frame by itself. softmax: "which of all frames belong to
it?". boundary: "where does it begin, and where does it end?": one half of the state points at the first frame and one
at the last. All three use the same similarities and no further weights, so that they differ in nothing else.

cite: the question of sigmoid, but its curve only proposes intervals, and separate networks point at one of them (see
`citing.py`).

bins: no frame is looked at; a separate network turns the state into a distribution over the time of each end (see
`bins.py`).

Shapes: E evidence tokens, F frames, D hidden, B bins. `logits` are (E, F), for `boundary` (E, 2, F), for `bins`
(E, 2, B + 1). Intervals are frame positions, both ends included, and may be fractional; `mask` (E, F) is True on the
frames that exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .bins import bins_loss, bins_read
from .grounding import frame_targets, grounding_loss, similarity
from .salience import Criterion


@dataclass(frozen=True)
class Formulation:
    compare: Callable[[Tensor, Tensor], Tensor] | None  # (E, D), (F, D) -> logits; None where no frame is looked at
    loss: Callable[[Tensor, Tensor, Tensor, float | None], Tensor]  # logits, (E, 2), mask, base of targets -> (E,)
    read: Callable[[Tensor, Tensor, Criterion], tuple[Tensor, Tensor]]  # -> (E, F) curve, (E, 2) interval


def sigmoid_loss(logits: Tensor, intervals: Tensor, mask: Tensor, base: float | None) -> Tensor:
    """(E,) binary cross-entropy with the frame targets, mean over frames."""
    return grounding_loss(logits, frame_targets(intervals.round(), logits.shape[-1], base), mask)


def sigmoid_read(logits: Tensor, mask: Tensor, criterion: Criterion) -> tuple[Tensor, Tensor]:
    curve = logits.sigmoid().masked_fill(~mask, 0)
    return curve, criterion(curve, mask, logits)


def softmax_loss(logits: Tensor, intervals: Tensor, mask: Tensor, base: float | None) -> Tensor:
    """(E,) cross-entropy `-sum_F t log softmax(logits)` with the frame targets, scaled so that they add up to one."""
    targets = frame_targets(intervals.round(), logits.shape[-1], base).masked_fill(~mask, 0)
    targets = targets / targets.sum(-1, keepdim=True).clamp_min(1e-12)
    return -(targets * _log_softmax(logits, mask).masked_fill(~mask, 0)).sum(-1)


def softmax_read(logits: Tensor, mask: Tensor, criterion: Criterion) -> tuple[Tensor, Tensor]:
    curve = _log_softmax(logits, mask).exp()
    return curve, criterion(curve, mask, logits)


def ends_compare(evidence: Tensor, frames: Tensor) -> Tensor:
    """(E, D), (F, D) -> (E, 2, F): each half of the state with the same half of the frames."""
    halves = [similarity(e, f) for e, f in zip(evidence.chunk(2, -1), frames.chunk(2, -1))]
    return torch.stack(halves, -2)


def expected_ends(logits: Tensor, mask: Tensor) -> Tensor:
    """(E, 2, F) -> (E, 2) fractional positions `sum_F softmax(logits) frame`: where each half points on average."""
    frame = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return _log_softmax(logits, mask[:, None]).exp() @ frame


def boundary_loss(logits: Tensor, intervals: Tensor, mask: Tensor, base: float | None) -> Tensor:
    """(E,) distance from the true ends as a share of the video, mean over both; `base` is not used."""
    length = mask.sum(-1, keepdim=True)
    ends = intervals.round().sort(-1).values.clamp_min(0).minimum(length - 1)
    return ((expected_ends(logits, mask) - ends).abs() / length).mean(-1)


def boundary_read(logits: Tensor, mask: Tensor, criterion: Criterion) -> tuple[Tensor, Tensor]:
    """How likely each frame lies between the ends, and the ends, rounded; no criterion is used."""
    first, last = _log_softmax(logits, mask[:, None]).exp().unbind(-2)
    curve = first.cumsum(-1) * last.flip(-1).cumsum(-1).flip(-1)
    return curve.masked_fill(~mask, 0), expected_ends(logits, mask).round().long().sort(-1).values


FORMULATIONS = {"sigmoid": Formulation(similarity, sigmoid_loss, sigmoid_read),
                "softmax": Formulation(similarity, softmax_loss, softmax_read),
                "boundary": Formulation(ends_compare, boundary_loss, boundary_read),
                "cite": Formulation(similarity, sigmoid_loss, sigmoid_read),
                "bins": Formulation(None, bins_loss, bins_read)}


def _log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.masked_fill(~mask, -torch.inf).log_softmax(-1)
