"""QVHighlights, moment retrieval: recall of the first window, and mean average precision over all windows.

A query may have several true windows. Average precision asks whether the windows that an answer puts first are right,
at each IoU from 0.5 to 0.95: a window is right if it overlaps a true window that no better window has taken, and each
true window that is found counts with the best precision from its rank on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np

from ...errors import LabError
from ...ideas.evidence import Interval
from ...shapes import fit
from .reading import read_intervals
from .records import etbench_problem
from .temporal import Array, temporal_iou

SOURCE = ("tal", "qvhighlights")  # task and source of its predictions
THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
RECALL = (0.5, 0.7)
MOST = 10  # largest number of windows of an answer that count
LENGTHS = {"short": (0, 10), "middle": (10, 30), "long": (30, 150)}  # seconds of a true window, above and up to


class Evidence(TypedDict):
    interval: tuple[float, float] | None
    confidence: float


class Pointed(TypedDict):
    evidence: NotRequired[list[Evidence]]


def problem(record) -> str | None:
    """What keeps a record from being scored."""
    try:
        return etbench_problem(record) or (fit(record, Pointed) and None)
    except LabError as error:
        return str(error)


def score_qvhighlights(records: Sequence[dict], protocol: str = "clean") -> dict:
    """`qvhighlights` is the published script: it leaves queries without a window out of the mean average precision."""
    windows = {record["idx"]: ranked(record, by_score=protocol == "clean") for record in records}
    truth = {record["idx"]: record["tgt"] for record in records}
    recall = np.array([[temporal_iou(windows[idx][:1], true).max(initial=0) >= t for t in RECALL]
                       for idx, true in truth.items()])
    scores = {f"R1@{t}": float(value) for t, value in zip(RECALL, recall.mean(0))}
    precision = _precision(windows, truth, protocol)
    scores |= {"mAP": float(precision.mean()), "mAP@0.5": float(precision[0]), "mAP@0.75": float(precision[5])}
    for name, (above, up_to) in LENGTHS.items():
        of_length = {idx: kept for idx, true in truth.items()
                     if (kept := [window for window in true if above < window[1] - window[0] <= up_to])}
        scores[f"mAP {name}"] = float(_precision(windows, of_length, protocol).mean()) if of_length else None
    unparsed = [idx for idx, found in windows.items() if not found]
    return {"protocol": protocol, "Total": len(truth), "Failed": len(unparsed), **scores, "unparsed": unparsed}


def ranked(record: dict, by_score: bool = True) -> list[Interval]:
    """The windows of an answer: by the confidence of their evidence if all of it is known, else in the order named.

    The published script takes the first ten windows in the order in which they are named.
    """
    windows = list(read_intervals(record["a"]).intervals)
    evidence = record.get("evidence", ()) if windows else ()
    known = {_tenths(each["interval"]): each["confidence"] for each in evidence if each["interval"]}
    if by_score and all(_tenths(window) in known for window in windows):
        windows.sort(key=lambda window: -known[_tenths(window)])
    return windows[:MOST]


def average_precision(windows: Sequence, truth: Sequence) -> Array:
    """Average precision at each threshold; the windows are in the order of their rank."""
    iou = temporal_iou(windows, truth)
    return np.array([_interpolated(_hits(iou, threshold), len(truth)) for threshold in THRESHOLDS])


def _hits(iou: Array, threshold: float) -> Array:
    """Which windows are right. Each takes the true window that it overlaps most and that is still free."""
    free, right = np.ones(iou.shape[1], bool), []
    for row in iou:
        best = int(np.where(free, row, -1).argmax())
        right.append(bool(free[best] and row[best] >= threshold))
        free[best] &= not right[-1]
    return np.array(right, bool)


def _interpolated(right: Array, n_true: int) -> float:
    """The area under precision over recall, where precision is the best at this or any higher recall."""
    if not right.any():
        return 0.0
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_from_here[right].sum() / n_true)


def _precision(windows: dict, truth: dict, protocol: str) -> Array:
    """The mean average precision over queries, at each threshold."""
    counted = [idx for idx in truth if windows[idx] or protocol == "clean"]
    return (np.mean([average_precision(windows[idx], truth[idx]) for idx in counted], axis=0) if counted
            else np.zeros(len(THRESHOLDS)))


def _tenths(interval: Sequence[float]) -> tuple[int, int]:
    return round(10 * interval[0]), round(10 * interval[1])
