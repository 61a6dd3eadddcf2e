"""Video-MME: three questions about each of 900 videos. The public list is a parquet file; a JSON list is read too."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ...errors import LabError, first_line
from ...reader import opened
from ...shapes import shown
from ..sample import UNKNOWN, Sample, SampleError
from .records import OnBad, field, made_into, read_records, to_samples, unique

PROMPT = ("Select the best answer to the following multiple-choice question based on the video. Respond with only the "
          "letter (A, B, C, or D) of the correct option.\n{question}\n{options}\nThe best answer is:")
FIELDS = ("video_id", "duration", "domain", "sub_category", "question_id", "task_type", "question", "answer")
LETTERS = ("A", "B", "C", "D")
DURATIONS = ("short", "medium", "long")


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    records = rows(path, go_on=on_bad is not None)
    return unique(to_samples(records, from_record, path, half_frame, on_bad), path, on_bad)


def predictions(path: str | os.PathLike, samples: Sequence[Sample]) -> list[dict]:
    """What the scorer wants back, without the answer `a`: the rows as they are."""
    return made_into(samples, rows(path, go_on=True), from_record)


def rows(path: str | os.PathLike, go_on: bool = False) -> list[dict | SampleError]:
    if not str(path).endswith(".parquet"):
        return list(read_records(path, go_on))
    import pandas
    from pyarrow import ArrowException

    try:
        with opened(path) as file:
            table = pandas.read_parquet(file).to_dict(orient="records")
    except LabError as error:
        raise SampleError(str(error)) from None
    except (ArrowException, OSError, ValueError) as error:
        raise SampleError(f"{path}: not readable as parquet ({first_line(error)})") from None
    return [{key: list(value) if hasattr(value, "tolist") else value for key, value in row.items()} for row in table]


def from_record(record: dict, index: int = 0) -> Sample:
    """`source` is the class of duration: short, medium or long."""
    known = {name: field(record, name, str) for name in FIELDS}
    for name, allowed in (("duration", DURATIONS), ("answer", LETTERS)):
        if known[name] not in allowed:
            raise ValueError(f"{name} is {shown(known[name])}; it must be one of {', '.join(allowed)}")
    options = record["options"]
    if not isinstance(options, list) or len(options) != 4 or not all(isinstance(option, str) for option in options):
        raise ValueError(f"options is {shown(options)}; it must be a list of four texts")
    question = PROMPT.format(question=known["question"], options="\n".join(options))
    return Sample(known["question_id"], f"{field(record, 'videoID', str)}.mp4", UNKNOWN, known["task_type"],
                  known["duration"], question, options=tuple(re.sub(r"^[A-D]\.\s*", "", option) for option in options),
                  correct=LETTERS.index(known["answer"]))
