"""Every metric that a study can name or an exam can produce has its entry in the catalogue."""

import ast
import json
from pathlib import Path

import pytest
import yaml

from d2vlm_lab.config import ROOT, read_config
from d2vlm_lab.data.datasets import et_bench
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.catalogue import CATALOGUE, ROLES, TASKS, metric
from d2vlm_lab.judging.exam import examine, spending
from d2vlm_lab.lab.run import starting_model, training_time


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Those of an exam over every task, in a world in which events overlap."""
    folder = tmp_path_factory.mktemp("catalogue")
    make_world(folder / "world", WorldConfig(videos=20, nested=0.5, overlap=0.5, events=(2, 3), moments=2), workers=1)
    config = read_config("tiny", [f"data.world={folder}/world", "evaluation.max_new_tokens=12",
                                  f"evaluation.tasks={list(TASKS)}"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("d2vlm_lab.data.splits.CACHE", str(folder / "cache"))
        return examine(starting_model(config), config, 3).scores


def test_what_an_exam_produces_is_in_the_catalogue(scores):
    assert not scores.keys() - CATALOGUE.keys()
    assert {"slc_F1@0.5", "tem_surplus", "dvc_joint_F1@0.5", "prefers_how", "spread"} <= scores.keys()
    assert any(f"{role}_captured" in scores for role in ROLES)


def test_of_the_tasks_that_were_asked_an_exam_produces_all_that_the_catalogue_lists(scores):
    asked = {task for task in TASKS if f"{task}_mIoU" in scores}
    for name, entry in CATALOGUE.items():
        sometimes = name.endswith("boundary_error")  # only where an event was found
        if not sometimes and not name.startswith(("answer_", "frames_")) and asked.intersection(entry.tasks):
            assert name in scores


def test_what_the_notebooks_of_studies_add_is_in_the_catalogue(tmp_path):
    with spending() as spent:
        pass
    (tmp_path / "history.jsonl").write_text(json.dumps({"seconds": 1.0, "cpu_seconds": 2.0}) + "\n")
    assert not (spent | training_time(tmp_path)).keys() - CATALOGUE.keys()
    for notebook in {yaml.safe_load(file.read_text())["notebook"] for file in (ROOT / "experiments").glob("*.yaml")}:
        cells = json.loads((ROOT / notebook).read_text())["cells"]
        code = "\n".join("".join(c["source"]).replace("%", "#") for c in cells if c["cell_type"] == "code")
        dicts = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Dict)]
        assert not {key.value for node in dicts for key in node.keys} - CATALOGUE.keys()


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_a_study_compares_is_in_the_catalogue(file: Path):
    study = yaml.safe_load(file.read_text())
    assert {*study["metrics"], *(row["metric"] for row in study.get("paper", ()))} <= CATALOGUE.keys()


def test_every_task_whose_answers_have_intervals_is_described():
    assert set(TASKS) - {"multi"} == set(et_bench.TASKS) - set(et_bench.CHOICE)


def test_entries_are_sentences_and_an_unknown_name_is_answered_with_a_suggestion():
    assert metric("gvq_mIoU").tasks == ("gvq",) and metric("dvc_caption_F1").higher_is_better
    for name, entry in CATALOGUE.items():
        assert entry.name == name and entry.label and entry.meaning[0].isupper() and entry.meaning.endswith(".")
        assert "{" not in entry.meaning
    with pytest.raises(LabError, match="no metric 'named_f1@0.5'; did you mean 'named_F1@0.5'"):
        metric("named_f1@0.5")
