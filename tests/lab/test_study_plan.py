import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from studies import WRITE, plan_of, small_world, write_notebook, write_study

from d2vlm_lab.cli import main
from d2vlm_lab.errors import LabError
from d2vlm_lab.files import locked
from d2vlm_lab.lab.run_files import METRICS, POINT, STATE, read_metrics, read_record
from d2vlm_lab.lab.study import command, identity
from d2vlm_lab.lab.study.plan import make_plan
from d2vlm_lab.lab.study.point import MODEL, lost, write_json
from d2vlm_lab.lab.study.runner import choose, clear, copy_run, in_order
from d2vlm_lab.lab.study.study import read_study

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
        write_json(job.folder / METRICS, {"f1": 0.5})
        for name in MODEL if job.shared else ():
            write_json(job.folder / name, {})


def reasons(study) -> list[str]:
    return ["done" if job.done else job.why for job in plan_of(study)]


def test_what_is_done_is_not_done_again(study):
    assert reasons(study) == ["never run"] * 2
    finish(plan_of(study))
    assert reasons(study) == ["done"] * 2 and choose(plan_of(study)) == []


@pytest.mark.parametrize("name, content, words", [
    (METRICS, None, "without metrics.json"), (METRICS, "", "not readable as JSON"),
    (METRICS, "[1]", "it is a list: [1]"),
    (METRICS, "{}", "mapping"), (POINT, None, "no such file"), (POINT, "", "not readable"), (POINT, "[]", "expected"),
    (POINT, "{}", "id: the field is missing"), (POINT, "\0", "not readable"), (STATE, "", "not readable"),
    (STATE, "[]", "expected an object"), (STATE, '{"status": "done"}', "seconds: the field is missing"),
    (STATE, '{"status": "ok"}', "'ok' is not one of"),
    (STATE, '{"status": "done", "seconds": null}', "seconds: expected"),
    (STATE, '{"status": "done", "seconds": "9"}', "seconds: expected a number")])
def test_one_damaged_run_is_named_and_made_again_and_the_others_stay(study, name, content, words):
    plan = plan_of(study)
    finish(plan)
    file = plan[0].folder / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    first, second = reasons(study)
    assert first.startswith("damaged: ") and words in first and name in first and second == "done"
    assert [job.title for job in choose(plan_of(study))] == ["full, seed 0"]


@pytest.mark.parametrize("name", [METRICS, POINT, STATE])
def test_a_folder_where_a_file_of_a_run_should_be_is_damage_too(study, name):
    plan = plan_of(study)
    finish(plan)
    (plan[0].folder / name).unlink()
    (plan[0].folder / name).mkdir()
    assert "found a folder" in reasons(study)[0]


def test_a_shared_training_whose_model_was_deleted_is_made_again(tmp_path):
    world = small_world(tmp_path)
    path = write_study(tmp_path, TRAINS, world=world, base={"parts.start": "@sft"},
                       shared={"sft": {"overrides": {"training.steps": 2, "data.world": str(world)}}})
    finish(plan_of(path))
    assert reasons(path) == ["done"] * 3
    shutil.rmtree(plan_of(path)[0].folder / "model")
    assert reasons(path) == ["damaged: its model/d2vlm.json is missing", "done", "done"]


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


def test_an_edited_library_reruns_everything_and_names_the_file(study, own_library):
    finish(plan_of(study))
    for quiet in ("cli.py", "lab/app/server.py", "lab/study/runner.py", "lab/plots/__init__.py", "lab/report/page.py"):
        (own_library / quiet).write_text((own_library / quiet).read_text() + "\n")
    assert reasons(study) == ["done"] * 2, "none of these can change a number"
    for loud in ("lab/bench.py", "model/d2vlm.py", "judging/scores.py"):  # a study may compare times
        (own_library / loud).write_text((own_library / loud).read_text() + "\n")
    assert reasons(study) == ["library changed: judging/scores.py, lab/bench.py, model/d2vlm.py"] * 2


def test_a_run_depends_on_every_file_that_can_change_a_number():
    files = set(identity.library())
    assert {"__init__.py", "config.py", "settings.py", "lab/run.py", "ideas/grounding.py", "data/world/make.py",
            "model/d2vlm.py", "learning/trainer.py", "judging/metrics/tasks.py"} <= files
    assert not [name for name in files if name.startswith(("cli", "lab/study/", "lab/report/", "lab/show/"))]
    assert all((identity.PACKAGE / name).exists() for name in identity.NO_EFFECT), "a name that was moved hides nothing"


def test_other_data_under_the_same_name_is_another_run(study):
    finish(plan_of(study))
    card = study.parent / "world" / "world.json"
    card.write_text(card.read_text().replace('"videos": "', '"videos": "0'))
    assert reasons(study) == ["data changed: data.world"] * 2
    finish(plan_of(study))
    questions = study.parent / "world" / "train.json"
    questions.write_text(questions.read_text().replace("red", "blue"))
    assert reasons(study) == ["data changed: data.world"] * 2, "the card does not say so"


@pytest.mark.parametrize("folder", [".", "model", "training/model"])
@pytest.mark.parametrize("name", ["d2vlm.json", "config.json", "tokenizer.json", "model-00001-of-00002.safetensors"])
def test_a_checkpoint_is_another_one_once_any_file_of_it_is_replaced(tmp_path, folder, name):
    place = tmp_path / "run" / folder
    place.mkdir(parents=True)
    for file in ("d2vlm.json", "config.json", "tokenizer.json", "model-00001-of-00002.safetensors"):
        (place / file).write_text('{"base": "a"}')
    before = identity.content(tmp_path / "run")
    (place / name).write_text('{"base": "b"}')
    os.utime(place / name, (1, 1))
    assert identity.content(tmp_path / "run") != before


def test_the_world_of_shared_work_is_made_before_the_first_run(tmp_path, monkeypatch, capsys):
    mine, its = small_world(tmp_path), tmp_path / "elsewhere"
    path = write_study(tmp_path, world=mine, variants={"late": {"parts.start": "@sft"}, "full": {}}, reference="full",
                       shared={"sft": {"overrides": {"data.world": str(its), "data.world_settings": ["videos=10"]}}})
    assert [job.why for job in plan_of(path)] == [f"the world {its} is to be made", "never run", "never run"]
    monkeypatch.setattr(command, "execute", lambda *_: [])
    main(["ablate", str(path), "--only", "full", "--out", str(tmp_path / "out")])
    assert not its.exists()
    main(["ablate", str(path), "--out", str(tmp_path / "out")])
    assert (its / "world.json").exists() and "data.world" in plan_of(path)[0].record["hashes"]["data"]


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
    assert [job.seconds for job in plan_of(study, "quick")] == [600, 600], "ten minutes of two cores"
    assert [job.seconds for job in plan_of(study, "quick", seeds=[0, 1])] == [600] * 4
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


def test_force_removes_nothing_where_one_of_the_runs_is_under_way(study):
    plan = plan_of(study)
    finish(plan)
    with locked(plan[1].folder / ".lock"), pytest.raises(LabError, match="without, seed 0.* is running now"):
        clear(plan)
    assert reasons(study) == ["done"] * 2


def test_force_does_not_mind_shared_work_under_way(tmp_path):
    world = small_world(tmp_path)
    path = write_study(tmp_path, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}},
                       variants={"full": {}, "late": {"parts.start": "@sft"}})
    plan = plan_of(path)
    finish(plan)
    with locked(plan[0].folder / ".lock"):
        clear(plan)
    assert reasons(path) == ["done", "never run", "never run"]


def test_a_run_that_was_done_before_its_worker_died_stays_done(study):
    first, second = plan_of(study)
    finish([first])
    finish([second], "running")
    assert lost(first.folder, first.record)["status"] == "done" and lost(second.folder, second.record)["killed"]
    assert reasons(study)[0] == "done"
    (first.folder / METRICS).unlink()
    assert lost(first.folder, first.record)["killed"], "a damaged one is not done"


def test_seeds_that_the_report_leaves_out_are_named(study, capsys):
    finish(plan_of(study, seeds=[0, 3]))
    words = ["ablate", str(study), "--out", str(study.parent / "out"), "--dry-run", "--seeds"]
    assert main([*words, "1"]) == 0
    assert ("the report is about seed 1; done runs of seeds 0 3 are there, too: --seeds 0 1 3"
            in capsys.readouterr().out)
    main([*words, "0", "1", "3"])
    study.write_text(study.read_text().replace("training.steps: 9", "training.steps: 8"))
    main([*words, "1"])
    assert "the report is about" not in capsys.readouterr().out, "runs with other settings would not count"


def test_two_variants_cannot_ask_for_different_worlds_in_one_folder(tmp_path):
    path = write_study(tmp_path, base={"data.world": str(tmp_path / "world")}, variants={
        "full": {"data.world_settings": ["videos=10"]}, "without": {"data.world_settings": ["videos=20"]}})
    with pytest.raises(LabError, match="is to be made with the settings .*videos=10.* and with .*videos=20"):
        plan_of(path)


def test_only_the_worlds_of_chosen_variants_are_made(tmp_path, monkeypatch):
    worlds = {name: tmp_path / f"world-{name}" for name in ("full", "without")}
    path = write_study(tmp_path, variants={name: {"data.world": str(world), "data.world_settings": ["videos=10"]}
                                           for name, world in worlds.items()})
    made = []
    monkeypatch.setattr(command, "make_worlds", made.append)
    monkeypatch.setattr(command, "execute", lambda *_: [])
    main(["ablate", str(path), "--only", "without", "--out", str(tmp_path / "out")])
    assert [list(worlds) for worlds in made] == [[str(worlds["without"])]]


def test_the_report_of_a_part_of_a_study_is_about_that_part_and_what_is_done(tmp_path, monkeypatch):
    world = small_world(tmp_path)
    path = write_study(tmp_path, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}},
                       variants={"full": {}, "without": {"method.semantics": "off"}, "late": {"parts.start": "@sft"}})
    plan = plan_of(path)
    assert [job.title for job in command.reported(plan, ["without"])] == ["without, seed 0"]
    assert [job.title for job in command.reported(plan, ["late"])] == ["@sft, seed 0", "late, seed 0"]
    assert command.reported(plan, []) == plan
    next(job for job in plan if job.point.variant == "full").done = True
    assert [job.title for job in command.reported(plan, ["without"])] == ["full, seed 0", "without, seed 0"]
    monkeypatch.setattr(command, "execute", lambda *_: [])
    main(["ablate", str(path), "--only", "without", "--out", str(tmp_path / "out")])
    index = tmp_path / "out" / "tried" / "study.json"
    assert [run["variant"] for run in json.loads(index.read_text())["runs"]] == ["without"]
    monkeypatch.setattr(command, "execute", lambda *_: index.write_text("{}") and [])  # as another command might
    main(["ablate", str(path), "--only", "without", "--out", str(tmp_path / "out")])
    assert [run["variant"] for run in json.loads(index.read_text())["runs"]] == ["without"]
    assert not json.loads(index.read_text())["shared_runs"]


def test_what_needs_shared_work_brings_it_along(tmp_path):
    world = small_world(tmp_path)
    path = write_study(tmp_path, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}},
                       variants={"full": {}, "late": {"parts.start": "@sft"}})
    assert [job.title for job in choose(plan_of(path), only=["late"])] == ["@sft, seed 0", "late, seed 0"]
    assert [job.title for job in choose(plan_of(path), only=["full"])] == ["full, seed 0"]


def test_the_longest_chain_comes_first_and_points_seed_by_seed(tmp_path):
    world = small_world(tmp_path)
    path = write_study(tmp_path, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}}, seeds=[0, 1],
                       variants={"full": {}, "long": {"method.semantics": "off"}, "late": {"parts.start": "@sft"}})
    plan = plan_of(path)
    for job in plan:
        job.seconds = {"@sft": 60.0, "full": 10.0, "long": 70.0, "late": 20.0}[job.point.variant]
    assert [job.title for job in in_order(plan)] == [
        "@sft, seed 0", "long, seed 0", "late, seed 0", "full, seed 0",
        "@sft, seed 1", "long, seed 1", "late, seed 1", "full, seed 1"]
    plan[0].seconds = plan[1].seconds = 40.0
    assert [job.title for job in in_order(plan)][:3] == ["long, seed 0", "@sft, seed 0", "late, seed 0"]


def test_what_two_studies_share_is_planned_once(tmp_path):
    world = small_world(tmp_path)
    paths = []
    for name, work, other in (("first", "sft", "off"), ("second", "base", "projection")):
        (tmp_path / name).mkdir()
        paths.append(write_study(
            tmp_path / name, world=world, name=name, shared={work: {"overrides": {"data.world": str(world)}}},
            variants={"full": {}, "late": {"parts.start": f"@{work}"}, "other": {"method.semantics": other}}))
    first = plan_of(paths[0])
    study, _ = read_study(str(paths[1]))
    second = make_plan(study, "", tmp_path / "first" / "out", others=first)
    assert second[0] is first[0] and second[2].starts == {"@base": first[0]}
    start = second[2].order(tmp_path)["parameters"]["settings"]["parts.start"]
    assert start == f"first/out/shared/sft-{first[0].record['id']}/model"
    twins = {job.title: job.twin and job.twin.title for job in second[1:]}
    assert twins == {"full, seed 0": "full, seed 0", "late, seed 0": None, "other, seed 0": None}
    assert second[1].why == "copied from first: full, seed 0, which is the same run"
    assert second[1].folder == tmp_path / "first" / "out" / "second" / first[1].record["id"]
    todo = choose([*first, *second[1:]], only=["full"])
    assert todo == [first[1], second[1]]
    first[1].done = second[1].done = True
    assert choose([*first, *second[1:]], only=["full"], force=True) == [first[1], second[1]]
    later = plan_of(paths[0], seeds=[1, 0])
    assert [job.seed_rank for job in later if job.shared] == [0, 1]
    make_plan(study, "", tmp_path / "first" / "out", others=later)  # this one needs it for its first seed
    assert [job.seed_rank for job in later if job.shared] == [0, 0]


def test_a_run_of_another_study_is_copied_whole_and_never_into_a_folder_where_a_command_makes_it(tmp_path):
    path = write_study(tmp_path, world=small_world(tmp_path))
    source, job = plan_of(path)
    finish([source])
    write_json(source.folder / "model" / STATE, {"of": "the model"})
    write_json(job.folder / "rest.json", {})
    job.record = source.record | {"study": "other"}
    with ThreadPoolExecutor() as pool:
        with locked(job.folder / ".lock"):
            ended = pool.submit(copy_run, source.folder, job)
            time.sleep(0.3)
            assert [file.name for file in job.folder.iterdir() if file.name != ".lock"] == ["rest.json"]
        assert ended.result()["status"] == "done"
    assert read_record(job.folder)["study"] == "other" and (job.folder / "model" / STATE).is_file()
    assert not (job.folder / "rest.json").exists() and not (job.folder / ".lock").exists()
    write_json(source.folder / METRICS, {"f1": 0.9})
    assert copy_run(source.folder, job)["status"] == "done"
    assert read_metrics(job.folder) == {"f1": 0.5}, "what is there and whole stays"
