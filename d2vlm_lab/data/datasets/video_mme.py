"""Video-MME: three questions about each of 900 videos. The public list is a parquet file; a JSON list is read too."""

from __future__ import annotations

import os
import re

from ..sample import UNKNOWN, Sample, SampleError, validate
from .et_instruct import load_list
from .fields import checked, text, unique

PROMPT = ("Select the best answer to the following multiple-choice question based on the video. Respond with only the "
          "letter (A, B, C, or D) of the correct option.\n{question}\n{options}\nThe best answer is:")
COPIED = ("video_id", "duration", "domain", "sub_category", "question_id", "task_type", "question", "answer")
LETTERS = ("A", "B", "C", "D")
DURATIONS = ("short", "medium", "long")


def read(path: str | os.PathLike) -> list[Sample]:
    return unique([checked(from_record, record, index, str(path)) for index, record in enumerate(records(path))], path)


def records(path: str | os.PathLike) -> list[dict]:
    """The rows as they are; with an answer `a` each is a prediction."""
    if not str(path).endswith(".parquet"):
        return load_list(path)
    import pandas
    from pyarrow import ArrowInvalid

    try:
        table = pandas.read_parquet(path)
    except FileNotFoundError:
        raise SampleError(f"{path}: no such annotation file") from None
    except (ArrowInvalid, OSError) as error:
        raise SampleError(f"{path}: not readable as parquet ({error})") from None
    rows = table.to_dict(orient="records")
    return [{key: list(value) if hasattr(value, "tolist") else value for key, value in row.items()} for row in rows]


def from_record(record: dict, index: int = 0, where: str = "") -> Sample:
    """`source` is the class of duration: short, medium or long."""
    known = {name: text(record, name) for name in COPIED}
    if known["duration"] not in DURATIONS:
        raise ValueError(f"duration is {known['duration']!r}; it must be one of {', '.join(DURATIONS)}")
    options = record["options"]
    if not isinstance(options, list) or len(options) != 4 or not all(isinstance(option, str) for option in options):
        raise ValueError(f"options is {options!r}; it must be a list of four texts")
    if known["answer"] not in LETTERS:
        raise ValueError(f"answer is {known['answer']!r}; it must be one of {', '.join(LETTERS)}")
    question = PROMPT.format(question=known["question"], options="\n".join(options))
    sample = Sample(known["question_id"], f"{text(record, 'videoID')}.mp4", UNKNOWN, known["task_type"],
                    known["duration"], question, options=tuple(re.sub(r"^[A-D]\.\s*", "", o) for o in options),
                    correct=LETTERS.index(known["answer"]))
    return validate(sample, where)
