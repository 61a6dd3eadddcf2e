"""How well events were noticed while a video ran: how late, how often in vain, and how right at each moment."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ...ideas.evidence import Interval
from .temporal import Array, assign, matched_f1, temporal_iou

HIT = 0.5  # overlap from which on a true event counts as found


@dataclass(frozen=True)
class Said:
    """An update of a standing question."""

    kind: str  # opened, extended, closed, revised or withdrawn
    event: Hashable  # the number or name of the event that it is about
    at: float  # the second at which it came
    interval: Interval  # in seconds


@dataclass(frozen=True)
class LiveCase:
    """One standing question about one video: its updates in order, the true events, and when the video ended."""

    updates: Sequence[Said]
    truth: Sequence[Interval]
    end: float


def standing(updates: Sequence[Said], at: float = np.inf) -> dict[Hashable, Interval]:
    """The events that are claimed at a moment, each with its newest interval."""
    claimed: dict[Hashable, Interval] = {}
    for update in updates:
        if update.at > at:
            continue
        if update.kind == "withdrawn":
            claimed.pop(update.event, None)
        else:
            claimed[update.event] = update.interval
    return claimed


def f1_by_moment(case: LiveCase, moments: Array) -> Array:
    """F1 at each moment, against the part of the truth that has happened by then."""
    return np.array([_f1(standing(case.updates, moment), [(start, min(end, moment)) for start, end in case.truth
                                                          if start < moment]) for moment in moments])


def notices(case: LiveCase) -> tuple[list[float], int]:
    """For each true event that was found, how many seconds after its start it was first noticed (negative: before its
    start); and how many noticed events belong to no true event."""
    first: dict[Hashable, float] = {}
    last: dict[Hashable, Interval] = {}
    for update in case.updates:
        first.setdefault(update.event, update.at)
        last[update.event] = update.interval
    kept = list(standing(case.updates))
    pairs = assign(temporal_iou([last[event] for event in kept], case.truth), HIT)
    delays = [first[kept[i]] - case.truth[j][0] for i, j in pairs]
    return delays, len(last) - len(pairs)


def live_scores(cases: Sequence[LiveCase], step: float = 0.5) -> dict[str, float]:
    """Scores of all questions together. Moments come every `step` seconds up to the end of each video."""
    found = [notices(case) for case in cases]
    delays = [delay for each, _ in found for delay in each]
    true = sum(len(case.truth) for case in cases)
    revisions = sum(update.kind in ("revised", "withdrawn") for case in cases for update in case.updates)
    moments = [f1_by_moment(case, np.arange(step, case.end + step / 2, step)) for case in cases]
    questions = max(1, len(cases))
    scores = {
        "F1_at_end": _mean([_f1(standing(case.updates), case.truth) for case in cases]),
        "F1_at_any_moment": _mean([value for each in moments for value in each]),
        "noticed": len(delays) / true if true else np.nan,
        "delay": _mean(delays), "delay_median": float(np.median(delays)) if delays else np.nan,
        "early": sum(delay < 0 for delay in delays) / questions,
        "false": sum(n for _, n in found) / questions, "revisions": revisions / questions,
    }
    return {name: float(value) for name, value in scores.items()}


def _f1(claimed: dict[Hashable, Interval], truth: Sequence[Interval]) -> float:
    return matched_f1(temporal_iou(list(claimed.values()), truth), HIT)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else np.nan
