"""The authors' preference annotations: answers keyed `chosen` and `<any>_<any>_<class>...`, times keyed alike.

A class `f`, `repeat` or `qwen` says what was changed (a fact, a repetition, the text alone). Other names are allowed,
and then what is wrong is found by comparing the answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...ideas.rejected import Rejected
from ..pairs import OnBad, PreferencePair, check, what_is_wrong
from ..sample import Sample, SampleError
from . import et_instruct
from .records import read_records, to_sample

CHOSEN = "chosen"
FACTORS = {"f": "what", "repeat": "how", "qwen": "what"}  # for the classes whose names say what was changed


def read(path: str | os.PathLike, on_bad: OnBad | None = None) -> Iterator[PreferencePair]:
    """The pairs, one at a time; a bad one is an error, or is reported to `on_bad` and left out."""
    index = -1
    for index, record in enumerate(read_records(path, go_on=on_bad is not None)):
        try:
            if isinstance(record, SampleError):
                raise record
            yield from_record(record, index, str(path))
        except SampleError as error:
            if on_bad is None:
                raise
            on_bad(f"record {index}", str(error))
    if index < 0:
        raise SampleError(f"{path}: there is no sample in this file")


def is_preference(record: dict) -> bool:
    """Whether an annotation holds several answers to compare, rather than one to learn."""
    return isinstance(record.get("conversations"), dict)


def from_record(record: dict, index: int, path: str) -> PreferencePair:
    if not is_preference(record) or CHOSEN not in record["conversations"] or len(record["conversations"]) < 2:
        raise SampleError(f"{path}, sample {record.get('id', index)}: conversations must hold `{CHOSEN}` and "
                          "at least one rejected answer")
    answers = {name: to_sample(_with_answer(record, name), index, et_instruct.from_record, path)
               for name in record["conversations"]}
    chosen = answers.pop(CHOSEN)
    return check(PreferencePair(chosen, tuple(_rejected(chosen, *answer) for answer in answers.items())), path)


def _with_answer(record: dict, name: str) -> dict:
    """The annotation in the E.T. Instruct format, with the answer of this name."""
    annotation = {"source": "", **record}
    for field in ("conversations", "src", "tgt"):
        value = record.get(field)
        annotation[field] = value.get(name) if isinstance(value, dict) else value
    if name != CHOSEN:
        annotation.pop("captions", None)
    return annotation


def _rejected(chosen: Sample, name: str, wrong: Sample) -> Rejected:
    parts = name.split("_")
    if len(parts) < 3:
        raise SampleError(f"sample {chosen.id}: the rejected answer {name!r} must be named in at least three parts, "
                          "name_number_class")
    differences = what_is_wrong(chosen, wrong.events, wrong.answer)
    factor = FACTORS.get(parts[2]) or (differences[0] if differences else "when")
    event = next((k for k, (a, b) in enumerate(zip(chosen.events, wrong.events)) if a.interval != b.interval), 0)
    return Rejected(wrong.events, wrong.answer, name, factor, 1.0, event)
