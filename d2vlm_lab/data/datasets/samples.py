"""This project's own samples as JSON Lines or as a JSON list, each as `sample.to_record` makes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from ...files import write_json_lines
from ..sample import Sample, SampleError, from_record, to_record
from .records import OnBad, collect, read_records


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    def make(record: dict | SampleError, index: int) -> Sample:
        if isinstance(record, SampleError):
            raise record
        return from_record(record, f"{path}, sample {index}", half_frame)

    records = enumerate(read_records(path, go_on=on_bad is not None))
    return collect((partial(make, record, index) for index, record in records), path, on_bad)


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    write_json_lines(path, map(to_record, samples))
