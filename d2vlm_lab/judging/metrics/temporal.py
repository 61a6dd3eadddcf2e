"""Intervals against intervals: overlaps, matches, and scores made of them. The unit of time does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray
THRESHOLDS = (0.1, 0.3, 0.5, 0.7)


def as_intervals(intervals: Sequence, dtype=float) -> Array:
    """(N, 2), even if there are no intervals."""
    return np.asarray(intervals, dtype).reshape(-1, 2)


def temporal_iou(a: Sequence, b: Sequence) -> Array:
    """(N, M) intersection over union of all pairs; two equal points overlap fully, a reversed interval is empty."""
    a, b = as_intervals(a)[:, None], as_intervals(b)[None]
    overlap = np.clip(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0, None)
    union = np.clip(a[..., 1] - a[..., 0], 0, None) + np.clip(b[..., 1] - b[..., 0], 0, None) - overlap
    return np.where(union > 0, overlap / np.where(union > 0, union, 1), (a == b).all(-1))


def coverage(iou: Array, threshold: float, hit: Callable = np.greater_equal) -> tuple[float, float]:
    """(predictions, truths) overlaps -> share of predictions that meet some truth, share of truths that are met."""
    if not iou.size:
        return 0.0, 0.0
    return float(hit(iou.max(1), threshold).mean()), float(hit(iou.max(0), threshold).mean())


def harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else 0.0


def grounding_f1(pred: Sequence, truth: Sequence, threshold: float) -> float:
    """F1 of coverage: one truth may be met by many predictions, and the other way round."""
    return harmonic(*coverage(temporal_iou(pred, truth), threshold))


def best_pairs(gain: Array) -> tuple[Array, Array]:
    """(R, C) -> rows and columns of the pairs, each used once, whose sum is the largest."""
    from scipy.optimize import linear_sum_assignment  # imported late: that takes longer than computing most scores

    return linear_sum_assignment(gain, maximize=True)


def assign(gain: Array, threshold: float = 0.0) -> list[tuple[int, int]]:
    """Pairs (row, column), each used once: as many as reach the threshold, and among those the largest sum."""
    allowed = (gain >= threshold) & (gain > 0)
    rows, columns = best_pairs(np.where(allowed, min(gain.shape, default=0) + 1 + gain, 0))
    return [(int(i), int(j)) for i, j in zip(rows, columns) if allowed[i, j]]


def matched_f1(iou: Array, threshold: float) -> float:
    """F1 where each truth counts once and further predictions are false alarms; 1 if nothing is true or predicted."""
    return 2 * len(assign(iou, threshold)) / sum(iou.shape) if sum(iou.shape) else 1.0


def interval_f1_miou(pred_lists: Sequence[Sequence], truth_lists: Sequence[Sequence],
                     thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """Means over samples of the matched F1 at each threshold and of the matched IoU.

    The IoU of a sample is a mean over its true intervals, where an unmatched one counts 0; superfluous predictions
    lower F1 only. A sample with nothing to find scores 1 if nothing was predicted, else 0.
    """
    overlaps = [temporal_iou(pred, truth) for pred, truth in zip(pred_lists, truth_lists, strict=True)]
    f1 = np.array([[matched_f1(iou, t) for t in thresholds] for iou in overlaps]).reshape(-1, len(thresholds))
    means = f1.mean(0) if len(f1) else np.zeros(len(thresholds))
    miou = [iou[best_pairs(iou)].sum() / iou.shape[1] if iou.shape[1] else not len(iou)
            for iou in overlaps]
    return {**{f"F1@{t}": float(m) for t, m in zip(thresholds, means)},
            "F1": float(means.mean()), "mIoU": float(np.mean(miou)) if miou else 0.0}


def merged(intervals: Sequence, limit: float = np.inf) -> list[tuple[float, float]]:
    """Disjoint intervals, in order, that cover the same time, cut to [0, limit]."""
    disjoint: list[tuple[float, float]] = []
    for start, end in sorted((max(0, s), min(limit, e)) for s, e in intervals):
        if start >= end:
            continue
        if disjoint and start <= disjoint[-1][1]:
            disjoint[-1] = (disjoint[-1][0], max(end, disjoint[-1][1]))
        else:
            disjoint.append((start, end))
    return disjoint


def seconds_f1(pred: Sequence, truth: Sequence, limit: float = np.inf) -> float:
    """F1 over whole seconds: each interval is rounded to seconds and stands for the seconds from start up to end."""
    pred, truth = (merged([(round(s), round(e)) for s, e in spans], limit) for spans in (pred, truth))
    both = sum(max(0, min(p[1], t[1]) - max(p[0], t[0])) for p in pred for t in truth)
    total = sum(e - s for s, e in [*pred, *truth])
    return 2 * both / total if total else 0.0
