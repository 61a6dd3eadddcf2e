"""A chosen answer beside rejected ones, as JSON Lines: made by `d2vlm-lab make-preferences`, read when training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

from ..errors import LabError
from ..files import atomic_path
from ..ideas.clauses import cut, words
from ..ideas.evidence import Event, overlap
from ..ideas.rejected import FACTORS, Rejected
from ..reader import read_lines
from ..shapes import fit, shown
from .sample import EventRecord, Sample, SampleError, brief, events_of, from_record, sample_error, to_record, validate

OnBad = Callable[[str, str], None]  # called with (sample, message) for each bad preference, which is then left out


class RejectedRecord(TypedDict):
    """A rejected answer in a preference file."""

    video: NotRequired[str]
    events: list[EventRecord]
    answer: list[str | int]
    kind: str
    factor: str
    strength: NotRequired[float]
    event: NotRequired[int]


@dataclass(frozen=True)
class PreferencePair:
    """A sample with its chosen answer, and the answers rejected for it."""

    chosen: Sample
    rejected: tuple[Rejected, ...]


def with_answer(sample: Sample, rejected: Rejected) -> Sample:
    """The sample with a rejected answer in the place of its own."""
    return replace(sample, id=f"{sample.id}/{rejected.kind}", events=rejected.events, answer=rejected.answer)


def check(preference: PreferencePair, where: str = "") -> PreferencePair:
    """The preference itself, or an error that names the sample and what is wrong with its answers."""
    for problem in _problems(preference):
        raise sample_error(preference.chosen, problem, where)
    for rejected in preference.rejected:
        validate(replace(with_answer(preference.chosen, rejected), options=(), correct=None), where)
    return preference


def _problems(preference: PreferencePair) -> Iterator[str]:
    sample = preference.chosen
    if not sample.answer:
        yield "the chosen answer is empty"
    if not (sample.events or sample.question_intervals or sample.options):
        yield "the chosen answer has no events; only answers about given intervals or options can do without"
    if not preference.rejected:
        yield "there is no rejected answer beside the chosen one"
    for n, rejected in enumerate(preference.rejected, 1):
        if (rejected.events, rejected.answer) == (sample.events, sample.answer):
            yield f"rejected answer {n} ({brief(rejected.kind)}) equals the chosen one"
        if rejected.factor not in FACTORS:
            yield f"rejected answer {n} has factor {shown(rejected.factor)}; a factor is one of {', '.join(FACTORS)}"
        if not 0 <= rejected.event < max(1, len(sample.events)):
            yield f"rejected answer {n} touches event {rejected.event + 1}, but there are {len(sample.events)} events"


def to_line(preference: PreferencePair) -> str:
    """One line of a preference file."""
    sample = preference.chosen
    rejected = [{"video": sample.video, "events": to_record(with_answer(sample, wrong)).get("events", []),
                 "answer": list(wrong.answer), "kind": wrong.kind, "factor": wrong.factor,
                 "strength": wrong.strength, "event": wrong.event} for wrong in preference.rejected]
    return json.dumps({"chosen": to_record(sample), "rejected": rejected}, ensure_ascii=False)


def pair_of(record: dict, where: str = "") -> PreferencePair:
    """The pair of an object in a preference file; wrong keys, types and values are errors."""
    if set(record) != {"chosen", "rejected"}:
        raise SampleError(f"{where}: expected an object with `chosen` and `rejected`, and nothing else")
    sample = from_record(record["chosen"], where)
    try:
        entries = fit(record["rejected"], list[RejectedRecord], path="rejected")
        rejected = tuple(_rejected(sample, entry) for entry in entries)
    except LabError as error:
        raise sample_error(sample, error, where) from None
    return check(PreferencePair(sample, rejected), where)


def _rejected(sample: Sample, entry: dict) -> Rejected:
    if unknown := sorted(set(entry) - set(RejectedRecord.__annotations__)):
        raise LabError(f"unknown field {shown(unknown[0])}; a rejected answer has "
                       f"{', '.join(RejectedRecord.__annotations__)}")
    if (video := entry.get("video", sample.video)) != sample.video:
        raise LabError(f"a rejected answer is about another video, {shown(video)}; both answers must share theirs")
    return Rejected(events_of(entry["events"]), tuple(entry["answer"]), entry["kind"], entry["factor"],
                    entry.get("strength", 1.0), entry.get("event", 0))


def read_preferences(path: str | os.PathLike, on_bad: OnBad | None = None) -> Iterator[PreferencePair]:
    """The pairs, one at a time; a bad one is an error that names its place, or goes to `on_bad` and is left out."""
    def report(line: int, problem: str) -> None:
        if on_bad is None:
            raise SampleError(problem)
        on_bad(f"line {line}", problem)

    number = 0
    for number, record in read_lines(path, dict, report):
        try:
            yield pair_of(record, f"{path}: line {number}")
        except SampleError as error:
            report(number, str(error))
    if not number:
        raise SampleError(f"{path}: there is no pair in this file that can be read")


def write_preferences(path: str | os.PathLike, preferences: Iterable[PreferencePair]) -> None:
    """Write JSON Lines; the file takes its name only when it is complete."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        for preference in preferences:
            out.write(to_line(preference) + "\n")


def what_is_wrong(sample: Sample, events: Sequence[Event], answer: Sequence[str | int],
                  tolerance: float = 0.5) -> tuple[str, ...]:
    """The factors in which an answer differs from the sample's answer, as a scorer sees it; () if it is right."""
    expected, texts = ([words(clause) for clause in cut(pieces)] for pieces in (sample.answer, answer))
    event_repeated = len(events) > len(sample.events) and any(
        overlap(a.interval, b.interval) >= tolerance for i, a in enumerate(events) for b in events[:i])
    text_repeated = (max(map(texts.count, texts), default=0) > max(map(expected.count, expected), default=0)
                     or any(text not in expected and stutters(text) for text in texts))
    wrong = []
    if len(events) != len(sample.events):
        wrong.append("how" if event_repeated else "which")
    elif any(overlap(a.interval, b.interval) < tolerance for a, b in zip(sample.events, events)):
        wrong.append("when")
    if text_repeated and "how" not in wrong:
        wrong.append("how")
    if not text_repeated and texts != expected and len(events) == len(sample.events):
        wrong.append("what")
    return tuple(wrong)


def stutters(text: str) -> bool:
    """Whether one to six words are said twice in a row."""
    said = text.lower().split()
    return any(said[i:i + n] == said[i + n:i + 2 * n] for n in range(1, 7) for i in range(len(said) - 2 * n + 1))
