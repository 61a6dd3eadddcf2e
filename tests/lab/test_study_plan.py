import json
import shutil

import pytest
from studies import WRITE, plan_of, small_world, write_notebook, write_study

from d2vlm_lab.files import locked
from d2vlm_lab.lab.study import identity
from d2vlm_lab.lab.study.point import POINT, STATE, write_json
from d2vlm_lab.lab.study.runner import choose

TRAINS = "from d2vlm_lab.lab.run import train\n" + WRITE


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path, TRAINS, world=small_world(tmp_path), base={"training.steps": 9})


@pytest.fixture
def own_library(tmp_path, monkeypatch):
    """A copy of the library that a test may edit."""
    copy = tmp_path / "d2vlm_lab"
    shutil.copytree(identity.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(identity, "PACKAGE", copy)
    return copy


def finish(plan, status="done", **more):
    """As if every point of a plan had been run."""
    for job in plan:
        write_json(job.folder / POINT, job.record)
        write_json(job.folder / STATE, {"status": status, "seconds": 60.0, "started": 1.0, **more})


def reasons(study) -> list[str]:
    return ["done" if job.done else job.why for job in plan_of(study)]


def test_what_is_done_is_not_done_again(study):
    assert reasons(study) == ["never run"] * 2
    finish(plan_of(study))
    assert reasons(study) == ["done"] * 2 and choose(plan_of(study)) == []


def test_changing_one_variant_reruns_that_one_and_says_why(study):
    finish(plan_of(study))
    text = study.read_text()
    study.write_text(text.replace("method.semantics: 'off'", "method.semantics: projection"))
    assert reasons(study) == ["done", "method.semantics was 'off', is 'projection'"]
    study.write_text(text.replace("training.steps: 9", "training.steps: 8"))
    assert reasons(study) == ["training.steps was 9, is 8"] * 2


def test_a_variant_with_another_name_keeps_its_run(study):
    ids = [job.record["id"] for job in plan_of(study)]
    study.write_text(study.read_text().replace("without", "no_meaning"))
    assert [job.record["id"] for job in plan_of(study)] == ids


def test_an_edited_notebook_reruns_everything_and_its_outputs_do_not(study):
    finish(plan_of(study))
    notebook = study.parent / "run.ipynb"
    tree = json.loads(notebook.read_text())
    tree["cells"][1] |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}], "execution_count": 3}
    notebook.write_text(json.dumps(tree))
    assert reasons(study) == ["done"] * 2
    write_notebook(notebook, TRAINS + "\nprint(1)")
    assert reasons(study) == ["notebook changed"] * 2


def test_an_edited_library_reruns_what_depends_on_it_and_names_the_file(study, own_library):
    finish(plan_of(study))
    for quiet in ("cli.py", "bench.py", "ablation/runner.py", "plots/__init__.py", "pretrain.py"):
        (own_library / quiet).write_text((own_library / quiet).read_text() + "\n")
    assert reasons(study) == ["done"] * 2, "none of these makes a number of this notebook"
    for loud in ("model.py", "train.py"):
        (own_library / loud).write_text((own_library / loud).read_text() + "\n")
    assert reasons(study) == ["library changed: model.py, train.py"] * 2


def test_a_run_depends_on_every_file_that_its_notebook_may_import():
    files = identity.library(["d2vlm_lab.lab.run"])
    assert {"__init__.py", "run.py", "train.py", "model.py", "grounding.py", "world/make.py"} <= set(files)
    assert not {"cli.py", "bench.py", "ablation/plan.py"} & set(files)
    assert "plots/__init__.py" not in identity.library(["d2vlm_lab.lab.plots"])
    assert set(identity.library(["d2vlm_lab.errors"])) == {"__init__.py", "errors.py"}
    assert set(files) <= set(identity.source())


def test_other_data_under_the_same_name_is_another_run(study):
    finish(plan_of(study))
    card = study.parent / "world" / "world.json"
    card.write_text(card.read_text().replace('"videos": "', '"videos": "0'))
    assert reasons(study) == ["data changed: data.world"] * 2


def test_a_world_that_is_still_to_be_made_is_said_and_nothing_counts_as_done(study):
    finish(plan_of(study))
    shutil.rmtree(study.parent / "world")
    assert reasons(study) == [f"the world {study.parent / 'world'} is to be made"] * 2


def test_failed_interrupted_and_running_are_told_apart(study):
    finish(plan_of(study), "failed", error="cell 3: ValueError: no")
    assert reasons(study) == ["failed before: cell 3: ValueError: no"] * 2
    finish(plan_of(study), "running")
    first = plan_of(study)[0]
    with locked(first.folder / ".lock"):
        assert reasons(study) == ["running now, by another command", "was interrupted"]
    assert reasons(study) == ["was interrupted"] * 2


def test_the_time_it_may_take_is_that_of_earlier_runs_or_of_the_profile(study):
    text = study.read_text() + "profiles: {quick: {minutes: 10}}\n"
    study.write_text(text)
    assert [job.seconds for job in plan_of(study, "quick")] == [300, 300]
    assert [job.seconds for job in plan_of(study)] == [None, None]
    finish(plan_of(study, "quick"))
    study.write_text(text.replace("method.semantics: 'off'", "method.semantics: projection"))
    assert [job.seconds for job in plan_of(study, "quick")] == [60, 60]


def test_only_some_variants_at_most_so_many_and_by_force(study):
    plan = plan_of(study)
    assert [job.title for job in choose(plan, only=["without"])] == ["without, seed 0"]
    assert [job.title for job in choose(plan, limit=1)] == ["full, seed 0"]
    finish(plan)
    assert [job.why for job in choose(plan_of(study), force=True, limit=1)] == ["forced"]


def test_what_needs_shared_work_brings_it_along(tmp_path):
    world = small_world(tmp_path)
    path = write_study(tmp_path, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}},
                       variants={"full": {}, "late": {"parts.start": "@sft"}})
    assert [job.title for job in choose(plan_of(path), only=["late"])] == ["@sft, seed 0", "late, seed 0"]
    assert [job.title for job in choose(plan_of(path), only=["full"])] == ["full, seed 0"]
