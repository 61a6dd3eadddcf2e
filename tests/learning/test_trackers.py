"""The log as experiment trackers receive it: every part of the loss by its name, in runs that a study has named."""

import importlib.util
import json

import pytest
from test_trainer import config, place  # noqa: F401  fixtures: a tiny world and its settings

from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.run import dry_run, train
from d2vlm_lab.lab.study.point import tracked_as
from d2vlm_lab.settings import override

PARTS = ("loss_answer", "loss_grounding", "loss_consistency", "spread")
SHORT = {"training.steps": 2, "training.log_every": 1, "training.eval_every": 2, "training.save_every": 2}


@pytest.fixture
def named(monkeypatch):
    for name, value in tracked_as({"study": "objective", "variant": "interleaved", "seed": 3}).items():
        monkeypatch.setenv(name, value)


def test_tensorboard_gets_every_part_of_the_loss(config, tmp_path):  # noqa: F811
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(override(config, SHORT), tmp_path / "run", lambda line: None)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {f"train/{part}" for part in PARTS} <= set(events.Tags()["scalars"])
    assert [point.step for point in events.Scalars("train/loss_grounding")] == [1, 2]


def test_without_trackers_nothing_but_the_history_is_written(config, tmp_path):  # noqa: F811
    train(override(config, SHORT | {"training.report_to": []}), tmp_path / "run", lambda line: None)
    assert not (tmp_path / "run" / "tensorboard").exists() and (tmp_path / "run" / "history.jsonl").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_tracker_that_is_not_installed_is_an_error_that_says_what_to_install(config, tmp_path, name):  # noqa: F811
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    other = override(config, {"training.report_to": [name]})
    for work in (dry_run, lambda config: train(config, tmp_path / "run", str)):
        with pytest.raises(LabError, match=f"pip install {name}"):
            work(other)


@pytest.mark.slow
def test_wandb_offline_groups_the_runs_of_a_study(config, tmp_path, monkeypatch, named):  # noqa: F811
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    train(override(config, SHORT | {"training.report_to": ["wandb"]}), tmp_path / "run", lambda line: None)
    import wandb

    assert wandb.run.group == "objective" and wandb.run.name == "interleaved, seed 3"
    assert {f"train/{part}" for part in PARTS} <= set(dict(wandb.run.summary))
    wandb.finish()


@pytest.mark.slow
def test_mlflow_in_a_folder_has_an_experiment_for_each_study(config, tmp_path, monkeypatch, named):  # noqa: F811
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    train(override(config, SHORT | {"training.report_to": ["mlflow"]}), tmp_path / "run", lambda line: None)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("objective").experiment_id])
    assert [run.info.run_name for run in runs] == ["interleaved, seed 3"]
    assert set(PARTS) <= set(runs[0].data.metrics)


@pytest.mark.slow
def test_trackio_has_a_project_for_each_study(config, tmp_path, monkeypatch, named):  # noqa: F811
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when the package is imported
    pytest.importorskip("trackio")
    train(override(config, SHORT | {"training.report_to": ["trackio"]}), tmp_path / "run", lambda line: None)
    import sqlite3

    [file] = (tmp_path / "trackio").glob("objective*.db")
    with sqlite3.connect(file) as rows:
        logged = [json.loads(row) for row, in rows.execute("select metrics from metrics")]
    assert set(PARTS) <= {name.removeprefix("train/") for line in logged for name in line}
