"""Annotation files, record by record: how they are read and written, and how their fields are checked.

Every error names the file, the sample and the field.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from ...files import atomic_path
from ...ideas.evidence import Interval
from ..sample import Sample, SampleError, validate

CHUNK = 1 << 20  # characters that are read at a time
BETWEEN = re.compile(r"[\s,\[\]]*")  # what may stand between two records
IDS, VIDEOS = ("idx", "id", "question_id"), ("image_id", "video", "videoID")  # what the formats call them
EXPECTED = {str: "text that is not empty", int: "an integer", float: "a number of seconds"}
Build = Callable[[dict, int], Sample]  # a sample from a record and its place in the file
OnBad = Callable[[str, str], None]  # takes the place of a record that cannot be used, and what is wrong with it


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[TextIO]:
    """A text file to read from; one that is missing or is no text is an error that names it."""
    try:
        with open(path, encoding="utf-8") as file:
            yield file
    except FileNotFoundError:
        raise SampleError(f"{path}: no such annotation file") from None
    except OSError as error:
        raise SampleError(f"{path}: the annotation file cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SampleError(f"{path}: not readable as text ({error})") from None


def read_records(path: str | os.PathLike, go_on: bool = False) -> Iterator[dict | SampleError]:
    """The objects of a JSON list or of JSON Lines, one at a time, however large the file is.

    A bad one is an error. With `go_on` the error takes its place, and reading goes on with the next record: behind what
    is no object, or on the next line behind what is no JSON.
    """
    decoder, index, text, at, lists = json.JSONDecoder(), 0, "", 0, 0
    with opened(path) as file:
        while True:
            between = BETWEEN.match(text, at)
            lists += between[0].count("[") - between[0].count("]")  # opened and not yet closed
            at = between.end()
            try:
                record, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                if more := file.read(CHUNK):
                    text, at = text[at:] + more, 0
                    continue
                if at == len(text) and not lists:
                    return
                problem = SampleError(f"{path}, sample {index}: not readable as JSON ({error})")
                line_end = text.find("\n", at)
                if not go_on or line_end < 0 or not BETWEEN.sub("", text[line_end:], 1):  # the file is cut short
                    raise problem from None
                record, at = problem, line_end
            else:
                if not isinstance(record, dict):
                    record = SampleError(f"{path}, sample {index}: expected an object, found {type(record).__name__}")
                    if not go_on:
                        raise record
            yield record
            index += 1


def read_coco(path: str | os.PathLike) -> list[dict]:
    """The annotations of a file in the shape of COCO captions: `{"annotations": [...]}`."""
    records = list(read_records(path))
    annotations = records[0].get("annotations") if len(records) == 1 else None
    if not isinstance(annotations, list):
        raise SampleError(f"{path}: expected an object with the list 'annotations'")
    return annotations


def write_records(path: str | os.PathLike, records: Iterable[dict]) -> None:
    """A JSON list with one record a line; the file takes its name only when it is complete."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n]\n")


def to_samples(records: Iterable[dict], build: Build, path: str | os.PathLike, half_frame: float = 0.5,
               on_bad: OnBad | None = None) -> list[Sample]:
    """The samples of all records; a bad one is an error, or is reported to `on_bad` and left out."""
    return collect((partial(to_sample, record, index, build, path, half_frame)
                    for index, record in enumerate(records)), path, on_bad)


def collect(makers: Iterable[Callable[[], Sample]], path: str | os.PathLike, on_bad: OnBad | None) -> list[Sample]:
    """What these functions return, each called for one record of a file."""
    samples = []
    for index, make in enumerate(makers):
        try:
            samples.append(make())
        except SampleError as error:
            if on_bad is None:
                raise
            on_bad(f"{Path(path).name}, record {index}", str(error))
    return samples


def to_sample(record: dict, index: int, build: Build, path: str | os.PathLike, half_frame: float = 0.5) -> Sample:
    """The validated sample of a record."""
    if isinstance(record, SampleError):
        raise record
    if not isinstance(record, dict):
        raise SampleError(f"{path}, sample {index}: expected an object, found {type(record).__name__}")
    try:
        sample = build(record, index)
    except KeyError as error:
        problem = f"field {error.args[0]!r} is missing"
    except (TypeError, ValueError, AttributeError) as error:
        problem = str(error)
    else:
        return validate(sample, str(path), half_frame)
    name = next((record[key] for key in IDS if key in record), index)
    video = next((record[key] for key in VIDEOS if key in record), None)
    raise SampleError(f'{path}, sample {name} ("{video}"): {problem}')


def unique(samples: list[Sample], path: str | os.PathLike, on_bad: OnBad | None = None) -> list[Sample]:
    """The samples themselves. A second one with the same id is an error, or is reported to `on_bad` and left out."""
    kept: dict[str, Sample] = {}
    for index, sample in enumerate(samples):
        if sample.id not in kept:
            kept[sample.id] = sample
            continue
        message = f'{path}, sample {sample.id} ("{sample.video}"): its id was there before'
        if on_bad is None:
            raise SampleError(message)
        on_bad(f"{Path(path).name}, sample {sample.id} again ({index})", message)
    return list(kept.values())


def field(record: dict, name: str, kind: type):
    """A field that must hold a `str`, an `int` or a `float`."""
    value = record[name]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is str and not value.strip()):
        raise ValueError(f"{name} is {value!r}; it must be {EXPECTED[kind]}")
    return value


def interval(value, name: str) -> Interval:
    good = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    if not good:
        raise ValueError(f"{name} is {value!r}; expected [start, end] in seconds")
    return float(value[0]), float(value[1])


def options(values) -> tuple[str | Interval, ...]:
    """The options of a question, each a text or an interval."""
    return tuple(value if isinstance(value, str) else interval(value, "an option") for value in values or ())
