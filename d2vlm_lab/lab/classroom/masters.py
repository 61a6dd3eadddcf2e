"""The notebooks of exercises as they are kept: where they are, and how their cells are marked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...config import ROOT

MASTERS = ROOT / "notebooks" / "exercises"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CHECK = "check_"  # a cell that checks an exercise has its name behind this


def role(cell: Mapping) -> tuple[bool, bool]:
    """Whether a cell gives points, and whether it is where the student writes."""
    marks = cell["metadata"].get("nbgrader", {})
    return bool(marks.get("grade")), bool(marks.get("solution"))


def grade_id(cell: Mapping) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


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
