"""Prediction files in, checked records out: what is wrong is said with file, sample and field."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import LabError
from .etbench import TASKS

NOT_PREDICTIONS = ("metrics", "score", "run")  # what else may lie beside predictions, by the beginning of its name
SHARED = ("version", "video", "tgt", "p", "o", "g")  # fields that a prediction repeats from its annotation


class PredictionError(LabError):
    """A prediction that cannot be scored."""


@dataclass
class Checked:
    """Records that can be scored; under leniency some stand in for malformed ones and are bound to fail."""

    records: list[dict]
    notes: list[str] = field(default_factory=list)


def read_files(path: str | Path) -> list[tuple[str, dict]]:
    """(where it stands, record) of a .json or .jsonl file, or of all of them in a folder, by name."""
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl")
                       and not file.stem.startswith(NOT_PREDICTIONS))
        if not files:
            raise PredictionError(f"{path}: no .json or .jsonl file with predictions in this folder")
    return [entry for file in files for entry in _entries(file)]


def load_json(path: str | Path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PredictionError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise PredictionError(f"{path}: not JSON ({error})") from error


def load_etbench(path: str | Path, truth: str | Path | None = None, subset: str | Path | None = None,
                 tasks: Sequence[str] | None = None, lenient: bool = False) -> Checked:
    """Answered annotations of E.T. Bench, against an annotation file if one is given."""
    if unknown := sorted(set(tasks or ()) - set(TASKS)):
        raise LabError(f"no task {unknown[0]!r}: E.T. Bench has {', '.join(TASKS)}")
    entries = read_files(path)
    if truth is not None:
        return _narrow(_against(entries, read_files(truth), lenient, path), subset, tasks)
    return _narrow(check(entries, etbench_problem, lenient), subset, tasks)


def check(entries: Iterable[tuple[str, dict]], problem: Callable[[dict], str | None], lenient: bool = False,
          identity: Sequence[str] = ("task", "source", "idx"),
          stand_in: Callable[[dict, int], dict] | None = None) -> Checked:
    """Raise at the first malformed record; or let it fail, and say how many did."""
    found: dict[tuple, dict] = {}
    failed, homeless, doubled = [], 0, 0
    for where, record in entries:
        wrong = problem(record)
        key = tuple(record.get(name) for name in identity) if isinstance(record, dict) else ()
        known = key != () and all(isinstance(part, (str, int)) for part in key)
        known = known and record.get("task", TASKS[0]) in TASKS
        if wrong is None and known and key in found:
            wrong = "its id was there before; ids must be unique within task and source"
        if wrong and not lenient:
            raise PredictionError(f"{where}{_name(record)}: {wrong}")
        if wrong and not known:
            homeless += 1
        elif key in found:
            doubled += 1
        else:
            found[key] = (stand_in or unanswered)(record, len(found)) if wrong else record
            failed += [key] if wrong else []
    notes = [f"{len(failed)} malformed records count as failed: {_few(failed)}"] if failed else []
    notes += [f"{doubled} records whose id was there before are left out"] if doubled else []
    notes += [f"{homeless} records do not say what they answer and are left out"] if homeless else []
    return Checked(list(found.values()), notes)


def etbench_problem(record) -> str | None:
    """What keeps a record from being scored, None if nothing does."""
    if not isinstance(record, dict):
        return f"expected an object, found {type(record).__name__}"
    for name, kind in (("task", str), ("source", str), ("idx", (int, str)), ("a", str)):
        if name not in record:
            return f"field {name!r} is missing"
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            return f"{name} is {record[name]!r}; it must be {'an integer' if name == 'idx' else 'text'}"
    task = record["task"]
    if task not in TASKS:
        return f"task is {task!r}; it must be one of {', '.join(TASKS)}"
    problems = [_choice_problem(record)] if task in ("rar", "eca", "rvq", "gvq") else []
    if task not in ("rar", "eca", "rvq"):
        problems.append(_target_problem(record.get("tgt"), task))
    if task in ("dvc", "slc"):
        problems.append(_captions_problem(record))
    return next(filter(None, problems), None)


def _choice_problem(record: dict) -> str | None:
    right, options = record.get("p"), record.get("o")
    if not isinstance(options, list) or not options or not all(isinstance(o, str) or is_pair(o) for o in options):
        return f"o is {options!r}; it must be a list of options, each a text or a [start, end] pair"
    if not isinstance(right, int) or isinstance(right, bool) or not 0 <= right < len(options):
        return f"p is {right!r}; it must be the index of the right one of {len(options)} options"
    return None


def _target_problem(target, task: str) -> str | None:
    if task in ("tvg", "epm", "gvq"):
        right, shape = is_pair(target), "one [start, end] pair"
    elif task == "vhd":
        right, shape = is_pairs(target) or (isinstance(target, list) and target != [] and all(map(is_pairs, target))), \
            "a list of [start, end] pairs, or one such list per annotator"
    else:
        right, shape = is_pairs(target), "a list of [start, end] pairs"
    return None if right else f"tgt is {target!r}; {task} needs {shape}, in finite seconds"


def _captions_problem(record: dict) -> str | None:
    captions = record.get("g")
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        return f"g is {captions!r}; it must be a list of captions"
    if len(captions) != len(record["tgt"]):
        return f"g has {len(captions)} captions for {len(record['tgt'])} intervals in tgt"
    if not isinstance(record.get("video"), str):
        return f"video is {record.get('video')!r}; it must be the path of the video"
    return None


def is_pair(value) -> bool:
    return (isinstance(value, (list, tuple)) and len(value) == 2
            and all(isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in value))


def is_pairs(value) -> bool:
    return isinstance(value, list) and value != [] and all(map(is_pair, value))


def _against(entries, annotations, lenient: bool, path) -> Checked:
    """The truth comes from the annotation file; what a prediction repeats of it must agree."""
    truth = {(r.get("task"), r.get("source"), r.get("idx")): r for _, r in annotations if isinstance(r, dict)}

    def problem(record) -> str | None:
        key = tuple(record.get(name) for name in ("task", "source", "idx")) if isinstance(record, dict) else ()
        if key not in truth:
            return "the annotation file has no such sample (another version?)"
        for name in SHARED:
            if name in record and name in truth[key] and record[name] != truth[key][name]:
                return (f"{name} is {record[name]!r}, but the annotation file says {truth[key][name]!r} "
                        "(another version?)")
        return etbench_problem({**truth[key], "a": record.get("a")})

    checked = check(entries, problem, lenient)
    given = {(r["task"], r["source"], r["idx"]): r for r in checked.records}
    if missing := [key for key in truth if key not in given]:
        if not lenient:
            raise PredictionError(f"{path}: no prediction for {_few(missing)}")
        checked.notes.append(f"{len(missing)} samples without a prediction count as failed: {_few(missing)}")
    records = [{**annotation, "a": given[key]["a"] if key in given else ""} for key, annotation in truth.items()]
    return Checked(records, checked.notes)


def _narrow(checked: Checked, subset: str | Path | None, tasks: Sequence[str] | None) -> Checked:
    if subset is not None:
        wanted = load_json(subset)
        checked.records = [r for r in checked.records if r["idx"] in wanted.get(r["task"], {}).get(r["source"], ())]
    if tasks:
        checked.records = [record for record in checked.records if record["task"] in tasks]
    if not checked.records:
        raise PredictionError("nothing is left to score")
    return checked


def unanswered(record: dict, number: int) -> dict:
    """An empty answer to a question of the right form."""
    task = record.get("task")
    flat = task in ("tvg", "epm", "gvq")
    return {**record, "a": "", "p": 0, "o": [""] * 4, "tgt": [0.0, 1.0] if flat else [[0.0, 1.0]], "g": ["?"],
            "video": f"malformed {number}"}


def _entries(file: Path) -> list[tuple[str, dict]]:
    if file.suffix == ".jsonl":
        found = []
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise PredictionError(f"{file}: cannot be read ({error.strerror})") from error
        for number, line in enumerate(lines, 1):
            try:
                found += [(f"{file.name}, line {number}", json.loads(line))] if line.strip() else []
            except ValueError as error:
                raise PredictionError(f"{file}, line {number}: not JSON ({error})") from error
        return found
    content = load_json(file)
    if not isinstance(content, list):
        raise PredictionError(f"{file}: expected a list of predictions, found {type(content).__name__}")
    return [(f"{file.name}, record {number}", record) for number, record in enumerate(content, 1)]


def _name(record) -> str:
    known = [str(record[name]) for name in ("task", "source", "idx", "video_id", "question_id", "video")
             if name in record] if isinstance(record, dict) else []
    return f" ({' '.join(known)})" if known else ""


def _few(keys: Sequence[tuple], limit: int = 5) -> str:
    shown = ", ".join(" ".join(map(str, key)) for key in keys[:limit])
    return shown + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
