"""What goes out and what comes back: editions, nbgrader's own verdict on them, and the table of what was handed in."""

import copy
import csv
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.classroom.collect import HandedIn, collect, core, points, summary, table
from d2vlm_lab.lab.classroom.editions import student, write_lecturers, write_students
from d2vlm_lab.lab.classroom.masters import grade_id, masters, role

NOTEBOOKS = list(masters())
NBGRADER = pytest.mark.skipif(find_spec("nbgrader") is None, reason="nbgrader is not installed")
FOUR = "04_the_grounding_loss"
TOO_LONG = "def push(logits, targets):\n    return targets - logits.sigmoid()"


def answered(path, changes):
    """A notebook with some of its cells written anew, by their grade ids."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = changes.get(grade_id(cell), cell.source)
    return notebook


def hand_in(notebook, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_student_edition_has_no_solutions_and_is_otherwise_the_same(path):
    master = nbformat.read(path, as_version=4)
    edition = student(master)
    nbformat.validate(edition)
    for before, after in zip(master.cells, edition.cells, strict=True):
        if role(before)[1]:
            assert "SOLUTION" not in after.source and ("YOUR CODE HERE" in after.source
                                                       or after.source == "YOUR ANSWER HERE")
        else:
            assert after.source == before.source
    assert "BEGIN SOLUTION" in "".join(cell.source for cell in master.cells)


@NBGRADER
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_student_edition_is_the_one_that_nbgrader_makes(path):
    from nbgrader import preprocessors

    master = nbformat.read(path, as_version=4)
    theirs, resources = copy.deepcopy(master), {}
    for name in ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ComputeChecksums"):
        theirs, resources = getattr(preprocessors, name)().preprocess(theirs, resources)
    assert student(master) == theirs


def test_students_work_is_never_overwritten(tmp_path, capsys):
    assert main(["classroom", "student", str(tmp_path)]) == 0
    mine = tmp_path / f"{FOUR}.ipynb"
    assert len(list(tmp_path.glob("*.ipynb"))) == 10
    mine.write_text("my work", encoding="utf-8")
    assert main(["classroom", "student", str(tmp_path)]) == 0
    assert mine.read_text(encoding="utf-8") == "my work"
    assert capsys.readouterr().out.count("kept") == 10


def test_a_folder_that_is_a_link_to_itself_is_named(tmp_path, capsys):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for edition in ("student", "lecturer"):
        assert main(["classroom", edition, str(tmp_path / "loop")]) == 2
        assert "/loop/" in capsys.readouterr().err


def test_a_link_to_a_page_leads_there_from_the_new_place():
    folder = ROOT / "build" / "exercises-of-a-test"
    try:
        write_students(folder)
        first = nbformat.read(folder / f"{FOUR}.ipynb", as_version=4).cells[0].source
        link = first.split("](")[1].split(")")[0]
        assert (folder / link).resolve() == ROOT / "notebooks" / "walkthrough" / f"{FOUR}.ipynb"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_outside_the_project_a_page_is_named_and_not_linked(tmp_path):
    write_lecturers(tmp_path)
    first = nbformat.read(tmp_path / "source" / FOUR / f"{FOUR}.ipynb", as_version=4).cells[0].source
    assert "](" not in first and f"page 04 (`notebooks/walkthrough/{FOUR}.ipynb`)" in first


def test_what_was_handed_in_is_run_again_and_broken_notebooks_are_only_reported(tmp_path, capsys):
    path = next(path for path in NOTEBOOKS if path.stem == FOUR)
    forged = answered(path, {"push": TOO_LONG})
    for cell in forged.cells:
        if role(cell) == (True, False):
            cell.outputs = [nbformat.v4.new_output("stream", text="Right.")]
    hand_in(forged, tmp_path / "anna" / path.name)
    hand_in(answered(path, {"push": "import os\nos._exit(3)"}), tmp_path / "carl" / path.name)
    (tmp_path / "dora").mkdir()
    (tmp_path / "dora" / path.name).write_text("{", encoding="utf-8")
    hand_in(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), tmp_path / "emil" / path.name)

    assert main(["classroom", "collect", str(tmp_path)]) == 0
    with (tmp_path / "points.csv").open(encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    all_points = sum(worth for name, (page, worth) in points().items() if page == "04")
    assert [float(rows[name]["points"]) for name in ("anna", "carl", "dora", "emil")] == [
        all_points - points()["push"][1], 4, 0, 0]
    assert rows["anna"]["push"] == "0" and rows["anna"]["frame_targets"] == "2"
    assert "ended Python with the code 3" in rows["carl"]["problems"]
    assert "cannot be read as a notebook" in rows["dora"]["problems"]
    assert "no cell of any exercise" in rows["emil"]["problems"]
    printed = capsys.readouterr().out
    assert "anna       4/5  8" in printed and "dora         -  0" in printed


@pytest.mark.parametrize("content, problem", [
    (None, "expected a file, found a pipe"), ("[" * 100_000, "more than 64 deep"),
    ('{"cells": [{"cell_type": "code", "metadata": {"nbgrader": []}}]}', "cells[0].metadata.nbgrader: expected an obj"),
    ('{"cells": [{"cell_type": "code", "metadata": {}, "source": 3}]}', "cells[0].source: expected text"),
    ('{"cells": {}}', "cells: expected a list"), ("\0", "not readable as JSON")])
def test_whatever_lies_in_the_place_of_a_notebook_is_reported(tmp_path, content, problem):
    path = tmp_path / "anna" / "page.ipynb"
    path.parent.mkdir()
    os.mkfifo(path) if content is None else path.write_text(content, encoding="utf-8")
    handed_in, = collect(tmp_path)
    assert problem in handed_in.problem and handed_in.problem.startswith(f"cannot be read as a notebook: {path}")


@pytest.mark.slow
def test_a_notebook_that_never_ends_is_stopped_and_keeps_what_it_had(tmp_path):
    path = next(path for path in NOTEBOOKS if path.stem == FOUR)
    endless = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
    hand_in(answered(path, {"lowest_loss": endless}), tmp_path / f"{path.stem}.ipynb")
    each, = collect(tmp_path, limit=40, report=lambda line: None)
    assert each.problem == "stopped after 40 seconds" and each.states["push"] == "passed"
    assert each.states["lowest_loss"] == "empty" and each.student == FOUR


def test_a_function_that_never_ends_costs_its_own_points_only(tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.lab.classroom.collect.CELL_SECONDS", 2)
    path = next(path for path in NOTEBOOKS if path.stem == FOUR)
    slow = "def push(logits, targets):\n    while True:\n        pass"
    hand_in(answered(path, {"push": slow}), tmp_path / "anna" / path.name)
    each, = collect(tmp_path, report=lambda line: None)
    assert each.states["push"] == "wrong" and list(each.states.values()).count("passed") == 4 and not each.problem


def test_a_folder_without_notebooks_and_one_that_does_not_exist(tmp_path, capsys):
    with pytest.raises(LabError, match="contains no notebooks"):
        collect(tmp_path)
    assert main(["classroom", "collect", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_student_with_notebooks_of_two_pages_gets_one_row(tmp_path):
    handed_in = [HandedIn("anna", tmp_path / "a", {"push": "passed"}),
                 HandedIn("anna", tmp_path / "b", {"iou": "wrong"})]
    assert table(handed_in) == (["student", "iou", "push", "core points", "points", "problems"],
                                [["anna", 0, 1, 0, 1, ""]])
    assert summary(handed_in).splitlines()[1].split() == ["anna", "0/1", "1/1", "1"]


def test_core_points_leave_out_what_is_graded_by_hand(tmp_path):
    assert core() <= points().keys() and not core() & {"my_rule", "my_mistake", "my_study"}
    header, (row,) = table([HandedIn("anna", tmp_path / "a", dict.fromkeys(points(), "passed"))])
    worth = {name: each for name, (_, each) in points().items()}
    sums = dict(zip(header, row))
    assert sums["core points"] == sum(worth[name] for name in core()) < sums["points"] == sum(worth.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path, edition", [*((path, "solutions") for path in NOTEBOOKS), (NOTEBOOKS[2], "stubs"),
                                           (NOTEBOOKS[8], "stubs")], ids=lambda value: getattr(value, "stem", value))
def test_exercises_run_from_top_to_bottom_and_warnings_are_errors(path, edition, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    notebook = student(notebook) if edition == "stubs" else notebook
    at = next((i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])), 0)
    given = f"import warnings\nwarnings.simplefilter('error')\nfolder, videos = {str(tmp_path / 'world')!r}, 10"
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(given))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    verdicts = ["".join(output["data"]["text/plain"] for output in cell.outputs)
                for cell in notebook.cells if role(cell) == (True, False)]
    assert all(said.startswith("Right." if edition == "solutions" else "Nothing here yet.") for said in verdicts)


@NBGRADER
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nbgrader_gives_full_points_for_solutions_none_for_stubs_and_the_right_part_for_mistakes(tmp_path):
    write_lecturers(tmp_path)
    tools = str(Path(sys.executable).parent)  # nbgrader starts alembic by its name
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                                "PATH": os.pathsep.join([tools, os.environ.get("PATH", "")])}

    def nbgrader(*words):
        done = subprocess.run([sys.executable, "-m", "nbgrader", *words], cwd=tmp_path, capture_output=True, text=True,
                              env=environment)
        assert done.returncode == 0, done.stderr[-3000:]

    def submit(student, notebook):
        hand_in(notebook, tmp_path / "submitted" / student / FOUR / f"{FOUR}.ipynb")

    nbgrader("generate_assignment", FOUR)
    released = tmp_path / "release" / FOUR / f"{FOUR}.ipynb"
    solutions = {grade_id(cell): cell.source for cell in nbformat.read(
        tmp_path / "source" / FOUR / f"{FOUR}.ipynb", as_version=4).cells if role(cell) == (False, True)}
    submit("solved", answered(released, solutions))
    submit("empty", answered(released, {}))
    submit("mistaken", answered(released, solutions | {"push": TOO_LONG}))
    nbgrader("autograde", FOUR)
    nbgrader("export")

    with (tmp_path / "grades.csv").open(encoding="utf-8") as file:
        score = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file) if row["score"]}
    by_checks = sum(worth for page, worth in points().values() if page == "04")
    assert score == {"solved": by_checks, "empty": 0, "mistaken": by_checks - points()["push"][1]}
