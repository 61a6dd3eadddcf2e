"""Sample: the one schema. Every data set becomes samples, and every task reads them. All times are in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from ..errors import LabError
from ..files import unsafe_path
from ..ideas.evidence import EVIDENCE, Event, Interval

UNKNOWN = math.inf  # the duration of a video whose annotation does not give one
REQUIRED = ("id", "video", "duration", "task", "source", "question")  # fields that every record has


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


def sample_error(sample: Sample, message: object, where: str = "") -> SampleError:
    return SampleError(f'{where}{", " if where else ""}sample {sample.id} ("{sample.video}"): {message}')


def evenly_spaced(items: Sequence, n: int) -> list:
    """At most `n` of the items, from the first to the last."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)]


def validate(sample: Sample, where: str = "", half_frame: float = 0.5) -> Sample:
    """The sample itself, or a SampleError that says which field is wrong and what would be right."""
    for problem in _problems(sample, half_frame):
        raise sample_error(sample, problem, where)
    return sample


def _problems(sample: Sample, half_frame: float) -> Iterator[str]:
    if not sample.duration > 0:
        yield f"duration is {sample.duration}; it must be a positive number of seconds"
    if unsafe_path(sample.video):
        yield f"video path {sample.video!r} leaves the video folder; use a relative path inside it"
    spans = [(f"event {i + 1}", event.interval) for i, event in enumerate(sample.events)]
    spans += [(f"question interval {i + 1}", span) for i, span in enumerate(sample.question_intervals)]
    for name, (start, end) in spans:
        if not (math.isfinite(start) and math.isfinite(end)):
            yield f"{name} is [{start}, {end}]; both ends must be finite"
        if start > end:
            yield f"{name} starts at {start} s, after its end at {end} s"
        if start < -half_frame:
            yield f"{name} starts at {start} s, before the video"
        if end > sample.duration + half_frame:
            yield f"{name} ends at {end} s, after the video's end at {sample.duration} s"
    if (n := sample.question.count(EVIDENCE)) != len(sample.question_intervals):
        yield f"question has {n} {EVIDENCE} but there are {len(sample.question_intervals)} question intervals"
    for piece in sample.answer:
        if isinstance(piece, str) and EVIDENCE in piece:
            yield f"answer text {piece!r} holds a literal {EVIDENCE}; refer to an event by its index"
        if not isinstance(piece, str) and not 0 <= piece < len(sample.events):
            yield f"answer refers to event {piece + 1}, but there are {len(sample.events)} events"
    if sample.correct is not None and not 0 <= sample.correct < len(sample.options):
        yield f"correct option is {sample.correct}, but there are {len(sample.options)} options"


def to_record(sample: Sample) -> dict:
    """A JSON object in which fields at their default are left out."""
    record = asdict(sample)
    record["events"] = [{k: v for k, v in event.items() if v not in ("", 0) or k in ("start", "end")}
                        for event in record["events"]]
    return {key: value for key, value in record.items() if key in REQUIRED or value not in ((), [], None)}


def from_record(record: dict, where: str = "", half_frame: float = 0.5) -> Sample:
    """The inverse of `to_record`, strict about keys and types."""
    prefix = f"{where}: " if where else ""
    if not isinstance(record, dict):
        raise SampleError(f"{prefix}expected an object with the fields of a sample, found {type(record).__name__}")
    names = [field.name for field in fields(Sample)]
    if unknown := sorted(set(record) - set(names)):
        raise SampleError(f"{prefix}unknown field {unknown[0]!r}; a sample has {', '.join(names)}")
    if missing := [name for name in REQUIRED if name not in record]:
        raise SampleError(f"{prefix}field {missing[0]!r} is missing")
    try:
        values = {**record,
                  "id": str(record["id"]),
                  "duration": float(record["duration"]),
                  "events": tuple(Event(**event) for event in record.get("events", ())),
                  "answer": tuple(record.get("answer", ())),
                  "question_intervals": tuple(_interval(span) for span in record.get("question_intervals", ())),
                  "options": tuple(option if isinstance(option, str) else _interval(option)
                                   for option in record.get("options", ()))}
        return validate(Sample(**values), where, half_frame)
    except (TypeError, AttributeError) as error:
        raise SampleError(f"{prefix}sample {record.get('id')}: {error}") from None


def _interval(span) -> Interval:
    start, end = span
    return (float(start), float(end))
