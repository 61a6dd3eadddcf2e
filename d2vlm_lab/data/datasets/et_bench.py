"""E.T. Bench: twelve tasks; `src` is asked about, `tgt` is right, `p` and `o` are the options, `g` the captions.

A model that points with evidence should be asked with evidence: wherever `q` holds a time of `src`, in the `txt`
style as a number, in the `vid` style as `<vid>`, the question has `<evi>` (see `times.mark_times`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ...ideas.evidence import EVIDENCE, Event, seconds
from ..sample import Sample, SampleError, validate
from .et_instruct import dump_list, load_list, options_of
from .times import mark_times

CHOICE = ("rar", "eca", "rvq")
ONE_INTERVAL = ("tvg", "epm", "gvq")
CAPTIONED = ("dvc", "slc")
TASKS = (*CHOICE, *ONE_INTERVAL, "tal", "evs", "vhd", *CAPTIONED, "tem")


def read(path: str | os.PathLike, half_frame: float = 0.5) -> list[Sample]:
    """All samples; the answer of each is empty, since only what scoring needs is public."""
    return [from_record(record, index, str(path), half_frame) for index, record in enumerate(load_list(path))]


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    dump_list(path, [to_record(sample, index) for index, sample in enumerate(samples)])


def from_record(record: dict, index: int = 0, where: str = "", half_frame: float = 0.5) -> Sample:
    def wrong(message: str):
        raise SampleError(f'{where}, sample {record.get("idx", index)} ("{record.get("video")}"): {message}')

    try:
        if record["task"] not in TASKS:
            wrong(f"task is {record['task']!r}; E.T. Bench has {', '.join(TASKS)}")
        question, asked = mark_times(record["q"], [float(time) for time in record.get("src") or ()])
        sample = Sample(
            id=str(record.get("idx", index)), video=record["video"], duration=float(record["duration"]),
            task=record["task"], source=record["source"], question=question, events=_events(record),
            question_intervals=asked, options=options_of(record.get("o")), correct=record.get("p"))
    except KeyError as error:
        wrong(f"field {error.args[0]!r} is missing")
    except SampleError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        wrong(str(error))
    return validate(sample, where, half_frame)


def to_record(sample: Sample, index: int) -> dict:
    record = {"version": 1.0, "idx": index, "task": sample.task, "source": sample.source, "video": sample.video,
              "duration": sample.duration}
    if sample.question_intervals:
        record["src"] = [time for span in sample.question_intervals for time in span]
    if sample.events:
        record["tgt"] = _target(sample)
    if sample.options:
        record["p"] = sample.correct
        record["o"] = [option if isinstance(option, str) else list(option) for option in sample.options]
    if sample.task in CAPTIONED:
        record["g"] = [event.caption for event in sample.events]
    return {**record, "q": fill(sample)}


def fill(sample: Sample) -> str:
    """The question with every `<evi>` written as seconds."""
    parts = sample.question.split(EVIDENCE)
    return parts[0] + "".join(seconds(span) + part for span, part in zip(sample.question_intervals, parts[1:]))


def _events(record: dict) -> tuple[Event, ...]:
    task, tgt = record["task"], record.get("tgt")
    if task in CHOICE:
        return ()
    if tgt is None:
        raise ValueError(f"field 'tgt' is missing; {task} needs it")
    if task in ONE_INTERVAL:
        return (Event(*_span(tgt, "tgt")),)
    annotators = tgt if task == "vhd" and _depth(tgt) == 3 else [tgt]
    captions = record.get("g") if task in CAPTIONED else None
    if task in CAPTIONED and (captions is None or len(captions) != len(tgt)):
        raise ValueError(f"g must hold one caption for each of the {len(tgt)} intervals in tgt")
    return tuple(Event(*_span(span, "tgt"), captions[k] if captions else "", who)
                 for who, spans in enumerate(annotators) for k, span in enumerate(spans))


def _target(sample: Sample) -> list:
    if sample.task in ONE_INTERVAL:
        return list(sample.events[0].interval)
    who = sorted({event.annotator for event in sample.events})
    lists = [[list(event.interval) for event in sample.events if event.annotator == each] for each in who]
    return lists if len(lists) > 1 else lists[0]


def _span(value: Sequence[float], field: str) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(isinstance(v, (int, float)) for v in value):
        raise ValueError(f"{field} holds {value!r}; expected [start, end] in seconds")
    return float(value[0]), float(value[1])


def _depth(value) -> int:
    return 1 + _depth(value[0]) if isinstance(value, (list, tuple)) and value else 0
