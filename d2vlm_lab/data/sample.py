"""Samples, the one schema: every data set becomes samples, and every task reads them. All times are in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import NotRequired, TypedDict

import numpy as np

from ..config import NAMED
from ..errors import LabError
from ..files import unsafe_path
from ..ideas.evidence import END, EVIDENCE, Event, Interval
from ..shapes import fit, shown

UNKNOWN = math.inf  # the duration of a video whose annotation does not give one
LONGEST = 20_000  # characters of a question, and of an answer between two events
MOST_EVENTS = 1000  # of a sample
REQUIRED = ("id", "video", "duration", "task", "source", "question")  # fields that every record has


class EventRecord(TypedDict):
    start: float
    end: float
    caption: NotRequired[str]
    annotator: NotRequired[int]


class Record(TypedDict):
    """A sample in a file."""

    id: str | int
    video: str
    duration: object  # a number; Infinity where it is not known
    task: str
    source: str
    question: str
    events: NotRequired[list[EventRecord]]
    answer: NotRequired[list[str | int]]
    question_intervals: NotRequired[list[tuple[float, float]]]
    options: NotRequired[list[str | tuple[float, float]]]
    correct: NotRequired[int | None]


class SampleError(LabError):
    """A sample that cannot be used; the message names the file, the sample and the field."""


@dataclass(frozen=True)
class Sample:
    """A video, a question, the events that are its evidence, an answer.

    `question` holds one `<evi>` for each interval in `question_intervals`. `answer` is text between integers, which
    refer to `events`; it is empty in data sets that are only scored.
    """

    id: str
    video: str  # relative to the data set's video folder
    duration: float
    task: str
    source: str
    question: str
    events: tuple[Event, ...] = ()
    answer: tuple[str | int, ...] = ()
    question_intervals: tuple[Interval, ...] = ()
    options: tuple[str | Interval, ...] = ()
    correct: int | None = None

    @property
    def about_nothing(self) -> bool:
        """Whether the question names an event that never happens. Others without events ask about given moments."""
        return self.task in NAMED and not self.events and not self.options


def sample_error(sample: Sample, message: object, where: str = "") -> SampleError:
    return SampleError(f'{where}{", " if where else ""}sample {brief(sample.id)} ("{brief(sample.video)}"): {message}')


def brief(name: object) -> str:
    """A name from a file as an error shows it: on one line, and not longer than a line."""
    text = name if isinstance(name, str) else shown(name)
    return text if len(text) < 100 and text.isprintable() else shown(text)


def evenly_spaced(items: Sequence, n: int) -> list:
    """At most `n` of the items at equal distances, from the first to the last."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)]


def validate(sample: Sample, where: str = "", half_frame: float = 0.5) -> Sample:
    """The sample itself, or a SampleError that says which field is wrong and what would be right."""
    for _, problem in problems(sample, half_frame):
        raise sample_error(sample, problem, where)
    return sample


def problems(sample: Sample, half_frame: float = 0.5) -> Iterator[tuple[str, str]]:
    """Everything that is wrong with a sample: the field as its record has it, and the message."""
    if not sample.id.strip():
        yield "id", "id is empty; every sample needs one"
    if not sample.question.strip():
        yield "question", "question is empty"
    pieces = [(f"answer[{k}]", "answer", piece) for k, piece in enumerate(sample.answer) if isinstance(piece, str)]
    for field, name, text in (("question", "question", sample.question), *pieces):
        if len(text) > LONGEST:
            yield field, f"{name} has {len(text):,} characters; it may have at most {LONGEST:,}"
    if len(sample.events) > MOST_EVENTS:
        yield "events", f"there are {len(sample.events):,} events; there may be at most {MOST_EVENTS:,}"
    if not sample.duration > 0:
        yield "duration", f"duration is {sample.duration}; it must be a positive number of seconds"
    if unsafe_path(sample.video):
        yield "video", f"video path {shown(sample.video)} leaves the video folder; use a relative path inside it"
    spans = [(f"events[{i}]", f"event {i + 1}", event.interval) for i, event in enumerate(sample.events)]
    spans += [(f"question_intervals[{i}]", f"question interval {i + 1}", span)
              for i, span in enumerate(sample.question_intervals)]
    spans += [(f"options[{i}]", f"option {i + 1}", option) for i, option in enumerate(sample.options)
              if not isinstance(option, str)]
    for field, name, (start, end) in spans:
        if not (math.isfinite(start) and math.isfinite(end)):
            yield field, f"{name} is [{start}, {end}]; both ends must be finite"
        if start > end:
            yield field, f"{name} starts at {start} s, after its end at {end} s"
        if start < -half_frame:
            yield field, f"{name} starts at {start} s, before the video"
        if end > sample.duration + half_frame:
            yield field, f"{name} ends at {end} s, after the video's end at {sample.duration} s"
    if (n := sample.question.count(EVIDENCE)) != len(sample.question_intervals):
        yield "question", (f"question has {n} {EVIDENCE} but there are {len(sample.question_intervals)} question "
                           "intervals")
    for field, piece in ((f"answer[{k}]", piece) for k, piece in enumerate(sample.answer)):
        for token in (EVIDENCE, END):
            if isinstance(piece, str) and token in piece:
                yield field, f"answer text {shown(piece)} holds a literal {token}; refer to an event by its index"
        if not isinstance(piece, str) and not 0 <= piece < len(sample.events):
            yield field, f"answer refers to event {piece + 1}, but there are {len(sample.events)} events"
    if sample.correct is not None and not 0 <= sample.correct < len(sample.options):
        yield "correct", f"correct option is {sample.correct}, but there are {len(sample.options)} options"


def to_record(sample: Sample) -> dict:
    """A JSON object in which fields at their default are left out."""
    record = asdict(sample)
    record["events"] = [{k: v for k, v in event.items() if v not in ("", 0) or k in ("start", "end")}
                        for event in record["events"]]
    return {key: value for key, value in record.items() if key in REQUIRED or value not in ((), [], None)}


def from_record(record: dict, where: str = "", half_frame: float = 0.5) -> Sample:
    """The inverse of `to_record`; wrong keys and types are errors."""
    prefix = f"{where}: " if where else ""
    if not isinstance(record, dict):
        raise SampleError(f"{prefix}expected an object with the fields of a sample, found {type(record).__name__}")
    names = [field.name for field in fields(Sample)]
    if unknown := sorted(set(record) - set(names)):
        raise SampleError(f"{prefix}unknown field {shown(unknown[0])}; a sample has {', '.join(names)}")
    if missing := [name for name in REQUIRED if name not in record]:
        raise SampleError(f"{prefix}field {missing[0]!r} is missing")
    try:
        sample = as_sample(record)
    except (LabError, OverflowError) as error:
        raise SampleError(f"{prefix}sample {shown(record.get('id'))}: {error}") from None
    return validate(sample, where, half_frame)


def as_sample(record: dict) -> Sample:
    """The sample of a record whose fields have the right types. Whether the values fit each other is not checked."""
    record = fit(record, Record)
    duration = record["duration"]
    if type(duration) not in (int, float):
        raise LabError(f"duration: expected a number of seconds, found {shown(duration)}")
    return Sample(**{**record, "id": str(record["id"]), "duration": float(duration),
                     "events": events_of(record.get("events", ())),
                     **{name: tuple(record.get(name, ())) for name in ("answer", "question_intervals", "options")}})


def events_of(records: Sequence[dict]) -> tuple[Event, ...]:
    """Events from the objects of a file, which must fit `EventRecord` and have no other fields."""
    known = EventRecord.__annotations__
    for number, record in enumerate(records):
        if unknown := [name for name in record if name not in known]:
            raise LabError(f"events[{number}].{shown(unknown[0])}: no such field; an event has {', '.join(known)}")
    return tuple(Event(**record) for record in records)
