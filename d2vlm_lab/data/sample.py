"""Sample: the one schema that every data set becomes and every task is made of. All times in seconds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields

from ..errors import LabError
from ..files import atomic_path, unsafe_path
from ..ideas.evidence import EVIDENCE, Event, Interval

UNKNOWN = math.inf  # the duration of a video whose annotation does not give one


class SampleError(LabError):
    """A sample that cannot be used; the message names the file, the sample and the field."""


@dataclass(frozen=True)
class Sample:
    """A video, a question, the events that are its evidence, an answer.

    `question` holds one `<evi>` for each interval in `question_intervals`. `answer` is text interleaved with
    integers that refer to `events`; it is empty where only the truth for scoring is known.
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


def validate(sample: Sample, where: str = "", half_frame: float = 0.5) -> Sample:
    """The sample itself, or a SampleError that says which field is wrong and what would be right."""
    def wrong(message: str):
        prefix = f"{where}, " if where else ""
        raise SampleError(f'{prefix}sample {sample.id} ("{sample.video}"): {message}')

    if not sample.duration > 0:
        wrong(f"duration is {sample.duration}; it must be a positive number of seconds")
    if unsafe_path(sample.video):
        wrong(f"video path {sample.video!r} leaves the video folder; use a relative path inside it")
    spans = [(f"event {i + 1}", event.interval) for i, event in enumerate(sample.events)]
    spans += [(f"question interval {i + 1}", span) for i, span in enumerate(sample.question_intervals)]
    for name, (start, end) in spans:
        if not (math.isfinite(start) and math.isfinite(end)):
            wrong(f"{name} is [{start}, {end}]; both ends must be finite")
        if start > end:
            wrong(f"{name} starts at {start} s, after its end at {end} s")
        if start < -half_frame:
            wrong(f"{name} starts at {start} s, before the video")
        if end > sample.duration + half_frame:
            wrong(f"{name} ends at {end} s, after the video's end at {sample.duration} s")
    if (n := sample.question.count(EVIDENCE)) != len(sample.question_intervals):
        wrong(f"question has {n} {EVIDENCE} but there are {len(sample.question_intervals)} question intervals")
    for piece in sample.answer:
        if isinstance(piece, str) and EVIDENCE in piece:
            wrong(f"answer text {piece!r} holds a literal {EVIDENCE}; refer to an event by its index")
        if not isinstance(piece, str) and not 0 <= piece < len(sample.events):
            wrong(f"answer refers to event {piece + 1}, but there are {len(sample.events)} events")
    if sample.correct is not None and not 0 <= sample.correct < len(sample.options):
        wrong(f"correct option is {sample.correct}, but there are {len(sample.options)} options")
    return sample


def to_record(sample: Sample) -> dict:
    """A JSON object in which fields at their default are left out."""
    record = asdict(sample)
    record["events"] = [{k: v for k, v in event.items() if v not in ("", 0) or k in ("start", "end")}
                        for event in record["events"]]
    keep = {"id", "video", "duration", "task", "source", "question"}
    return {key: value for key, value in record.items() if key in keep or value not in ((), [], None)}


def from_record(record: dict, where: str = "", half_frame: float = 0.5) -> Sample:
    """The inverse of `to_record`, strict about keys and types."""
    def wrong(message: str):
        raise SampleError(f"{where}: {message}" if where else message)

    if not isinstance(record, dict):
        wrong(f"expected an object with the fields of a sample, found {type(record).__name__}")
    names = [field.name for field in fields(Sample)]
    if unknown := sorted(set(record) - set(names)):
        wrong(f"unknown field {unknown[0]!r}; a sample has {', '.join(names)}")
    if missing := [name for name in names[:6] if name not in record]:
        wrong(f"field {missing[0]!r} is missing")
    try:
        values = {**record,
                  "id": str(record["id"]),
                  "duration": float(record["duration"]),
                  "events": tuple(Event(**event) for event in record.get("events", ())),
                  "answer": tuple(record.get("answer", ())),
                  "question_intervals": tuple(_pair(span) for span in record.get("question_intervals", ())),
                  "options": tuple(option if isinstance(option, str) else _pair(option)
                                   for option in record.get("options", ()))}
        return validate(Sample(**values), where, half_frame)
    except (TypeError, AttributeError) as error:
        wrong(f"sample {record.get('id')}: {error}")


def read_samples(path: str | os.PathLike) -> Iterator[Sample]:
    """Samples of a JSON Lines file, one at a time; errors name the file and the line."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    raise SampleError(f"{path}, line {number}: not JSON ({error})") from None
                yield from_record(record, f"{path}, line {number}")


def write_samples(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """JSON Lines under the final name only when complete."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        for sample in samples:
            out.write(json.dumps(to_record(sample), ensure_ascii=False) + "\n")


def _pair(span) -> Interval:
    start, end = span
    return (float(start), float(end))
