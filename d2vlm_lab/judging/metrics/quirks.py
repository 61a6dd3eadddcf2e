"""Every bug that the published scorers are known for, in one place, each named after what goes wrong.

`protocols.py` says which protocol has which. Where an official script would stop with an error, the answer counts as
failed instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...ideas.evidence import END, Interval
from .choices import IN_BRACKETS, LETTERS, Choice
from .parse import Reading
from .temporal import THRESHOLDS, as_intervals, coverage, harmonic


def malformed_numbers_fail(read: Callable[[str], object], nothing: object = Reading()) -> Callable[[str], object]:
    """The scripts stop at "3..5 - 9"; here such an answer reads as nothing."""
    def reading(text: str):
        try:
            return read(text)
        except ValueError:
            return nothing
    return reading


def iou_in_float32(a: Sequence, b: Sequence) -> np.ndarray:
    """NaN for two empty intervals, and 7/10 misses 0.7 once it is read back as a longer float."""
    with np.errstate(all="ignore"):
        a, b = as_intervals(a, np.float32)[:, None], as_intervals(b, np.float32)[None]
        overlap = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), np.float32(0))
        return overlap / ((a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap)


def iou_with_epsilon(a: Sequence, b: Sequence) -> np.ndarray:
    """Two equal points do not overlap, and a reversed interval may have any sign."""
    with np.errstate(all="ignore"):
        a, b = as_intervals(a)[:, None], as_intervals(b)[None]
        overlap = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0)
        hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
        return overlap / (np.minimum(hull, a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0]) + 1e-8)


def iou_of_hull(a: Interval, b: Interval) -> float:
    """Disjoint intervals are divided by all the time between their ends, two equal points by nothing (here: 0)."""
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return max(min(a[1], b[1]) - max(a[0], b[0]), 0) / hull if hull else 0.0


def first_sample_fixes_the_letters(samples: Sequence[dict]) -> list[int]:
    """How many letters count as options: those of the source's first sample, and only 4 or 5 are known."""
    n = len(samples[0]["o"])
    return [n if n in (4, 5) else 0] * len(samples)


def only_four_or_five_options(samples: Sequence[dict]) -> list[int]:
    return [len(sample["o"]) if len(sample["o"]) in (4, 5) else 0 for sample in samples]


def letter_in_brackets_anywhere(text: str, options: Sequence[str], n: int) -> Choice:
    """The first "(x)" of the whole answer, evidence included; then a letter at its start."""
    bracket = IN_BRACKETS.search(text)
    opening = letter_at_the_start(text.lower(), options, n)
    letters = (_index(bracket[1], n), *opening.letters) if bracket else opening.letters
    return Choice(letters, opening.rest, bool(bracket) or opening.formed)


def letter_after_the_delimiter(text: str, options: Sequence[str], n: int) -> Choice:
    """A blank after the delimiter hides "Best Option:", and "(x)" further on is never seen."""
    return letter_at_the_start(text.split(END)[-1].lower(), options, n)


def letter_after_the_delimiter_with_case(text: str, options: Sequence[str], n: int) -> Choice:
    return letter_at_the_start(text.split(END)[-1], options, n)


def letter_at_the_start(text: str, options: Sequence[str], n: int) -> Choice:
    """"A man walks" is option A."""
    if text.lower().startswith("best option:"):
        text = text[len("best option:"):]
    text = text.lstrip().lstrip("(").lstrip()
    formed = len(text) == 1 or text[1:2] in tuple("., )")
    return Choice((_index(text[0], n),) if formed else (), text, formed)


def evidence_sum_resets(cases: Sequence[tuple | None]) -> tuple[list[float], list[float]]:
    """An answer that passes a threshold while its evidence does not wipes out all evidence scores before it."""
    sums = np.zeros((2, len(THRESHOLDS)))
    for overlaps in filter(None, cases):
        for k, threshold in enumerate(THRESHOLDS):
            if overlaps[0].max() < threshold:
                continue
            for row, iou in enumerate(overlaps):
                shares = coverage(iou, threshold)
                sums[row, k] = sums[row, k] + harmonic(*shares) if any(shares) else 0
    return (sums / len(cases)).tolist()


def evidence_joins_the_answer(reading: Reading) -> tuple[list[Interval], list[Interval]]:
    """Answer and evidence fill the same map; an interval without end hides itself and the next one."""
    kept = list(reading.intervals)
    evidence = reading.evidence or kept  # the very same list: what is removed from one is gone from both
    marked = []
    for interval in kept:
        if math.isinf(interval[1]):
            round(interval[0])
            kept.remove(interval)
        else:
            marked.append(interval)
    union = [*marked, *evidence]
    return union, union


def last_answer_of_each_video(samples: Sequence[dict], readings: Sequence[Reading]) -> list[int]:
    """Later answers about a video replace earlier ones, and failed ones are left out."""
    return list({sample["video"]: i for i, (sample, reading) in enumerate(zip(samples, readings))
                 if reading.intervals}.values())


def evidence_averages(rows: dict[str, dict[str, dict]]) -> list[float | None]:
    """Averages over tasks of evidence scores: the sum runs on over the grounding tasks, the divisor doesn't.

    None where a score is empty for want of a sentence model.
    """
    found: list[float | None] = []
    running = []
    for task in ("tvg", "epm", "tal", "evs", "vhd"):
        if task in rows:
            running += [row["F1_evi"] for row in rows[task].values()]
            found.append(round(sum(running) / len(rows[task]), 5))
    for task, column in (("dvc", "F1_evi"), ("slc", "F1_evi"), ("tem", "mRec_evi"), ("gvq", "mRec_evi")):
        if task in rows:
            values = [row[column] for row in rows[task].values()]
            found.append(None if None in values else round(sum(values) / len(values), 5))
    return found


def _index(letter: str, n: int) -> int | None:
    index = LETTERS.find(letter.lower())
    return index if 0 <= index < n else None
