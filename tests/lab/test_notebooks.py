"""Every notebook is committed without outputs, in one form, and runs from top to bottom at its smallest."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from d2vlm_lab.config import read_config
from d2vlm_lab.settings import flatten

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
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
    "07_consistency": {"videos": 10, "steps": 2, "at_once": 2, "weights": [0.0, 10.0]},
    "08_fine_tuning_with_lora": {"videos": 10, "steps": 4, "at_once": 2, "followed": 0},
    "bring_your_own_video": {"videos": 10},
}

ONE_POINT = {  # pages that a study runs once for each of its points
    "train_and_score": {"questions": 3},
    "saliency_run": {"questions": 3, "shown": 1},
    "length_run": {"questions": 3, "repeats": 1},
}
TINY = ["data.world_settings=[videos=10]", "training.steps=2", "training.videos=2", "training.log_every=1",
        "training.eval_every=2", "evaluation.samples=2", "evaluation.max_new_tokens=16"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_in_the_canonical_form(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert sum(cell["metadata"].get("tags") == ["parameters"] for cell in code) == 1
    assert max(len(cell["source"]) for cell in code) <= 30


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom_and_warnings_are_errors(path, tmp_path):
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
