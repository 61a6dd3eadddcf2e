"""How certain a score is within one run: intervals from videos drawn again, and two prediction files compared in pairs.

A *bootstrap* draws as many videos as there are, with replacement, and scores the answers about them as if they were the
benchmark; 95 % of the scores of many such draws lie within the interval. Videos are drawn rather than questions, since
questions about one video succeed and fail together. Such an interval says how much a score depends on the videos that
happen to be in the benchmark. It says nothing about another training run: compare seeds for that.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...errors import LabError
from .records import first_few

T = TypeVar("T")
Records = Sequence[dict]
ScoreFunction = Callable[[Records], dict[str, float | None]]  # answered questions -> scores by name


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, with its 95 % interval, if anything was drawn."""

    value: float
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval of a difference leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def intervals(records: Records, score: ScoreFunction, video: Callable[[dict], Hashable],
              draws: int, seed: int = 0) -> dict[str, Estimate]:
    """Each score with its interval, except scores that are None, and those that many draws leave without a question."""
    return _estimates(score(records), [score(draw) for draw in _drawn(records, video, draws, seed)])


def differences(first: Records, second: Records, scores_of: tuple[ScoreFunction, ScoreFunction],
                video: Callable[[dict], Hashable], draws: int) -> dict[str, Estimate]:
    """Scores of the first minus those of the second. Both answer the same questions in the same order, and pairs of
    answers to the same question are drawn.
    """
    def gains(a: Records, b: Records) -> dict[str, float | None]:
        scores, others = scores_of[0](a), scores_of[1](b)
        return {name: None if scores[name] is None or others.get(name) is None else scores[name] - others[name]
                for name in scores}

    pairs = list(zip(first, second, strict=True))
    drawn = _drawn(pairs, lambda pair: video(pair[0]), draws)
    return _estimates(gains(first, second), [gains(*zip(*draw)) for draw in drawn])


def paired(first: Records, second: Records, identity: Sequence[str], names: tuple[str, str],
           lenient: bool) -> tuple[list[dict], list[dict], list[str]]:
    """The records that answer the same questions, in the same order, and notes about those left out."""
    by_key = [{tuple(record[name] for name in identity): record for record in records} for records in (first, second)]
    alone = [[key for key in here if key not in there] for here, there in (by_key, reversed(by_key))]
    for name, keys in zip(names, alone):
        if keys and not lenient:
            raise LabError(f"{name}: questions that the other file does not answer ({len(keys)}): {first_few(keys)}. "
                           "With --lenient, the questions that both answer are compared")
    shared = [key for key in by_key[0] if key in by_key[1]]
    if not shared:
        raise LabError(f"{names[0]} and {names[1]} have no question in common")
    notes = [f"questions that only {name} answers, left out: {len(keys)}" for name, keys in zip(names, alone) if keys]
    return [by_key[0][key] for key in shared], [by_key[1][key] for key in shared], notes


def _drawn(records: Sequence[T], video: Callable[[T], Hashable], draws: int, seed: int = 0) -> Iterator[list[T]]:
    """`draws` lists of records; equal videos and an equal seed give draws of the same videos."""
    by_video: dict[Hashable, list[T]] = {}
    for record in records:
        by_video.setdefault(video(record), []).append(record)
    groups = [by_video[name] for name in sorted(by_video, key=str)]
    random = np.random.default_rng(seed)
    for _ in range(draws):
        yield [record for k in random.integers(len(groups), size=len(groups)) for record in groups[k]]


def _estimates(values: dict[str, float | None], of_draws: Sequence[dict[str, float | None]]) -> dict[str, Estimate]:
    estimates = {}
    for name, value in values.items():
        drawn = [scores.get(name) for scores in of_draws]
        known = [x for x in drawn if x is not None and np.isfinite(x)]
        if value is not None and len(known) >= 0.9 * len(drawn):
            ends = map(float, np.percentile(known, (2.5, 97.5))) if known else (None, None)
            estimates[name] = Estimate(float(value), *ends)
    return estimates
