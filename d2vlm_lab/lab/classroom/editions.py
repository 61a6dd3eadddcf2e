"""Two editions of the exercises from one notebook: without the solutions for students, with them for lecturers.

A solution stands between `### BEGIN SOLUTION` and `### END SOLUTION`, and the cells carry nbgrader's metadata. The
student edition is what nbgrader's own preprocessors would make.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ...config import ROOT
from ...files import atomic_path, write_text
from .masters import BEGIN, END, MASTERS, role

STUBS = {"code": "# YOUR CODE HERE\nraise NotImplementedError()", "markdown": "YOUR ANSWER HERE"}  # nbgrader's
PAGES = ROOT / "notebooks" / "walkthrough"
CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "d2vlm"
c.Execute.timeout = 120  # seconds for a cell; two cells ask a trained model
c.ClearSolutions.enforce_metadata = True
"""


def student(notebook: NotebookNode) -> NotebookNode:
    """A copy without solutions, as students get it."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        grade, solution = role(cell)
        if solution or grade:
            cell.metadata["deletable"] = False
        if grade and not solution:
            cell.metadata["editable"] = False
        if solution:
            cell.source = _cleared(cell.source, STUBS[cell.cell_type])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if solution or grade:
            cell.metadata.nbgrader |= {"checksum": _checksum(cell), "cell_type": cell.cell_type}
    return notebook


def _cleared(source: str, stub: str) -> str:
    """The source with its solution replaced by the stub; all of it where nothing is marked."""
    region = re.compile(rf"^( *){re.escape(BEGIN)}.*?{re.escape(END)}$", re.MULTILINE | re.DOTALL)
    if not region.search(source):
        return stub
    return region.sub(lambda found: re.sub("^", found[1], stub, flags=re.MULTILINE), source)


def _checksum(cell: NotebookNode) -> str:
    """What nbgrader compares to see whether a cell was changed."""
    grade, solution = role(cell)
    parts = [cell.source, cell.cell_type, str(grade), str(solution), str(grade and not solution),
             cell.metadata.nbgrader["grade_id"]]
    if grade:
        parts.append(str(float(cell.metadata.nbgrader["points"])))
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def write_students(folder: Path) -> list[str]:
    """The student edition into a folder; what is there already is somebody's work, and stays."""
    return [_write(student, path, folder / path.name) for path in sorted(MASTERS.glob("*.ipynb"))]


def write_lecturers(folder: Path) -> list[str]:
    """A course as nbgrader expects it: each notebook with its solutions is an assignment of its own."""
    said = [_write(copy.deepcopy, path, folder / "source" / path.stem / path.name)
            for path in sorted(MASTERS.glob("*.ipynb"))]
    config = folder / "nbgrader_config.py"
    if not config.exists():
        write_text(config, CONFIG)
    return said


def _write(edition: Callable, master: Path, path: Path) -> str:
    if path.exists():
        return f"kept     {path} (it was there already; move it away to get a new one)"
    notebook = edition(nbformat.read(master, as_version=4))
    _point_to_pages(notebook, path)
    with atomic_path(path) as partial:
        nbformat.write(notebook, partial)
    return f"written  {path}"


def _point_to_pages(notebook: NotebookNode, path: Path) -> None:
    """Make links to the pages work from the new place; outside the project they become plain names."""
    place = Path(os.path.realpath(path))  # unlike Path.resolve, it takes links that lead to themselves
    inside = place.is_relative_to(ROOT)
    pages = Path(os.path.relpath(PAGES, place.parent)).as_posix()
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "(../walkthrough/" in cell.source:
            link = rf"[\1]({pages}/\2)" if inside else r"\1 (`notebooks/walkthrough/\2`)"
            cell.source = re.sub(r"\[([^\]]+)\]\(\.\./walkthrough/([^)]+)\)", link, cell.source)
