"""The parameters of a study's notebook, read without running it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NotRequired, TypedDict

from ...errors import LabError
from ...reader import read_json
from ...shapes import below, fit


class Metadata(TypedDict):
    tags: NotRequired[list[str]]


class Cell(TypedDict):
    cell_type: str
    source: str | list[str]
    metadata: Metadata


class Notebook(TypedDict):
    cells: list[Cell]


def notebook_cells(path: Path) -> list[Cell]:
    try:
        return read_json(path, Notebook)["cells"]
    except LabError as error:
        raise LabError(f"notebook: not a notebook: {error}") from None


def notebook_parameters(path: Path) -> dict[str, object]:
    """Names that the notebook's `parameters` cell assigns, with their defaults (None for what is not a plain value)."""
    for number, cell in enumerate(notebook_cells(path)):
        if "parameters" in (cell["metadata"].get("tags", ())):
            try:
                body = ast.parse("".join(cell["source"])).body
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                raise LabError(f"notebook: {path}: cells[{number}] (`parameters`) is not Python "
                               f"({' '.join(str(error).split())})") from None
            return {target.id: getattr(node.value, "value", None) for node in body if isinstance(node, ast.Assign)
                    for target in node.targets if isinstance(target, ast.Name)}
    raise LabError(f"notebook: {path} has no cell with the tag `parameters`")


def check_extra(value, default, where: str):
    """A value for a parameter of a notebook: of the kind of its default, if that is one plain value."""
    if type(default) in (bool, int, float, str):
        return fit(value, float if type(default) is int and type(value) is float else type(default), where)
    if isinstance(value, (list, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, leaf in items:
            check_extra(leaf, None, f"{where}: {below('', key)}")
    elif value is not None:
        fit(value, type(value), where)
    return value
