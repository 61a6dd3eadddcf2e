"""The five ways in which E.T. Bench answers are scored, as one table of named choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import published_reading as published
from . import quirks, reading
from .published_reading import malformed_numbers_fail
from .reading import Choice, Reading
from .temporal import THRESHOLDS, Array, coverage, harmonic, temporal_iou


def all_letters(samples: Sequence[dict]) -> list[int]:
    return [len(sample["o"]) for sample in samples]


def read_choice(text: str, options: Sequence[str], n: int) -> Choice:
    return reading.read_choice(text, options)


def mean_f1(cases: Sequence[tuple[Array, Array]]) -> tuple[list[float], list[float]]:
    """(answer, evidence) overlaps of each sample -> mean F1 at each threshold, of answers and of evidence."""
    f1 = [[[harmonic(*coverage(iou, t)) for t in THRESHOLDS] for iou in case] for case in cases]
    return (np.array(f1).sum(0) / len(cases)).tolist()


def answer_and_evidence(answer: Reading) -> tuple[Sequence, Sequence]:
    return answer.intervals, answer.evidence


def all_samples(samples: Sequence[dict], readings: Sequence[Reading]) -> list[int]:
    return list(range(len(samples)))


@dataclass(frozen=True)
class Protocol:
    """The defaults are `clean`: answers are read as they are meant, and failed answers count in every denominator."""

    name: str
    # how answers are read
    intervals: Callable[[str], Reading] = reading.read_intervals
    events: Callable[[str], Reading] = reading.read_events
    point: Callable[[str], tuple[float | None, float | None]] = reading.read_point
    choice: Callable[[str, Sequence[str], int], Choice] = read_choice
    timed_choice: Callable[[str, Sequence[str], int], Choice] = read_choice  # gvq
    letters: Callable[[Sequence[dict]], list[int]] = all_letters  # how many letters are options of each sample
    timed_letters: Callable[[Sequence[dict]], list[int]] = all_letters
    second_chance: bool = False  # a wrong letter may still be right by similarity
    form_is_enough: bool = False  # a letter that is no option still counts as an answer that was understood
    # what is compared
    best_of_all: bool = False  # tvg, epm: the best interval of an answer, not its first
    evidence: bool = True  # columns for what is grounded before the answer
    answer_for_evidence: bool = False  # missing evidence is replaced by the answer
    iou: Callable[[Sequence, Sequence], Array] = temporal_iou
    event_iou: Callable[[Sequence, Sequence], Array] = temporal_iou  # dvc, slc
    event_hit: Callable = np.greater_equal
    tal: Callable[[Sequence[tuple[Array, Array]]], tuple[list[float], list[float]]] = mean_f1
    summary: Callable[[Reading], tuple[Sequence, Sequence]] = answer_and_evidence  # evs
    summary_seconds: float = np.inf
    failed_summaries_count: bool = True
    described: Callable[[Sequence[dict], Sequence[Reading]], list[int]] = all_samples  # dvc, slc: samples scored
    # what is printed
    extras: bool = True  # matched F1, exact text
    matched_columns: bool = False  # columns for how many choices were made by letter
    digits: int | None = None  # rounding, also before averaging


_PUBLISHED = Protocol(
    "published", letters=quirks.first_sample_fixes_the_letters, timed_letters=quirks.only_four_or_five_options,
    iou=quirks.iou_in_float32, event_iou=quirks.iou_with_epsilon, event_hit=np.greater, answer_for_evidence=True,
    summary_seconds=1000, failed_summaries_count=False, described=quirks.last_answer_of_each_video,
    extras=False, digits=5)

ETBENCH = replace(
    _PUBLISHED, name="etbench", evidence=False, second_chance=True, form_is_enough=True,
    intervals=malformed_numbers_fail(published.plain_intervals), events=published.plain_events,
    point=published.plain_point, choice=published.letter_in_brackets_anywhere,
    timed_choice=published.letter_at_the_start)

D2VLM = replace(
    _PUBLISHED, name="d2vlm", best_of_all=True, matched_columns=True, tal=quirks.evidence_sum_resets,
    summary=quirks.evidence_joins_the_answer, intervals=malformed_numbers_fail(published.split_intervals),
    events=malformed_numbers_fail(published.split_events),
    point=malformed_numbers_fail(published.split_point, (None, None)),
    choice=published.letter_after_the_delimiter, timed_choice=published.letter_after_the_delimiter_with_case)

PROTOCOLS = {protocol.name: protocol for protocol in (
    Protocol("clean"), ETBENCH, replace(ETBENCH, name="etbench-strict", second_chance=False),
    D2VLM, replace(D2VLM, name="d2vlm-loose", second_chance=True))}
