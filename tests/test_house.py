"""The house stands: a file imports from its own floor or from below, never in a circle."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "d2vlm_lab"
FLOORS = ("__init__", "errors", "lazy", "shapes", "reader", "files", "processes", "settings", "config", "hub",
          "ideas", "data", "model", "learning", "judging", "lab", "cli")
MODULES = {path.relative_to(LIBRARY).with_suffix("").parts: path for path in LIBRARY.rglob("*.py")}


def imported(module):
    """The modules of the library that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module[:len(module) - node.level] + tuple((node.module or "").split(".") if node.module else ())
            for name in node.names:
                if (*base, name.name) in MODULES:
                    yield (*base, name.name)
                elif base in MODULES:
                    yield base
                elif (*base, "__init__") in MODULES:
                    yield (*base, "__init__")


@pytest.mark.parametrize("module", MODULES, ids=".".join)
def test_a_file_imports_from_its_own_floor_or_from_below(module):
    if module[0] != "__init__":
        above = [other for other in imported(module) if FLOORS.index(other[0]) > FLOORS.index(module[0])]
        assert above == []


def test_files_name_each_other_by_relative_imports_alone():
    """The other tests here read these only."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [
                node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not [name for name in names if name.split(".")[0] == "d2vlm_lab"], path


def test_no_files_import_each_other_in_a_circle():
    assert list(TopologicalSorter({module: set(imported(module)) for module in MODULES}).static_order())


def test_no_folders_of_a_floor_import_each_other_in_a_circle():
    rooms = defaultdict(set)
    for module in (m for m in MODULES if len(m) > 2):
        rooms[module[:2]] |= {other[:2] for other in imported(module) if len(other) > 2} - {module[:2]}
    assert list(TopologicalSorter(rooms).static_order())


METHOD = ("ideas", "data", "model", "learning")
GUIDE = (LIBRARY.parent / "notebooks" / "teaching" / "reading.md").read_text(encoding="utf-8")


def named(cell):
    """The files that a cell of the guide names, as in "`data/`: `video`, `world/`": a folder stands for all its files.
    """
    folder = LIBRARY
    for word in re.findall(r"`([^`]+)`", cell):
        if not word.endswith("/"):
            yield folder / f"{word}.py"
        elif word.rstrip("/") in METHOD:
            folder = LIBRARY / word
        else:
            yield from (LIBRARY if word.split("/")[0] in METHOD else folder).joinpath(word).glob("*.py")


def test_the_guide_to_reading_the_method_names_every_file_of_its_floors_once():
    path, left_out = GUIDE.split("## What you can leave out")
    read = [LIBRARY.parent / link for link in re.findall(r"\(../../(d2vlm_lab/[^)]+\.py)\)", path)]
    others = {file for cell in re.findall(r"^\| (`.*?) \|", left_out, re.MULTILINE) for file in named(cell)}
    assert len(set(read)) == len(read)
    assert all(file.exists() for file in {*read, *others})
    files = {file for floor in METHOD for file in (LIBRARY / floor).rglob("*.py") if file.name != "__init__.py"}
    assert files <= {*read, *others}
    assert others & set(read) == {LIBRARY / "model" / "towers" / "tiny.py"}  # of which the guide says so
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in read) <= 4500
