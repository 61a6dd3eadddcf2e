"""SODA_c: how well captions tell a story in order, by overlap in time times similarity in words."""

from __future__ import annotations

import numpy as np

from .temporal import harmonic


def in_order(scores: np.ndarray) -> float:
    """The largest sum of scores over pairs (row, column) that never cross and never share a row or column."""
    best = np.zeros(scores.shape[1] + 1)
    for row in scores:
        taken = np.maximum(best[1:], best[:-1] + row)
        best[1:] = np.maximum.accumulate(taken)
    return float(best[-1])


def soda(iou: np.ndarray, similarity: np.ndarray) -> float:
    """(predictions, truths) twice -> F of the best story; 0 where nothing was predicted."""
    if not iou.size:
        return 0.0
    total = in_order(iou * similarity)
    return harmonic(total / iou.shape[0], total / iou.shape[1])
