"""This project's own samples as JSON Lines or as a JSON list, each as `sample.to_record` makes it."""

from __future__ import annotations

import os

from ..sample import Sample, from_record
from .records import read_records


def read(path: str | os.PathLike, half_frame: float = 0.5) -> list[Sample]:
    return [from_record(record, f"{path}, sample {index}", half_frame)
            for index, record in enumerate(read_records(path))]
