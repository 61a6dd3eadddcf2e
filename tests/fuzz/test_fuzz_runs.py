"""The files of runs, broken in every way: a plan names the damage, and a report shows what is left."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from finished import study as finished
from harness import Target, attack
from studies import plan_of, small_world, write_study

from d2vlm_lab.config import recorded_config
from d2vlm_lab.lab.report import make_tables, read_results, write_report
from d2vlm_lab.lab.report.examples import examples
from d2vlm_lab.lab.report.notebook import notebook_html
from d2vlm_lab.lab.report.text import background, findings
from d2vlm_lab.lab.run_files import METRICS, POINT, STATE
from d2vlm_lab.lab.show.card import cards_html
from d2vlm_lab.lab.study.point import MODEL, write_json

RUN = "full0xxxxxxx"


def report(folder: Path) -> None:
    finished(folder / "runs" / "s")


def runs(world: Path, folder: Path) -> None:
    """A study with a shared training, all of it done."""
    path = write_study(folder, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}},
                       base={"parts.start": "@sft"})
    for job in plan_of(path):
        write_json(job.folder / POINT, job.record)
        write_json(job.folder / STATE, {"status": "done", "seconds": 60.0, "started": 1.0, "attempts": 1})
        write_json(job.folder / METRICS, {"f1": 0.5, "note": "text"})
        for name in MODEL if job.shared else ():
            write_json(job.folder / name, {})


@pytest.mark.slow
def test_a_report_is_made_or_refused(tmp_path):
    attack(Target("report runs/s --out out", report, "runs/s/study.json"), tmp_path, 12)


@pytest.mark.slow
@pytest.mark.parametrize("file, kind", [
    ("study.json", "json"), (f"{RUN}/state.json", "json"), (f"{RUN}/metrics.json", "json"),
    (f"{RUN}/history.jsonl", "jsonl"), (f"{RUN}/predictions.jsonl", "jsonl"), (f"{RUN}/environment.json", "json"),
    (f"{RUN}/notebook.ipynb", "json")])
def test_a_file_of_one_run_never_stops_a_report(tmp_path, file, kind):
    """Everything that a report reads, without its drawings."""
    def read(path):
        results = read_results(path.parents[len(Path(file).parts) - 1])
        assert len(results.done) >= 5 or file == "study.json"
        tables = make_tables(results)
        cards_html(examples(results, {}))
        assert findings(results, tables, []) + background(results, tables)
        for run in results.runs[:1]:
            assert run.history is not None and (not run.notebook or notebook_html(run.notebook))

    attack(Target(read, report, f"runs/s/{file}", kind), tmp_path, 20)


@pytest.mark.slow
def test_the_table_of_a_kept_report_is_read_or_refused(tmp_path):
    def prepare(folder):
        write_report(finished(folder / "runs" / "s"), folder / "kept", folder / "none")
        shutil.rmtree(folder / "runs")

    attack(Target("report kept/s --out out", prepare, "kept/s/runs.csv", "bytes"), tmp_path, 10)


@pytest.mark.slow
@pytest.mark.parametrize("which, name", [(0, POINT), (0, STATE), (0, METRICS), (1, POINT), (1, STATE), (1, METRICS)])
def test_a_plan_is_made_whatever_a_run_left(tmp_path, which, name):
    def plan(file):
        jobs = plan_of(file.parents[3] / "study.yaml")
        assert all(job.done for job in jobs if job.folder != file.parent)
        assert jobs[which].done or jobs[which].why

    prepare = partial(runs, small_world(tmp_path))
    (tmp_path / "first").mkdir()
    prepare(tmp_path / "first")
    jobs = plan_of(tmp_path / "first" / "study.yaml")
    assert all(job.done for job in jobs)
    file = jobs[which].folder.relative_to(tmp_path / "first") / name
    attack(Target(plan, prepare, str(file)), tmp_path, 8)


@pytest.mark.slow
def test_a_recorded_config_is_read_or_refused(tmp_path):
    from d2vlm_lab.config import read_config
    from d2vlm_lab.settings import to_dict

    attack(Target(recorded_config, lambda folder: write_json(folder / "config.json", to_dict(read_config("tiny"))),
                  "config.json"), tmp_path, 40)
