"""Fields of public annotations, read strictly: what is wrong is said with file, sample and field."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..sample import Sample, SampleError


def checked(from_record: Callable[..., Sample], record: dict, index: int, where: str) -> Sample:
    """`from_record`, with whatever is wrong told in one line that names file, sample and field."""
    def wrong(message: str):
        known = record.get("id", record.get("question_id", index)) if isinstance(record, dict) else index
        video = record.get("image_id", record.get("video", record.get("videoID"))) if isinstance(record, dict) else None
        raise SampleError(f'{where}, sample {known} ("{video}"): {message}') from None

    if not isinstance(record, dict):
        wrong(f"expected an object, found {type(record).__name__}")
    try:
        return from_record(record, index, where)
    except KeyError as error:
        wrong(f"field {error.args[0]!r} is missing")
    except SampleError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        wrong(str(error))


def unique(samples: list[Sample], path: str | os.PathLike) -> list[Sample]:
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise SampleError(f'{path}, sample {sample.id} ("{sample.video}"): its id was there before')
        seen.add(sample.id)
    return samples


def whole(record: dict, field: str) -> int:
    if not isinstance(record[field], int) or isinstance(record[field], bool):
        raise ValueError(f"{field} is {record[field]!r}; it must be an integer")
    return record[field]


def text(record: dict, field: str) -> str:
    if not isinstance(record[field], str) or not record[field].strip():
        raise ValueError(f"{field} is {record[field]!r}; it must be text")
    return record[field]


def interval(value, field: str) -> tuple[float, float]:
    good = isinstance(value, (list, tuple)) and len(value) == 2
    if not good or not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value):
        raise ValueError(f"{field} is {value!r}; it must be [start, end] in seconds")
    return float(value[0]), float(value[1])


def number(record: dict, field: str) -> float:
    if not isinstance(record[field], (int, float)) or isinstance(record[field], bool):
        raise ValueError(f"{field} is {record[field]!r}; it must be a number of seconds")
    return float(record[field])
