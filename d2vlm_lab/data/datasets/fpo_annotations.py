"""The authors' preference annotations: answers keyed `chosen` and `<any>_<any>_<class>...`, times keyed alike.

A class `f`, `repeat` or `qwen` says what was changed (a fact, a repetition, the text alone); other names are free,
and what is wrong is then read off the answers themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...ideas.rejected import Rejected
from ..pairs import OnBad, PreferencePair, check, what_is_wrong
from ..sample import Sample, SampleError
from . import et_instruct
from .stream import stream_objects

CHOSEN = "chosen"
CLASSES = {"f": "what", "repeat": "how", "qwen": "what"}


def read(path: str | os.PathLike, on_bad: OnBad | None = None, half_frame: float = 0.5) -> Iterator[PreferencePair]:
    """One at a time; a bad one is an error, or is told to `on_bad` and left out."""
    for index, record in enumerate(stream_objects(path)):
        try:
            yield from_record(record, index, str(path), half_frame)
        except SampleError as error:
            if on_bad is None:
                raise
            on_bad(str(record.get("id", index)), str(error))


def is_preference(record: dict) -> bool:
    """Whether an annotation holds answers to compare, rather than one to learn."""
    return isinstance(record.get("conversations"), dict)


def from_record(record: dict, index: int = 0, where: str = "", half_frame: float = 0.5) -> PreferencePair:
    answers = record.get("conversations")
    if not isinstance(answers, dict) or CHOSEN not in answers or len(answers) < 2:
        raise SampleError(f"{where}, sample {record.get('id', index)}: conversations must hold `{CHOSEN}` and "
                          "at least one rejected answer")
    chosen = _variant(record, CHOSEN, index, where, half_frame)
    rejected = tuple(_rejected(chosen, key, _variant(record, key, index, where, half_frame))
                     for key in answers if key != CHOSEN)
    return check(PreferencePair(chosen, rejected), where)


def _variant(record: dict, key: str, index: int, where: str, half_frame: float) -> Sample:
    """The annotation as an ordinary one with this answer."""
    def own(field: str):
        value = record.get(field)
        return value.get(key) if isinstance(value, dict) else value

    given = {"id": record.get("id", index), "source": record.get("source", ""), **record,
             "conversations": own("conversations"), "src": own("src"), "tgt": own("tgt")}
    if key != CHOSEN:
        given.pop("captions", None)
    return et_instruct.from_record(given, index, where, half_frame)


def _rejected(chosen: Sample, key: str, wrong: Sample) -> Rejected:
    tokens = key.split("_")
    if len(tokens) < 3:
        raise SampleError(f"sample {chosen.id}: the rejected answer {key!r} must be named in at least three parts, "
                          "name_number_class")
    differs = what_is_wrong(chosen, wrong.events, wrong.answer)
    factor = CLASSES.get(tokens[2]) or (differs[0] if differs else "when")
    touched = next((k for k, (a, b) in enumerate(zip(chosen.events, wrong.events)) if a.interval != b.interval), 0)
    return Rejected(wrong.events, wrong.answer, key, factor, 1.0, touched)
