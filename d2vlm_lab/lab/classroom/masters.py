"""The notebooks of exercises as they are kept: where they are, and how their cells are marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from ...config import ROOT
from ...reader import read_json

MASTERS = ROOT / "notebooks" / "exercises"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CHECK = "check_"  # a cell that checks an exercise has its name behind this


class Marks(TypedDict, total=False):
    """What nbgrader notes about a cell."""

    grade: bool
    solution: bool
    grade_id: str


class Metadata(TypedDict):
    nbgrader: NotRequired[Marks]
    tags: NotRequired[list[str]]


class Cell(TypedDict):
    cell_type: str
    metadata: Metadata
    source: NotRequired[str | list[str]]


class Notebook(TypedDict):
    cells: list[Cell]


def role(cell: Mapping) -> tuple[bool, bool]:
    """Whether a cell gives points, and whether it is where the student writes."""
    marks = cell["metadata"].get("nbgrader", {})
    return bool(marks.get("grade")), bool(marks.get("solution"))


def grade_id(cell: Mapping) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def cells(path: Path) -> list[Cell]:
    return read_json(path, Notebook)["cells"]


def masters(page: str = "") -> Iterator[Path]:
    """All of them, or those of a page."""
    return iter(sorted(MASTERS.glob(f"{page or '[0-9][0-9]'}*_*.ipynb")))


def source(cell: Mapping) -> str:
    """The text of a cell, which a file may hold as one string or line by line."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def solution_of(name: str, page: str) -> str | None:
    """The solution of an exercise as its notebook has it, without the markers."""
    for path in masters(page):
        for cell in cells(path):
            if grade_id(cell) == name:
                return "\n".join(line for line in source(cell).splitlines() if line.strip() not in (BEGIN, END))
    return None
