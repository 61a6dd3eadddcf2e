"""E.T. Bench: twelve tasks; `src` is asked about, `tgt` is right, `p` and `o` are the options, `g` the captions.

A model that answers with evidence should also be asked with evidence: a time of `src` in the question, which the
`txt` style writes as a number and the `vid` style as `<vid>`, becomes `<evi>` (see `times.mark_times`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal, NotRequired, TypedDict

from ...ideas.evidence import Event, in_seconds
from ...shapes import fit
from ..sample import UNKNOWN, Sample, brief, sample_error
from .records import OnBad, field, interval, made_into, options, read_records, to_samples, write_records
from .times import mark_times

CHOICE = ("rar", "eca", "rvq")
ONE_INTERVAL = ("tvg", "epm", "gvq")
CAPTIONED = ("dvc", "slc")
TASKS = (*CHOICE, *ONE_INTERVAL, "tal", "evs", "vhd", *CAPTIONED, "tem")


class Record(TypedDict):
    """What a record holds; which of the later fields it needs depends on its task."""

    task: Literal[TASKS]  # type: ignore[valid-type]  # a type checker does not look into a tuple
    source: str
    q: str
    idx: NotRequired[int | str]
    src: NotRequired[list[float] | None]
    tgt: NotRequired[list[object] | None]
    g: NotRequired[list[str] | None]
    o: NotRequired[list[object] | None]
    p: NotRequired[int | None]


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    """All samples; their answers are empty, since only what scoring needs is public."""
    return to_samples(read_records(path, go_on=on_bad is not None), from_record, path, half_frame, on_bad)


def predictions(path: str | os.PathLike, samples: Sequence[Sample]) -> list[dict]:
    """What the scorer wants back, without the answer `a`: the records as they are, with an `idx` where it is missing.
    """
    records = made_into(samples, read_records(path, go_on=True), from_record)
    return [{"idx": sample.id, **record} for sample, record in zip(samples, records, strict=True)]


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    write_records(path, [to_record(sample, index) for index, sample in enumerate(samples)])


def from_record(record: dict, index: int = 0) -> Sample:
    record = fit(record, Record)
    question, asked = mark_times(record["q"], record.get("src") or ())
    return Sample(str(record.get("idx", index)), field(record, "video", str), field(record, "duration", float),
                  record["task"], record["source"], question, _events(record), (), asked, options(record.get("o")),
                  record.get("p"))


def to_record(sample: Sample, index: int) -> dict:
    """The record of a sample; an error if the sample does not have what the scorer of its task needs."""
    if problem := _unfit(sample):
        raise sample_error(sample, problem)
    record = {"version": 1.0, "idx": index, "task": sample.task, "source": sample.source, "video": sample.video}
    if sample.duration != UNKNOWN:
        record["duration"] = sample.duration
    if sample.question_intervals:
        record["src"] = [time for span in sample.question_intervals for time in span]
    if sample.events:
        record["tgt"] = _target(sample)
    if sample.options:
        record["p"] = sample.correct
        record["o"] = [option if isinstance(option, str) else list(option) for option in sample.options]
    if sample.task in CAPTIONED:
        record["g"] = [event.caption for event in sample.events]
    return {**record, "q": in_seconds(sample.question, sample.question_intervals)}


def _events(record: dict) -> tuple[Event, ...]:
    task, tgt = record["task"], record.get("tgt")
    if task in CHOICE:
        return ()
    if tgt is None:
        raise ValueError(f"field 'tgt' is missing; {task} needs it")
    if task in ONE_INTERVAL:
        return (Event(*interval(tgt, "tgt")),)
    captions = record.get("g") if task in CAPTIONED else [""] * len(tgt)
    if captions is None or len(captions) != len(tgt):
        raise ValueError(f"g must hold one caption for each of the {len(tgt)} intervals in tgt")
    if task == "vhd" and tgt and isinstance(tgt[0], list) and tgt[0] and isinstance(tgt[0][0], list):
        by_annotator = fit(tgt, list[list[object]], path="tgt")
        return tuple(Event(*interval(span, "tgt"), annotator=who) for who, spans in enumerate(by_annotator)
                     for span in spans)
    return tuple(Event(*interval(span, "tgt"), caption) for span, caption in zip(tgt, captions))


def _unfit(sample: Sample) -> str | None:
    """Why a sample cannot be scored; None where it can."""
    task, n = sample.task, len(sample.events)
    if task not in TASKS:
        return f"no scorer knows its task {brief(task)}; tasks are {', '.join(TASKS)}"
    if task in (*CHOICE, "gvq") and (not sample.options or sample.correct is None):
        return f"task {task} needs options, and the number of the correct one"
    if task in ONE_INTERVAL and n != 1:
        return f"task {task} needs exactly one event, found {n}{'; task tal asks for several' if n else ''}"
    if task not in CHOICE and not n:
        return f"task {task} needs at least one event, found none"
    return None


def _target(sample: Sample) -> list:
    if sample.task in ONE_INTERVAL:
        return list(sample.events[0].interval)
    annotators = sorted({event.annotator for event in sample.events})
    if sample.task != "vhd" or len(annotators) == 1:
        return [list(event.interval) for event in sample.events]
    return [[list(event.interval) for event in sample.events if event.annotator == who] for who in annotators]
