"""One run, in a process of its own: a notebook through papermill, or the training behind shared work."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ...config import ROOT, from_flat
from ...errors import LabError
from ...files import atomic_path, locked

POINT, STATE, METRICS, NOTEBOOK, ENVIRONMENT, LOG, LOCK = (
    "point.json", "state.json", "metrics.json", "notebook.ipynb", "environment.json", "log.txt", ".lock")
UNFINISHED = ".unfinished.ipynb"  # the notebook while it runs
PATIENCE = 600  # seconds for a kernel to answer: a machine may be very busy, and one that died is noticed anyway


class Killed(LabError):
    """The kernel is gone without having said why; worth another try."""


def run_point(job: dict) -> bool:
    """Run what is not done yet, and leave how it went in `state.json`. One process at a time has the folder."""
    folder, parent = Path(job["folder"]), os.getppid()
    with locked(folder / LOCK, waiting=lambda: _stop_without(parent)):
        before = read_state(folder)
        if before.get("status") == "done":
            return True
        state = {"status": "running", "attempts": before.get("attempts", 0) + 1, "host": socket.gethostname(),
                 "process": os.getpid(), "started": time.time()}
        (folder / METRICS).unlink(missing_ok=True)
        write_json(folder / POINT, job["record"])
        write_json(folder / STATE, state)
        print(f"--- {job['record']['study']}, {job['record']['variant']}, seed {job['record']['seed']}, attempt "
              f"{state['attempts']} on {state['host']}", flush=True)
        with recorded(folder, state):
            write_json(folder / ENVIRONMENT, environment())
            (train if job["record"]["kind"] == "shared" else execute)(job, lambda: _watch(parent))
            check_metrics(folder / METRICS)
        return state["status"] == "done"


@contextlib.contextmanager
def recorded(folder: Path, state: dict) -> Iterator[None]:
    """Whatever happens in the block ends as one line in the state."""
    try:
        yield
        state["status"] = "done"
    except BaseException as error:
        state |= {"status": "failed", "error": one_line(error), "killed": isinstance(error, Killed)}
        with contextlib.suppress(OSError):
            print(state["error"], file=sys.stderr, flush=True)
    state["seconds"] = round(time.time() - state["started"], 2)
    write_json(folder / STATE, state)


def execute(job: dict, ready: Callable[[], object]) -> None:
    """The notebook with its parameters; what it shows is kept whether it ends well or not."""
    from .kernel import ForkedKernel, forked_manager

    kernel = ForkedKernel(int(os.environ["OMP_NUM_THREADS"]))  # before this process has threads or sockets
    ready()
    import papermill

    unfinished, final = Path(job["folder"]) / UNFINISHED, Path(job["folder"]) / NOTEBOOK
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-") as place:
            papermill.execute_notebook(
                job["notebook"], str(unfinished), parameters=job["parameters"], kernel_name="python3",
                progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr, start_timeout=PATIENCE,
                iopub_timeout=PATIENCE, kernel_manager_class=forked_manager(kernel, place))
    except papermill.PapermillExecutionError as error:
        raise LabError(f"cell {error.exec_count}: {error.ename}: {error.evalue}") from None
    except RuntimeError:
        if not kernel.poll():
            raise
        raise Killed(f"the notebook's kernel died ({describe(kernel.returncode)})") from None
    finally:
        if unfinished.exists():
            os.replace(unfinished, final)


def train(job: dict, ready: Callable[[], object]) -> None:
    """Shared work: a training run in this folder."""
    import torch

    from ..run import train

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    ready()
    train(from_flat(job["parameters"]["settings"]), Path(job["folder"]))


def check_metrics(path: Path) -> None:
    """The notebook has to leave a flat mapping: name -> number or text."""
    if not path.is_file():
        raise LabError(f"the run ended without {METRICS} in its folder")
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise LabError(f"{METRICS} is not JSON ({error})") from None
    if not isinstance(metrics, dict) or not metrics:
        raise LabError(f"{METRICS} has to be a mapping from names to numbers; it is {str(metrics)[:80]}")


def read_state(folder: Path) -> dict:
    """How the run in a folder went; empty where none was."""
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def write_json(path: Path, value) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def environment() -> dict:
    """What the run was made on."""
    import torch
    import transformers

    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
            "platform": platform.platform(), "host": socket.gethostname(), "cores": os.cpu_count(),
            "threads": int(os.environ["OMP_NUM_THREADS"]), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "commit": _commit()}


def describe(code: int | None) -> str:
    """An exit status in words."""
    if code is None:
        return "its machine or its warm process was lost"
    if code < 0:
        name = signal.Signals(-code).name
        return f"{name}; out of memory, or killed by hand" if name == "SIGKILL" else name
    return f"exit code {code}"


def one_line(error: BaseException) -> str:
    words = " ".join(str(error).split())[:500]
    return words if isinstance(error, LabError) else f"{type(error).__name__}: {words}"


def keep_notebook(folder: Path) -> None:
    """What a killed run had shown so far becomes its notebook."""
    with contextlib.suppress(OSError, json.JSONDecodeError):
        json.loads((folder / UNFINISHED).read_text(encoding="utf-8"))
        os.replace(folder / UNFINISHED, folder / NOTEBOOK)


def _commit() -> str | None:
    if not shutil.which("git"):
        return None
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or None


def _watch(parent: int) -> None:
    """This run and all that it started end with the process that asked for it."""
    def watch():
        while True:
            _stop_without(parent)
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()


def _stop_without(parent: int) -> None:
    if os.getppid() != parent:
        os.killpg(os.getpgrp(), signal.SIGKILL)
