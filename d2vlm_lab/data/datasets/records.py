"""Annotation files, record by record: how they are read and written, and how their fields are checked.

Every error names the file, the sample and the field.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TextIO, TypedDict, overload

from ... import reader
from ...errors import LabError
from ...files import atomic_path
from ...ideas.evidence import Interval
from ...shapes import LARGEST, fit, shown
from ..sample import Sample, SampleError, brief, sample_error, validate

CHUNK = 1 << 20  # characters that are read at a time
LONGEST_WORD = 16  # characters of the longest unit that cannot be read in part: -Infinity, an escaped character
BETWEEN = re.compile(r"[\s,\[\]]*")  # what may stand between two records
IDS, VIDEOS = ("idx", "id", "question_id", "qid"), ("image_id", "video", "videoID", "vid")  # what the formats call them
EXPECTED = {str: "text that is not empty", int: "an integer", float: "a number of seconds"}
Build = Callable[[dict, int], Sample]  # a sample from a record and its place in the file
OnBad = Callable[[str, str], None]  # called with the place of a record that cannot be used, and what is wrong with it


class Coco(TypedDict):
    annotations: list[object]


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[TextIO]:
    """A text file to read from; anything but a regular file with text is an error that names it."""
    try:
        with io.TextIOWrapper(reader.opened(path), encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise SampleError(f"{path}: not readable as text ({error.reason}); save it as UTF-8") from None
    except SampleError:
        raise
    except LabError as error:
        raise SampleError(f"{error} (it should be an annotation file)") from None
    except OSError as error:
        raise SampleError(f"{path}: the annotation file cannot be read ({error.strerror})") from None


@overload
def read_records(path: str | os.PathLike) -> Iterator[dict]: ...
@overload
def read_records(path: str | os.PathLike, go_on: bool) -> Iterator[dict | SampleError]: ...


def read_records(path: str | os.PathLike, go_on: bool = False) -> Iterator[Any]:
    """The objects of a JSON list or of JSON Lines, one at a time, however large the file is.

    A bad one is an error. With `go_on` the error takes its place, and reading goes on with the next record; after
    something that is not JSON, it goes on with the next line.
    """
    decoder, index, text, at, lists = json.JSONDecoder(), 0, "", 0, 0
    with opened(path) as file:
        while True:
            start = _behind(text, at)
            lists += text.count("[", at, start) - text.count("]", at, start)  # opened and not yet closed
            try:
                _, at = decoder.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                line_end = text.find("\n", start)
                goes_on = go_on and line_end >= 0 and _behind(text, line_end) < len(text)
                is_cut, fits = _may_be_cut(text, error), len(text) - start < reader.LINE
                if fits and (is_cut or go_on and not goes_on) and (more := file.read(CHUNK)):
                    text, at = text[start:] + more, 0
                    continue
                if start == len(text) and not lists and not file.read(1):
                    return
                problem = _problem(f"{path}, sample {index}", text[start:start + 60], error, is_cut and not fits)
                if not goes_on:
                    if not go_on or is_cut or not fits:
                        raise problem from None
                    yield problem  # the last record is a bad one, in a file that is whole
                    return
                record, at = problem, line_end
            else:
                try:
                    record = reader.parse_json(text[start:at], dict, f"{path}, sample {index}")
                except LabError as error:
                    record = SampleError(str(error))
                    if not go_on:
                        raise record from None
            yield record
            index += 1


def _behind(text: str, at: int) -> int:
    """Where the next record begins."""
    match = BETWEEN.match(text, at)
    assert match is not None, "it matches nothing, too"
    return match.end()


def _may_be_cut(text: str, error: Exception) -> bool:
    """Whether more text may make it JSON: a string in the text has no end yet, or the error is at its very end."""
    return isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated") or error.pos > len(text) - LONGEST_WORD)


def _problem(where: str, begin: str, error: Exception, is_long: bool) -> SampleError:
    """Why a text that begins with `begin` is not a record."""
    if is_long:
        return SampleError(f"{where}: longer than {reader.LINE // reader.MB} MB")
    if isinstance(error, json.JSONDecodeError):
        return SampleError(f"{where}: not readable as JSON ({error.msg.lower()}, found {shown(begin)})")
    return SampleError(f"{where}: {'too many lists inside each other' if isinstance(error, RecursionError) else error}")


def read_coco(path: str | os.PathLike) -> list[dict]:
    """The annotations of a file in the shape of COCO captions: `{"annotations": [...]}`."""
    try:
        return reader.read_json(path, Coco)["annotations"]
    except LabError as error:
        raise SampleError(f"{error}; an annotation file holds an object with the list 'annotations'") from None


def write_object(path: str | os.PathLike, content: dict) -> None:
    """One JSON object; the file takes its name only when it is complete."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        json.dump(content, out, ensure_ascii=False)


def write_records(path: str | os.PathLike, records: Iterable[dict]) -> None:
    """A JSON list with one record a line; the file takes its name only when it is complete."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n]\n")


def to_samples(records: Iterable[dict | SampleError], build: Build, path: str | os.PathLike, half_frame: float = 0.5,
               on_bad: OnBad | None = None) -> list[Sample]:
    """The samples of all records; a bad one is an error, or is reported to `on_bad` and left out."""
    return collect((partial(to_sample, record, index, build, path, half_frame)
                    for index, record in enumerate(records)), path, on_bad)


def collect(makers: Iterable[Callable[[], Sample]], path: str | os.PathLike, on_bad: OnBad | None) -> list[Sample]:
    """What these functions return, each called for one record of a file."""
    samples, index = [], -1
    for index, make in enumerate(makers):
        try:
            samples.append(make())
        except SampleError as error:
            if on_bad is None:
                raise
            on_bad(f"{path}, record {index}", str(error))
    if index < 0:
        raise SampleError(f"{path}: there is no sample in this file")
    return samples


def to_sample(record: dict | SampleError, index: int, build: Build, path: str | os.PathLike,
              half_frame: float = 0.5) -> Sample:
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
    name, video = (next((record[key] for key in keys if isinstance(record.get(key), (str, int))), None)
                   for keys in (IDS, VIDEOS))
    raise SampleError(f'{path}, sample {index if name is None else brief(name)} ("{brief(video)}"): {problem}')


def unique(samples: list[Sample], path: str | os.PathLike, on_bad: OnBad | None = None) -> list[Sample]:
    """The samples themselves. A second one with the same id is an error, or is reported to `on_bad` and left out."""
    kept: dict[str, Sample] = {}
    for index, sample in enumerate(samples):
        if sample.id not in kept:
            kept[sample.id] = sample
            continue
        error = sample_error(sample, "its id was there before", str(path))
        if on_bad is None:
            raise error
        on_bad(f"{path}, sample {brief(sample.id)} again ({index})", str(error))
    return list(kept.values())


def made_into(samples: Sequence[Sample], records: Iterable[Any], build: Build) -> list[dict]:
    """The records that became `samples`, in the same order."""
    left, found = list(reversed(samples)), []
    for index, record in enumerate(records):
        with suppress(SampleError):
            if left and to_sample(record, index, build, "", math.inf) == left[-1]:
                found.append(record)
                left.pop()
    return found


def about_one_sentence(samples: Iterable[Sample]) -> list[Sample]:
    """The questions when something happens whose events all have the same caption: a data set of moments holds these.
    """
    return [sample for sample in samples
            if sample.task in ("tvg", "tal") and len({event.caption for event in sample.events}) == 1]


def field(record: dict, name: str, kind: type) -> Any:
    """A field that must hold a `str`, an `int` or a `float`."""
    value = record[name]
    if kind is float and type(value) is int and abs(value) < LARGEST:
        value = float(value)
    if type(value) is not kind or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{name} is {shown(value)}; it must be {EXPECTED[kind]}")
    return fit(value, kind, path=name)


def interval(value: Any, name: str) -> Interval:
    good = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    if not good:
        raise ValueError(f"{name} is {shown(value)}; expected [start, end] in seconds")
    return fit(value, tuple[float, float], path=name)


def options(values: Any) -> tuple[str | Interval, ...]:
    """The options of a question, each a text or an interval."""
    return tuple(value if isinstance(value, str) else interval(value, "an option") for value in values or ())
