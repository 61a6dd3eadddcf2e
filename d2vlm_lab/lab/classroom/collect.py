"""From a folder of handed-in notebooks to a table of points: every notebook is run again, in a process of its own."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...config import ROOT
from ...errors import LabError
from ...files import atomic_path, json_lines
from .masters import CHECK, cells, grade_id, masters, role, source

CELL_SECONDS, NOTEBOOK_SECONDS = 20, 180  # of computing for a cell; for a notebook, by the clock


@dataclass
class HandedIn:
    """The result of one notebook."""

    student: str
    path: Path
    states: dict[str, str] = field(default_factory=dict)  # of each exercise: passed, wrong, empty
    problem: str = ""


def points() -> dict[str, tuple[str, float]]:
    """For each exercise that a check decides: its page and its points."""
    found = {}
    for path in masters():
        for cell in cells(path):
            grade, solution = role(cell)
            if grade and not solution:
                found[grade_id(cell).removeprefix(CHECK)] = (path.name[:2], cell["metadata"]["nbgrader"]["points"])
    return found


def core() -> set[str]:
    """The exercises that have *core* under their title."""
    found, title = set(), ""
    for path in masters():
        for cell in cells(path):
            if cell["cell_type"] == "markdown":
                title = source(cell)
            elif role(cell) == (False, True) and " · core*" in title:
                found.add(grade_id(cell))
    return found


def collect(folder: Path, limit: int = NOTEBOOK_SECONDS, report: Callable[[str], None] = print) -> list[HandedIn]:
    """All notebooks beneath a folder. The first folder on the way to a notebook, or else its name, is the student."""
    paths = sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not paths:
        raise LabError(f"{folder} contains no notebooks; put each student's notebooks into a folder with the student's "
                       "name")
    handed_in = []
    for path in paths:
        first, *rest = path.relative_to(folder).parts
        each = examine(HandedIn(first if rest else path.stem, path), limit)
        passed = sum(state == "passed" for state in each.states.values())
        report(f"{each.path}: {passed} of {len(each.states)} passed" + (f" ({each.problem})" if each.problem else ""))
        handed_in.append(each)
    return handed_in


def examine(each: HandedIn, limit: int) -> HandedIn:
    """Run a notebook again and fill in what its checks find; an error is noted and does not stop the others."""
    try:
        read = cells(each.path)
    except LabError as error:
        each.problem = f"cannot be read as a notebook: {error}"
        return each
    ids = {grade_id(cell) for cell in read}
    known = points()
    names = [name for name in known if name in ids or f"{CHECK}{name}" in ids]
    if not names:
        each.problem = "has no cell of any exercise"
        return each
    each.states = dict.fromkeys(names, "empty")
    with tempfile.TemporaryDirectory() as place:
        given, results = Path(place, "cells.json"), Path(place, "results.jsonl")
        given.write_text(json.dumps(read), encoding="utf-8")
        results.touch()
        each.problem = _run([str(given), str(results), str(min(CELL_SECONDS, limit))], place, limit)
        for found in json_lines(results):  # the student's code could have written there, too
            if found.get("exercise") in names and found.get("state") in ("passed", "wrong", "empty"):
                each.states[found["exercise"]] = found["state"]
    return each


def _run(arguments: Sequence[str], place: str, limit: int) -> str:
    """Run the notebook; what went wrong, in words."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    process = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.rerun", *arguments], cwd=place, start_new_session=True,
        env=os.environ | {"PYTHONPATH": path, "IPYTHONDIR": place}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit} seconds"
    finally:
        _end(process)
    return "" if code == 0 else f"its code ended Python with the code {code}"


def _end(process: subprocess.Popen) -> None:
    """The process and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def table(handed_in: Sequence[HandedIn]) -> tuple[list[str], list[list]]:
    """A header and a row for each student: the points of every exercise, their sums, and what went wrong.

    An open exercise gives its points for its form alone. It is graded by hand and is never *core*.
    """
    known, needed = points(), core()
    names = [name for name in known if any(name in each.states for each in handed_in)]
    by_student: dict[str, list[HandedIn]] = defaultdict(list)
    for each in handed_in:
        by_student[each.student].append(each)
    rows = []
    for student, notebooks in by_student.items():
        got = {name: _got(name, notebooks, known[name][1]) for name in names}
        sums = [sum(got[name] or 0 for name in counted) for counted in (got.keys() & needed, got)]
        problems = "; ".join(f"{each.path.name}: {each.problem}" for each in notebooks if each.problem)
        rows.append([student, *got.values(), *sums, problems])
    return ["student", *names, "core points", "points", "problems"], rows


def _got(name: str, notebooks: Sequence[HandedIn], worth: float) -> float | str:
    """The points of an exercise; nothing where no notebook of the student has it."""
    states = [each.states[name] for each in notebooks if name in each.states]
    return (worth if "passed" in states else 0) if states else ""


def write_table(handed_in: Sequence[HandedIn], path: Path) -> None:
    header, rows = table(handed_in)
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def summary(handed_in: Sequence[HandedIn]) -> str:
    """One line for each student: exercises passed on each page, and the points."""
    known, (header, rows) = points(), table(handed_in)
    names = header[1:-3]
    pages = sorted({known[name][0] for name in names})
    width = max(len("student"), *(len(row[0]) for row in rows))
    most = sum(known[name][1] for name in names)
    lines = [f"{'student':{width}}  " + "  ".join(f"{page:>5}" for page in pages) + f"  points of {most:g}"]
    for row in rows:
        got = dict(zip(names, row[1:-3]))
        counts = [[got[name] for name in got if known[name][0] == page and got[name] != ""] for page in pages]
        shown = [f"{sum(value > 0 for value in values)}/{len(values)}" if values else "-" for values in counts]
        lines.append(f"{row[0]:{width}}  " + "  ".join(f"{text:>5}" for text in shown) + f"  {row[-2]:g}")
    return "\n".join(lines)
