"""Slips of the published scorers in how they score. Each function is named after what goes wrong.

`protocols.py` says which protocol has which slip; slips in how answers are read are in `published_reading.py`. If an
official script would stop with an error, the answer counts as failed instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...ideas.evidence import Interval
from .reading import Reading
from .temporal import THRESHOLDS, Array, as_intervals, coverage, harmonic


def iou_in_float32(a: Sequence, b: Sequence) -> Array:
    """Gives NaN for two empty intervals, and an overlap of 7/10 in 32 bits, read as 64 bits, is below 0.7."""
    with np.errstate(all="ignore"):
        a, b = as_intervals(a, np.float32)[:, None], as_intervals(b, np.float32)[None]
        overlap = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), np.float32(0))
        return overlap / ((a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap)


def iou_with_epsilon(a: Sequence, b: Sequence) -> Array:
    """Two equal points do not overlap, and the result for a reversed interval may have any sign."""
    with np.errstate(all="ignore"):
        a, b = as_intervals(a)[:, None], as_intervals(b)[None]
        overlap = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0)
        hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
        return overlap / (np.minimum(hull, a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0]) + 1e-8)


def iou_of_hull(a: Interval, b: Interval) -> float:
    """Divides by all the time from the first to the last end, even between disjoint intervals; equal points give 0."""
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return max(min(a[1], b[1]) - max(a[0], b[0]), 0) / hull if hull else 0.0


def only_four_or_five_options(samples: Sequence[dict]) -> list[int]:
    """How many letters count as options of each sample; unless it has 4 or 5 options, no letter counts."""
    return [len(sample["o"]) if len(sample["o"]) in (4, 5) else 0 for sample in samples]


def first_sample_fixes_the_letters(samples: Sequence[dict]) -> list[int]:
    """The options of a source's first sample decide how many letters count for all of its samples."""
    return only_four_or_five_options(samples[:1]) * len(samples)


def evidence_sum_resets(cases: Sequence[tuple[Array, Array]]) -> tuple[list[float], list[float]]:
    """If an answer reaches a threshold but its evidence does not, all evidence scores before it are lost."""
    sums = np.zeros((2, len(THRESHOLDS)))
    for overlaps in cases:
        for k, threshold in enumerate(THRESHOLDS):
            if not overlaps[0].size or overlaps[0].max() < threshold:
                continue
            for row, iou in enumerate(overlaps):
                shares = coverage(iou, threshold)
                sums[row, k] = sums[row, k] + harmonic(*shares) if any(shares) else 0
    return (sums / len(cases)).tolist()


def evidence_joins_the_answer(reading: Reading) -> tuple[list[Interval], list[Interval]]:
    """Answer and evidence fill the same map; an interval without an end removes itself and hides the next one."""
    kept = list(reading.intervals)
    evidence = reading.evidence or kept  # the same list object: what is removed from one is gone from both
    filled = []
    for interval in kept:
        if math.isinf(interval[1]):
            round(interval[0])  # OverflowError if it has no start either: the answer fails
            kept.remove(interval)
        else:
            filled.append(interval)
    union = [*filled, *evidence]
    return union, union


def last_answer_of_each_video(samples: Sequence[dict], readings: Sequence[Reading]) -> list[int]:
    """Later answers about a video replace earlier ones, and failed ones are left out."""
    return list({sample["video"]: i for i, (sample, reading) in enumerate(zip(samples, readings))
                 if reading.intervals or "error" in sample}.values())


def evidence_averages(rows: dict[str, dict[str, dict]]) -> list[float | None]:
    """Averages of evidence scores for each task: the sum goes on over the grounding tasks, but the divisor does not.

    None if a score is empty because there is no sentence model.
    """
    averages: list[float | None] = []
    running = []
    for task in ("tvg", "epm", "tal", "evs", "vhd"):
        if task in rows:
            running += [row["F1_evi"] for row in rows[task].values()]
            averages.append(round(sum(running) / len(rows[task]), 5))
    for task, column in (("dvc", "F1_evi"), ("slc", "F1_evi"), ("tem", "mRec_evi"), ("gvq", "mRec_evi")):
        if task in rows:
            values = [row[column] for row in rows[task].values()]
            averages.append(None if None in values else round(sum(values) / len(values), 5))
    return averages
