import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from studies import WRITE, alive, folder_of, plan_of, small_world, write_study

from d2vlm_lab.cli import main

LAB = [sys.executable, "-m", "d2vlm_lab.cli", "ablate"]
BOOK = ("import os, pathlib\nwith open(pathlib.Path(out).parent / 'ends', 'a') as book:\n"
        "    book.write(f\"{settings['method.semantics']}-{settings['seed']} \")")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("data"))


def command(path, *words) -> list[str]:
    return [*LAB, str(path), "--out", str(path.parent / "out"), *words]


def ablate(path, *words) -> subprocess.CompletedProcess:
    return subprocess.run(command(path, *words), cwd=path.parent, capture_output=True, text=True, timeout=300)


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def heed_interrupts():
    """Whoever runs these tests in the background may have told them to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def processes(path, status: str) -> list[int]:
    states = [json.loads(file.read_text()) for file in (path.parent / "out" / "tried").glob("*/state.json")]
    return [state["process"] for state in states if state["status"] == status]


def kernels(path) -> list[int]:
    texts = [file.read_text() for file in (path.parent / "out" / "tried").glob("*/kernel")]
    return [int(text) for text in texts if text]


def ends(path) -> list[str]:
    return sorted((path.parent / "out" / "tried" / "ends").read_text().split())


def test_a_dry_run_prints_the_plan_and_runs_nothing(tmp_path, world, capsys):
    path = write_study(tmp_path, world=world, profiles={"quick": {"minutes": 4}})
    assert main(["ablate", str(path), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tried, quick: 0 done, 2 to do now, 8 min of work\n")
    assert printed.count("to do ") == 3 and "never run" in printed and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words, part", [
    (["--only", "withuot"], "did you mean 'without'?"), (["--profile", "ful"], "no profile 'ful'"),
    (["--profile", "small", "--only", "full"],
     "--only full: the profile small of the study tried leaves this variant out; choose --profile full"),
    (["study.yaml"], "the study tried is given twice"),
    (["--on", "udp://x", "--dry-run"], "give tcp://host:port"), (["--limit", "0"], "at least 1"),
    (["--out", "study.yaml/x", "--dry-run"], "study.yaml is no folder"), (["--jobs", "100000"], "at most 1024 runs"),
    (["--seeds", "1", "2", "1"], "--seeds: 1 stands there twice"), (["--seeds", "-1"], "a whole number from 0"),
    (["--on", "tcp://127.0.0.1:9", "--limit", "1"], "no Dask scheduler answers at tcp://127.0.0.1:9")])
@pytest.mark.filterwarnings("ignore")
def test_a_wrong_command_is_one_line_and_exit_code_two(tmp_path, world, capsys, words, part, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.lab.study.cluster.PATIENCE", 0.2)
    path = write_study(tmp_path, world=world, profiles={"full": {}, "small": {"variants": ["without"]}})
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", str(path), "--out", str(tmp_path / "out"), *words]) == 2
    assert part in capsys.readouterr().err


def test_a_profile_of_a_study_that_has_none_is_a_whole_sentence(tmp_path, world, capsys):
    path = write_study(tmp_path, world=world)
    assert main(["ablate", str(path), "--profile", "quick", "--dry-run"]) == 2
    assert "no profile 'quick'; there are none" in capsys.readouterr().err


@pytest.mark.skipif(bool(find_spec("dask_jobqueue")), reason="dask-jobqueue is installed")
def test_slurm_without_dask_jobqueue_says_what_to_install(tmp_path, world, capsys):
    path = write_study(tmp_path, world=world)
    assert main(["ablate", str(path), "--out", str(tmp_path / "out"), "--on", "slurm"]) == 2
    assert "pip install 'd2vlm_lab[slurm]'" in capsys.readouterr().err


@pytest.mark.slow
def test_from_the_file_to_the_end_and_again_for_nothing(tmp_path):
    bad = "if settings['method.semantics'] == 'off' and not os.path.exists('mended'):\n    raise ValueError('no')"
    path = write_study(tmp_path, "import os\n" + bad, WRITE, world=tmp_path / "new-world",
                       base={"data.world_settings": ["videos=10"]})
    first = ablate(path)
    assert first.returncode == 1 and "making the world" in first.stdout
    assert "failed: without, seed 0: cell 3: ValueError: no" in first.stdout
    assert "0 running, 1 done, 1 failed, 0 waiting" in first.stdout
    (tmp_path / "mended").touch()
    second = ablate(path)
    assert second.returncode == 0 and second.stdout.startswith("tried: 1 done, 1 to do now")
    third = ablate(path)
    assert third.returncode == 0 and third.stdout.startswith("tried: 2 done, 0 to do now")
    index = json.loads((tmp_path / "out" / "tried" / "study.json").read_text())
    assert [run["variant"] for run in index["runs"]] == ["full", "without"] and index["question"]
    assert {run["id"] for run in index["runs"]} == {job.record["id"] for job in plan_of(path)}
    forced = ablate(path, "--force", "--only", "full")
    assert forced.returncode == 0 and "forced" in forced.stdout and "1 running" not in forced.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_runner_that_is_killed_leaves_no_process_and_the_same_command_completes_the_rest(tmp_path, world, how):
    wait = ("import os, time\n(pathlib.Path(out) / 'kernel').write_text(str(os.getpid()))\n"
            "if not (pathlib.Path(out).parent / 'go').exists():\n    time.sleep(60 * settings['seed'])")
    path = write_study(tmp_path, "import pathlib", wait, BOOK, WRITE, world=world, seeds=[0, 1])
    with open(tmp_path / "errors", "w") as errors:
        runner = subprocess.Popen(command(path, "--jobs", "2"), cwd=tmp_path, stdout=subprocess.DEVNULL,
                                  stderr=errors, start_new_session=True, preexec_fn=heed_interrupts)
    wait_for(lambda: len(processes(path, "done")) == 2 and len(kernels(path)) == 4)
    pids = [*processes(path, "running"), *kernels(path)]
    os.killpg(runner.pid, how) if how == signal.SIGINT else runner.send_signal(how)  # as a terminal does it
    assert runner.wait(10) == (130 if how == signal.SIGINT else -how)
    wait_for(lambda: not any(map(alive, pids)), 10)
    assert how != signal.SIGINT or (tmp_path / "errors").read_text() == "\nd2vlm-lab ablate: interrupted\n"
    (tmp_path / "out" / "tried" / "go").touch()
    rest = ablate(path)
    assert rest.returncode == 0 and rest.stdout.startswith("tried: 2 done, 2 to do now"), rest.stdout
    assert ends(path) == ["layer-0", "layer-1", "off-0", "off-1"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_disk_that_is_full_fails_what_it_hits_and_the_same_command_completes_the_rest(tmp_path, world):
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no disk of its own can be made here")
    fill = ("import pathlib\nif settings['method.semantics'] == 'off' and not pathlib.Path('room').exists():\n"
            "    with open(pathlib.Path(out).parent / 'rubbish', 'wb', buffering=0) as f:\n"
            "        while f.write(b'x' * 4096):\n            pass")
    path = write_study(tmp_path, WRITE, fill, WRITE, world=world)
    script = ("mount -t tmpfs -o size=3m tmpfs out && {0} --jobs 1; echo exit $?; rm out/tried/rubbish; touch room; "
              "{0} --jobs 1; echo exit $?").format(" ".join(command(path)))
    (tmp_path / "out").mkdir()
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    first, second = done.stdout.split("exit 1")
    assert "failed: without, seed 0" in first and "space left" in first and "1 done, 1 failed" in first, done.stdout
    assert "exit 0" in second and "tried: 1 done, 1 to do now" in second, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shared_work_is_made_once_even_when_two_commands_want_it_at_the_same_moment(tmp_path, world):
    cell = ("from d2vlm_lab.config import from_flat\nfrom d2vlm_lab.lab.run import start\n"
            "assert start(from_flat(settings)).can_ground, 'it starts where the shared training ended'")
    path = write_study(tmp_path, cell, BOOK, WRITE, world=world, base={"parts.start": "@sft"},
                       shared={"sft": {"overrides": {"training.steps": 2, "training.eval_every": 100,
                                                     "evaluation.samples": 1, "data.world": str(world)}}})
    two = [subprocess.Popen(command(path), cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [runner.communicate(timeout=300)[0] for runner in two]
    assert [runner.returncode for runner in two] == [0, 0], printed
    assert ends(path) == ["layer-0", "off-0"]
    made = plan_of(path)[0]
    assert made.shared and made.done and json.loads((made.folder / "state.json").read_text())["attempts"] == 1
    history = (made.folder / "history.jsonl").read_text().splitlines()
    assert sum("train_runtime" in line for line in history) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_studies_are_one_grid_that_makes_what_they_share_once_and_ends_in_two_reports(tmp_path, world):
    shared = {"sft": {"overrides": {"training.steps": 2, "training.eval_every": 100, "evaluation.samples": 1,
                                    "data.world": str(world)}}}
    variants = {"first": {"late": {"parts.start": "@sft"}, "other": {"method.semantics": "off"}},
                "second": {"base": {"parts.start": "@sft"}}}
    for name, points in variants.items():
        (tmp_path / name).mkdir()
        path = write_study(tmp_path / name, BOOK.replace("'ends'", "'..' / 'ends'"), WRITE, world=world, name=name,
                           shared=shared, variants=points, reference=next(iter(points)))
        path.rename(tmp_path / f"{name}.yaml")
        shutil.copy(tmp_path / name / "run.ipynb", tmp_path / "run.ipynb")
        text = (tmp_path / f"{name}.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(text.replace(f"{name}/run.ipynb", "run.ipynb"))
    words = [*LAB, "first.yaml", "second.yaml", "--out", "out", "--jobs", "2", "--timing"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first: 0 done, 3 to do now" in done.stdout and "second: 0 done, 1 to do now" in done.stdout
    assert "copied from first: late, seed 0, which is the same run" in done.stdout
    assert sorted((tmp_path / "out" / "ends").read_text().split()) == ["layer-0", "off-0"], "once each"
    assert "done    first: other, seed 0" in done.stdout and "done    second: base, seed 0" in done.stdout
    assert "timing:" in done.stdout and "shared trainings: 1," in done.stdout
    first, second = (json.loads((tmp_path / "out" / name / "study.json").read_text()) for name in variants)
    assert first["shared_runs"] == second["shared_runs"] and first["runs"][0]["id"] == second["runs"][0]["id"]
    copied = tmp_path / "out" / "second" / second["runs"][0]["folder"]
    assert json.loads((copied / "point.json").read_text())["variant"] == "base"
    assert {"metrics.json", "notebook.ipynb", "log.txt", "state.json"} <= {file.name for file in copied.iterdir()}
    assert all((tmp_path / "out" / "report" / name / "index.html").is_file() for name in variants)
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "second: 1 done, 0 to do now" in again.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_a_dask_cluster_that_loses_a_worker_every_run_ends_exactly_once(tmp_path, world):
    dying = ("import os, pathlib, signal, time\nmark = pathlib.Path(out, 'mark')\n"
             "if settings['seed'] == 1 and settings['method.semantics'] == 'off' and not mark.exists():\n"
             "    mark.touch()\n    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(60)")
    path = write_study(tmp_path, dying, BOOK, WRITE, world=world, seeds=[0, 1, 2, 3])
    with cluster(tmp_path, workers=2) as address:
        runner = subprocess.Popen(command(path, "--on", address), cwd=tmp_path, text=True, stdout=subprocess.PIPE)
        printed = runner.communicate(timeout=400)[0]
    assert runner.returncode == 0, printed
    assert ends(path) == sorted(f"{kind}-{seed}" for kind in ("layer", "off") for seed in range(4)), "once each"
    assert printed.count("\ndone ") == 8 and "(attempt 2)" in printed
    states = [json.loads((job.folder / "state.json").read_text()) for job in plan_of(path)]
    assert [state["status"] for state in states] == ["done"] * 8
    assert sorted(state["attempts"] for state in states) == [1] * 7 + [2]


@pytest.mark.slow
def test_an_interrupt_ends_the_command_at_once_and_the_cluster_completes_what_it_has_begun(tmp_path, world):
    wait = "import time\n(pathlib.Path(out) / 'kernel').write_text('1')\ntime.sleep(8)"
    path = write_study(tmp_path, "import pathlib", wait, BOOK, WRITE, world=world)
    with cluster(tmp_path, workers=1) as address:
        with open(tmp_path / "errors", "w") as errors:
            runner = subprocess.Popen(command(path, "--on", address), cwd=tmp_path, stdout=subprocess.DEVNULL,
                                      stderr=errors, preexec_fn=heed_interrupts)
        wait_for(lambda: kernels(path))
        runner.send_signal(signal.SIGINT)
        assert runner.wait(5) == 130
        assert (tmp_path / "errors").read_text() == "\nd2vlm-lab ablate: interrupted\n"
        assert len(processes(path, "running")) == 1
        wait_for(lambda: len(processes(path, "done")) == 1)
        assert ends(path) == ["layer-0"]


@pytest.mark.slow
def test_a_cluster_that_goes_away_fails_its_runs_and_ends_the_command(tmp_path, world):
    path = write_study(tmp_path, "import time\ntime.sleep(120)", WRITE, world=world)
    with cluster(tmp_path, workers=1) as address:
        runner = subprocess.Popen(command(path, "--on", address), cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.STDOUT)
        wait_for(lambda: processes(path, "running"))
    printed = runner.communicate(timeout=120)[0]
    assert runner.returncode == 1 and printed.count("\nfailed") >= 2, printed


@contextmanager
def cluster(folder, workers: int):
    """A scheduler and workers, as somebody starts them from the shell; its address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    worker = ["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory",
              str(folder / "dask")]
    processes = [subprocess.Popen([sys.executable, "-m", f"distributed.cli.{line[0]}", *line[1:]], cwd=folder,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for line in (scheduler, *[worker] * workers)]
    try:
        wait_for(lambda: listening(int(address.rpartition(":")[2])))
        yield address
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_slurm_job_is_a_worker(tmp_path, world, monkeypatch):
    """With commands in the place of Slurm's that start the job's script on this machine."""
    pytest.importorskip("dask_jobqueue")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text("#!/bin/sh\nsh \"$@\" >/dev/null 2>&1 &\necho Submitted batch job $!\n")
    (tools / "scancel").write_text("#!/bin/sh\nkill \"$@\"\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    settings = tmp_path / "config"
    settings.mkdir()
    (settings / "jobqueue.yaml").write_text(
        "jobqueue:\n  slurm: {cores: 1, processes: 1, memory: 4GB, interface: lo}\n")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("DASK_CONFIG", str(settings))
    path = write_study(tmp_path, BOOK, WRITE, world=world)
    done = ablate(path, "--on", "slurm", "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ends(path) == ["layer-0", "off-0"] and folder_of(path, "full, seed 0").exists()
