"""Reads prediction files and checks their records; an error names the file, the record and the field."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from ...data.sample import MOST_EVENTS, brief
from ...errors import LabError
from ...reader import MB, read_json, read_lines
from ...shapes import fit, shown
from .etbench import TASKS

NOT_PREDICTIONS = re.compile(r"(metrics|run|score_.*)\.json")  # other files that may lie beside predictions
REPEATED = ("version", "video", "tgt", "p", "o", "g")  # fields that a prediction repeats from its annotation
LATEST = 1e9  # seconds
ETBENCH_ID = ("task", "source", "idx")
LARGEST = 256 * MB  # of a file with predictions
ANSWER = 50_000  # characters of an answer; the longest answer that a model gives has some ten thousand
Entry = tuple[str, object]  # the place of a record, and the record, which may be anything
Problem = Callable[[object], str | None]  # what keeps a record from being scored, None if nothing does


@dataclass
class Checked:
    """Records that can be scored. With `--lenient`, some of them replace malformed records, and fail."""

    records: list[dict]
    notes: list[str] = field(default_factory=list)

    def leave_out(self, unfit: Sequence[tuple[dict, str]], lenient: bool, note: str) -> None:
        """Records that do not fit, each with the reason, are an error; with `lenient` they are left out and counted."""
        if unfit and not lenient:
            raise LabError(unfit[0][1])
        if unfit:
            self.records = [record for record in self.records if all(record is not other for other, _ in unfit)]
            self.notes.append(f"{len(unfit)} {note}")


def read_files(path: str | Path) -> list[Entry]:
    """The records of a .json or .jsonl file, or of all such files in a folder, by name."""
    path = Path(path)
    files = [path]
    if os.path.isdir(path):
        files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl")
                       and not NOT_PREDICTIONS.fullmatch(file.name))
        if not files:
            raise LabError(f"{path}: no .json or .jsonl file with predictions in this folder")
    return [entry for file in files for entry in _entries(file)]


def _entries(file: Path) -> list[Entry]:
    if file.suffix == ".jsonl":
        return [(f"{file}, line {number}", record) for number, record in read_lines(file, object)]
    return [(f"{file}, record {number}", record)
            for number, record in enumerate(read_json(file, list[object], LARGEST), 1)]


class Annotation(TypedDict, total=False):
    """The part that is read of a record in an annotation file in the shape of COCO captions."""

    id: int | str
    image_id: str
    timestamp: list[float]
    segments: list[list[float]]
    pure_cap: str


class Annotations(TypedDict):
    annotations: list[Annotation]


def load_annotations(file: Path) -> list[dict]:
    """The annotations of a file in the shape of COCO captions."""
    if found := read_json(file, Annotations)["annotations"]:
        return found
    raise LabError(f"{file}: there is no annotation in this file")


def check(entries: Iterable[Entry], problem: Problem, lenient: bool, identity: Sequence[str] = ETBENCH_ID,
          stand_in: Callable[[dict, int], dict] | None = None) -> Checked:
    """The first malformed record is an error; with `lenient` a record that fails replaces it, and it is counted."""
    records: dict[tuple, dict] = {}
    failed, nameless, repeated = [], 0, 0
    for where, record in entries:
        wrong = problem(record)
        key = _key(record, identity)
        if wrong is None and key in records:
            wrong = "its id was there before; ids must be unique within task and source"
        if wrong and not lenient:
            raise LabError(f"{where}{_name(record)}: {wrong}")
        if wrong and key is None:
            nameless += 1
        elif key in records:
            repeated += 1
        else:
            records[key] = (stand_in or unanswered)(record, len(records)) if wrong else record
            failed += [key] if wrong else []
    notes = [f"{len(failed)} malformed records count as failed: {first_few(failed)}"] if failed else []
    notes += [f"{repeated} records whose id was there before are left out"] if repeated else []
    notes += [f"{nameless} records do not say what they answer and are left out"] if nameless else []
    return Checked(list(records.values()), notes)


def _key(record, identity: Sequence[str]) -> tuple | None:
    """Which question a record says it answers; None if it does not say so."""
    if not isinstance(record, dict):
        return None
    key = tuple(record.get(name) for name in identity)
    task = record.get("task", TASKS[0])
    named = all(type(part) in (str, int) for part in key) and isinstance(task, str) and task in TASKS
    return key if named else None


def first_problem(record, requirements: Callable[[dict], Iterator[tuple[bool, str]]]) -> str | None:
    """The message of the first requirement that does not hold. Later ones may rely on it, so they are not looked at."""
    if not isinstance(record, dict):
        return f"expected an object, found {shown(record)}"
    return next((message for holds, message in requirements(record) if not holds), None)


def is_text(record: dict, name: str) -> tuple[bool, str]:
    """A requirement: the field is there and holds text."""
    value = record.get(name)
    try:
        fit(value, str)
    except LabError:
        return False, f"{name} is {shown(value)}; it must be text"
    return len(value) <= ANSWER, f"{name} has {len(value):,} characters; it may have at most {ANSWER:,}"


def etbench_problem(record) -> str | None:
    return first_problem(record, _etbench_requirements)


def _etbench_requirements(record: dict) -> Iterator[tuple[bool, str]]:
    task, idx, target = record.get("task"), record.get("idx"), record.get("tgt")
    yield isinstance(task, str) and task in TASKS, f"task is {shown(task)}; it must be one of {', '.join(TASKS)}"
    yield is_text(record, "source")
    yield isinstance(idx, (int, str)) and not isinstance(idx, bool), f"idx is {shown(idx)}; it must be a number or text"
    for name in ("a", *(name for name in ("video", "q") if name in record)):
        yield is_text(record, name)
    if task in ("rar", "eca", "rvq", "gvq"):
        right, options = record.get("p"), record.get("o")
        yield (isinstance(options, list) and options != [] and all(isinstance(o, str) or is_pair(o) for o in options),
               f"o is {shown(options)}; it must be a list of options, each a text or a [start, end] pair")
        yield (isinstance(right, int) and not isinstance(right, bool) and 0 <= right < len(options),
               f"p is {shown(right)}; it must be the index of the right one of {len(options)} options")
    if task in ("tvg", "epm", "gvq"):
        yield is_pair(target), f"tgt is {shown(target)}; {task} needs one [start, end] pair, in finite seconds"
    elif task == "vhd":
        yield (_is_pairs(target) or isinstance(target, list) and target != [] and all(map(_is_pairs, target)),
               f"tgt is {shown(target)}; {task} needs a list of [start, end] pairs, or one such list per annotator, in "
               "finite seconds")
    elif task not in ("rar", "eca", "rvq"):
        yield _is_pairs(target), f"tgt is {shown(target)}; {task} needs a list of [start, end] pairs, in finite seconds"
    if task in ("dvc", "slc"):
        captions = record.get("g")
        yield (isinstance(captions, list) and all(isinstance(caption, str) for caption in captions),
               f"g is {shown(captions)}; it must be a list of captions")
        yield len(captions) == len(target), f"g has {len(captions)} captions for {len(target)} intervals in tgt"
        yield is_text(record, "video")


def is_pair(value) -> bool:
    return (isinstance(value, (list, tuple)) and len(value) == 2
            and all(type(x) in (int, float) and abs(x) < LATEST for x in value))


def _is_pairs(value) -> bool:
    return isinstance(value, list) and 0 < len(value) <= MOST_EVENTS and all(map(is_pair, value))


def unanswered(record: dict, number: int) -> dict:
    """An empty answer to a question of the right form, to replace a malformed record."""
    flat = record["task"] in ("tvg", "epm", "gvq")
    return {**record, "a": "", "p": 0, "o": [""] * 4, "tgt": [0.0, 1.0] if flat else [[0.0, 1.0]], "g": ["?"],
            "video": f"malformed {number}", "q": ""}


def load_etbench(path: Path, truth: Path | None, subset: Path | None, tasks: Sequence[str] | None,
                 lenient: bool) -> Checked:
    """Answered annotations of E.T. Bench, compared with an annotation file if one is given."""
    if unknown := sorted(set(tasks or ()) - set(TASKS)):
        raise LabError(f"no task {unknown[0]!r}: E.T. Bench has {', '.join(TASKS)}")
    wanted = read_json(subset, dict[str, dict[str, list[int | str]]]) if subset else None

    def asked(task: str, source: str, idx: int | str) -> bool:
        return (not tasks or task in tasks) and (wanted is None or idx in wanted.get(task, {}).get(source, ()))

    entries = read_files(path)
    checked = _against(entries, truth, lenient, path, asked) if truth else check(entries, etbench_problem, lenient)
    checked.records = [r for r in checked.records if asked(r["task"], r["source"], r["idx"])]
    if not checked.records:
        raise LabError(f"{path}: nothing is left to score")
    return checked


def _against(entries: Iterable[Entry], annotations: Path, lenient: bool, path: Path,
             asked: Callable[..., bool]) -> Checked:
    """Records with the truth of the annotation file; what a prediction repeats of it must agree.

    Every question that is `asked`, by task, source and idx, needs a prediction.
    """
    truth = {}
    for where, record in read_files(annotations):
        if key := _key(record, ETBENCH_ID):
            if wrong := etbench_problem({**record, "a": ""}):
                raise LabError(f"{where}{_name(record)}: {wrong}")
            truth[key] = record
    if not truth:
        raise LabError(f"{annotations}: no annotation of E.T. Bench in this file; each has a task, a source and an idx")

    def problem(record) -> str | None:
        key = _key(record, ETBENCH_ID)
        if (annotation := truth.get(key)) is None:
            return None if lenient and key else "the annotation file has no such sample (another version?)"
        for name in REPEATED:
            if name in record and name in annotation and record[name] != annotation[name]:
                return (f"{name} is {shown(record[name])}, but the annotation file says {shown(annotation[name])} "
                        "(another version?)")
        return etbench_problem({**annotation, "a": record.get("a")})

    checked = check(entries, problem, lenient)
    answers = {_key(r, ETBENCH_ID): {name: r[name] for name in ("a", "error") if name in r} for r in checked.records}
    if strangers := [key for key in answers if key not in truth]:
        checked.notes.append(f"answers to samples that are not in the annotation file are left out ({len(strangers)}): "
                             f"{first_few(strangers)}")
    if missing := [key for key in truth if key not in answers and asked(*key)]:
        if not lenient:
            raise LabError(f"{path}: no prediction for {first_few(missing)}")
        checked.notes.append(f"{len(missing)} samples without a prediction count as failed: {first_few(missing)}")
    checked.records = [{**annotation, **answers.get(key, {"a": ""})} for key, annotation in truth.items()]
    return checked


def _name(record) -> str:
    known = [brief(record[name]) for name in (*ETBENCH_ID, "video_id", "question_id", "video")
             if name in record] if isinstance(record, dict) else []
    return f" ({' '.join(known)})" if known else ""


def first_few(ids: Sequence, limit: int = 5) -> str:
    """Some ids as text; if ids have several parts, blanks stand between the parts."""
    names = [" ".join(map(brief, each)) if isinstance(each, tuple) else brief(each) for each in ids[:limit]]
    return ", ".join(names) + (f" and {len(ids) - limit} more" if len(ids) > limit else "")
