"""Grids of runs under two commands at once, with folders that vanish, and on a cluster that dies part by part."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from studies import WRITE, folder_of, plan_of, small_world, write_study

from d2vlm_lab.config import ROOT

BOOK = ("import os, pathlib, time\nfolder = pathlib.Path(out)\n(folder / 'begun').touch()\ntime.sleep(0.4)\n"
        "with open(folder.parent / 'ends', 'a') as book:\n"
        "    book.write(f\"{settings['method.semantics']}-{settings['seed']} \")")
ALL = sorted(f"{kind}-{seed}" for kind in ("layer", "off") for seed in range(2))
PATIENCE = 400  # seconds for anything here; the machine may be busy


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("data"))


@pytest.fixture
def study(tmp_path, world):
    return write_study(tmp_path, BOOK, WRITE, world=world, seeds=[0, 1])


def ablate(path, *words):
    return subprocess.Popen([sys.executable, "-m", "d2vlm_lab.cli", "ablate", str(path), "--out",
                             str(path.parent / "out"), *words], cwd=path.parent, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)


def printed(runner, status=0):
    lines = runner.communicate(timeout=PATIENCE)[0]
    assert runner.returncode == status, lines
    return lines


def ends(path):
    return sorted((path.parent / "out" / "tried" / "ends").read_text().split())


def metrics(path):
    return [json.loads((job.folder / "metrics.json").read_text()) for job in plan_of(path)]


def wait_for(condition, runner):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end and runner.poll() is None, printed(runner)
        time.sleep(0.02)


@pytest.mark.slow
def test_a_grid_under_two_commands_of_which_one_is_killed_makes_every_run_once(study):
    rng = random.Random(2)
    runners = [ablate(study, "--jobs", "1") for _ in range(2)]
    wait_for(lambda: list((study.parent / "out" / "tried").glob("*/begun")), runners[1])
    time.sleep(rng.uniform(0.5, 1.5))
    runners[0].send_signal(signal.SIGKILL)
    runners[0].communicate()
    printed(runners[1])
    states = [json.loads((job.folder / "state.json").read_text()) for job in plan_of(study)]
    assert [state["status"] for state in states] == ["done"] * 4 and sorted(set(ends(study))) == ALL
    # The run that the killed command had under way may have written its line before it was cut off.
    assert len(ends(study)) <= 5 and sorted(each["f1"] for each in metrics(study)) == [0, 0, 1, 1]


@pytest.mark.slow
def test_runs_whose_folders_were_deleted_are_made_again_and_no_others(study):
    printed(ablate(study, "--jobs", "2"))
    before, gone = metrics(study), [folder_of(study, title) for title in ("full, seed 1", "without, seed 0")]
    shutil.rmtree(gone[0])
    for name in ("state.json", "metrics.json"):
        (gone[1] / name).unlink()
    assert "2 done, 2 to do now" in printed(ablate(study, "--jobs", "2"))
    assert ends(study) == sorted([*ALL, "layer-1", "off-0"]) and metrics(study) == before
    # A folder that is deleted while its run is under way fails that run, and the same command makes it again.
    shutil.rmtree(gone[0])
    runner = ablate(study, "--jobs", "1")
    wait_for(lambda: (gone[0] / "begun").exists(), runner)
    shutil.rmtree(gone[0])
    if runner.wait(PATIENCE):
        runner.communicate()
        runner = ablate(study)
    printed(runner)
    assert metrics(study) == before


@pytest.mark.slow
def test_a_library_that_changes_while_a_grid_runs_stops_what_was_not_begun(tmp_path, world):
    """A copy of the library is edited; the command is then simply run again."""
    for part in ("d2vlm_lab", "experiments/presets"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "base").symlink_to(ROOT / "data" / "base")
    path = write_study(tmp_path, BOOK, WRITE, world=world, seeds=[0, 1])

    def run():
        return subprocess.Popen([sys.executable, "-m", "d2vlm_lab.cli", "ablate", str(path), "--out", "out", "--jobs",
                                 "1"], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                env=os.environ | {"PYTHONPATH": str(tmp_path)})

    runner = run()
    wait_for(lambda: list((tmp_path / "out" / "tried").glob("*/begun")), runner)
    with open(tmp_path / "d2vlm_lab" / "ideas" / "evidence.py", "a") as file:
        file.write("\n# edited\n")
    assert "the library on this machine is not the one that the run was planned with" in printed(runner, status=1)
    begun = len(ends(path))
    assert 0 < begun < 4
    assert "4 to do now" in printed(run()) and len(ends(path)) == begun + 4, "what the old library made is not used"


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_and_then_its_scheduler_loses_no_run(tmp_path, world):
    wait = ("import pathlib, time\n(pathlib.Path(out) / 'begun').touch()\n"
            "while settings['seed'] and not (pathlib.Path(out).parent / 'go').exists():\n    time.sleep(0.05)")
    path = write_study(tmp_path, wait, BOOK, WRITE, world=world, seeds=[0, 1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with contextlib.ExitStack() as stack:
        scheduler = dask(stack, tmp_path, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        workers = [dask(stack, tmp_path, "worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny",
                        "--no-dashboard", "--local-directory", str(tmp_path / "dask")) for _ in range(2)]
        runner = ablate(path, "--on", f"tcp://127.0.0.1:{port}")
        wait_for(lambda: list((tmp_path / "out" / "tried").glob("*/begun")), runner)
        workers[0].kill()
        wait_for(lambda: len(list((tmp_path / "out" / "tried").glob("*/metrics.json"))) == 2, runner)
        scheduler.kill()
        printed(runner, status=1)
    (tmp_path / "out" / "tried" / "go").touch()
    assert "2 done, 2 to do now" in printed(ablate(path, "--jobs", "2"))
    assert ends(path) == ALL and sorted(each["f1"] for each in metrics(path)) == [0, 0, 1, 1]


def dask(stack, folder, part, *words):
    """A part of a cluster, as somebody starts it from the shell; it is gone at the end."""
    process = subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{part}", *words], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process
