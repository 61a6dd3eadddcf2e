"""How good is a set of predicted intervals? Rewards that need no matching by a threshold. Times are in seconds.

P are the predicted intervals and G the true ones. |X| is the length that X covers, P* and G* are the sets after
intervals that overlap or touch have been joined. So for all rewards but `matched_giou` it costs nothing to say a moment
twice, and models learn that (experiments/results). Intervals without a length, and those with an end that is not
finite, cover nothing and are left out; but where nothing happens, even they are wrong. All but the GIoU of sets and
`refusal` lie within [0, 1].

`pair_rewards` computes six of them for many pairs of single intervals at once, by closed forms.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from .evidence import Interval

Intervals = Sequence[Interval]
Curve = list[tuple[float, float]]  # corners of a piecewise linear function, from left to right


def iou(predicted: Intervals, true: Intervals) -> float:
    """I / (|P*| + sum |g| - I), where I sums the overlap of each interval of P* with each g of G."""
    if not true:
        return float(not predicted)
    overlap, union = _iou_parts(predicted, true)
    return min(1.0, max(0.0, overlap / union)) if union > 0 else 0.0


def giou(predicted: Intervals, true: Intervals) -> float:
    """IoU - (|C| - union) / |C|, where C reaches from the earliest start to the latest end; within [-1, 1].

    Where true intervals overlap each other, the IoU in this formula may exceed 1; only the result is limited.
    """
    both = [*_valid(predicted), *_valid(true)]
    if not _valid(predicted) or not _valid(true):
        return iou(predicted, true)
    overlap, union = _iou_parts(predicted, true)
    hull = max(end for _, end in both) - min(start for start, _ in both)
    return min(1.0, max(-1.0, overlap / union - (hull - union) / hull))


def matched_giou(predicted: Intervals, true: Intervals) -> float:
    """sum_i (1 + GIoU(p_i, g_i)) / 2 / max(#P, #G); both sorted by start, then end. One without a partner counts 0."""
    found, wanted = sorted(_valid(predicted)), sorted(_valid(true))
    if not found or not wanted:
        return float(not predicted and not true)
    pairs = [(1 + giou([p], [g])) / 2 for p, g in zip(found, wanted)]
    return sum(pairs) / max(len(found), len(wanted))


def wasserstein(predicted: Intervals, true: Intervals, beta: float = 1.0) -> float:
    """exp(-beta W1 / |G*|), W1 = integral |CDF_P - CDF_G| dt, of the uniform densities over P* and G*."""
    found, wanted = merge(predicted), merge(true)
    if not found or not wanted:
        return float(not predicted and not true)
    cdf_p, cdf_g = _cdf(found), _cdf(wanted)
    points = sorted({t for t, _ in cdf_p + cdf_g})
    difference = [_at(cdf_p, t) - _at(cdf_g, t) for t in points]
    distance = sum(_absolute_area(a, b, right - left)
                   for a, b, left, right in zip(difference, difference[1:], points, points[1:]))
    return math.exp(-beta * distance / _length(wanted))


def wasserstein2(predicted: Intervals, true: Intervals, beta: float = 1.0) -> float:
    """exp(-beta W2 / |(P and G)*|), W2^2 = integral over u of (Q_P(u) - Q_G(u))^2, of the quantile functions Q."""
    found, wanted = merge(predicted), merge(true)
    if not found or not wanted:
        return float(not predicted and not true)
    shares = sorted({u for _, u in _cdf(found) + _cdf(wanted)})
    square = 0.0
    for low, high in zip(shares, shares[1:]):
        a, b = (p - g for p, g in zip(_quantiles(found, low, high), _quantiles(wanted, low, high)))
        square += (a * a + a * b + b * b) / 3 * (high - low)
    return math.exp(-beta * math.sqrt(max(0.0, square)) / _length(merge([*found, *wanted])))


def precision_iou(predicted: Intervals, true: Intervals) -> float:
    """IoU^0.6 (|P* with G*| / |P*|)^0.4: covering more than the events costs more than missing a part of them."""
    found, wanted = merge(predicted), merge(true)
    if not found or not wanted:
        return iou(predicted, true)
    return iou(predicted, true) ** 0.6 * min(1.0, _overlaps(found, wanted) / _length(found)) ** 0.4


def refusal(predicted: Intervals, true: Intervals) -> float:
    """1 for giving no interval where nothing happens, -1 where something does; 0 for giving any."""
    if predicted:
        return 0.0
    return -1.0 if true else 1.0


def word_f1(predicted: str, true: str) -> float:
    """F1 of the words, each counted as often as it stands there; 1 where both texts are empty."""
    said, wanted = Counter(predicted.split()), Counter(true.split())
    total = said.total() + wanted.total()
    return 2 * (said & wanted).total() / total if total else 1.0


SET_REWARDS = {"iou": iou, "giou": giou, "matched_giou": matched_giou, "wasserstein": wasserstein,
               "wasserstein2": wasserstein2, "precision_iou": precision_iou}


def pair_rewards(name: str, predicted: Tensor, true: Tensor, beta: float = 1.0) -> Tensor:
    """(..., 2), (..., 2) -> (...) the reward `name` of a single predicted interval for a single true one.

    For intervals with a length it is the same as above, but an interval of one instant is compared as well.
    """
    (a, b), (c, d) = predicted.unbind(-1), true.unbind(-1)
    lengths = b - a + d - c
    overlap = (torch.minimum(b, d) - torch.maximum(a, c)).clamp_min(0)
    union, hull = lengths - overlap, torch.maximum(b, d) - torch.minimum(a, c)
    share = torch.where(union > 0, overlap / union.clamp_min(TINY), (hull == 0).to(union.dtype))
    if name == "iou":
        return share
    if name in ("giou", "matched_giou"):
        generalized = share - (hull - union) / hull.clamp_min(TINY)
        return generalized if name == "giou" else (1 + generalized) / 2
    if name == "precision_iou":
        return share ** 0.6 * torch.where(b > a, overlap / (b - a).clamp_min(TINY), share) ** 0.4
    start, end = a - c, b - d  # the quantile functions differ by a line from `start` to `end`
    if name == "wasserstein":
        both = start.abs() + end.abs()
        crossing = (start ** 2 + end ** 2) / (2 * both).clamp_min(TINY)
        distance = torch.where(start * end < 0, crossing, both / 2)
        return torch.exp(-beta * distance / (d - c).clamp_min(TINY))
    if name == "wasserstein2":
        distance = ((start ** 2 + start * end + end ** 2) / 3).clamp_min(0).sqrt()
        return torch.exp(-beta * distance / union.clamp_min(TINY))
    raise ValueError(f"unknown reward {name!r}: use one of {', '.join(SET_REWARDS)}")


TINY = 1e-9  # seconds; keeps a division by the length of an instant finite


def merge(intervals: Intervals) -> list[Interval]:
    """The intervals sorted by start; those that overlap or touch are joined."""
    merged: list[Interval] = []
    for start, end in sorted(_valid(intervals)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _valid(intervals: Intervals) -> list[Interval]:
    return [(start, end) for start, end in intervals if math.isfinite(start) and math.isfinite(end) and start < end]


def _length(intervals: Intervals) -> float:
    return sum(end - start for start, end in intervals)


def _overlaps(some: Intervals, others: Intervals) -> float:
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in some for c, d in others)


def _iou_parts(predicted: Intervals, true: Intervals) -> tuple[float, float]:
    """The overlap and the union of P* and G."""
    predicted, true = merge(predicted), _valid(true)
    overlap = _overlaps(predicted, true)
    return overlap, _length(predicted) + _length(true) - overlap


def _cdf(merged: Intervals) -> Curve:
    """The corners of the distribution function of the uniform density over the intervals."""
    total, before, corners = _length(merged), 0.0, []
    for start, end in merged:
        corners += [(start, before / total), (end, (before := before + end - start) / total)]
    return corners[:-1] + [(merged[-1][1], 1.0)]


def _at(cdf: Curve, t: float) -> float:
    if t <= cdf[0][0]:
        return 0.0
    for (left, low), (right, high) in zip(cdf, cdf[1:]):
        if t <= right:
            return low + (high - low) * (t - left) / (right - left)
    return 1.0


def _quantiles(merged: Intervals, low: float, high: float) -> Interval:
    """The quantile function at both ends of [low, high], within which it is a line."""
    cdf, middle = _cdf(merged), (low + high) / 2
    piece = next(i for i in range(0, len(cdf), 2) if middle <= cdf[i + 1][1])
    (left, a), (right, b) = cdf[piece:piece + 2]
    return left + (low - a) / (b - a) * (right - left), left + (high - a) / (b - a) * (right - left)


def _absolute_area(a: float, b: float, width: float) -> float:
    """integral |line from a to b| over `width`; the line may cross zero."""
    if a * b >= 0:
        return (abs(a) + abs(b)) / 2 * width
    return (a * a + b * b) / (2 * (abs(a) + abs(b))) * width
