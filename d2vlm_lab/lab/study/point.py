"""One run: a notebook through papermill in a fresh kernel, and in the run's folder everything that came of it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from ...config import ROOT, from_flat
from ...errors import LabError
from ...files import locked, sweep_below, write_json
from ...reader import read_json
from ..run_files import METRICS, POINT, STATE, read_metrics, read_record, read_state
from . import identity
from .form import Point

NOTEBOOK, ENVIRONMENT, LOG, LOCK = "notebook.ipynb", "environment.json", "log.txt", ".lock"
MODEL = ("model/d2vlm.json", "model/d2vlm.safetensors")  # of a shared training, for those that start from it
UNFINISHED = ".unfinished.ipynb"  # the notebook while it runs
PATIENCE = 600  # seconds for a kernel to answer: a machine may be very busy, and one that died is noticed anyway
ALWAYS = {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
SHARED_WORK = """\
from pathlib import Path
from d2vlm_lab.config import from_flat
from d2vlm_lab.lab.run import train
train(from_flat(settings), Path(out))"""


class Killed(LabError):
    """The kernel is gone without having said why; worth another try."""


def run_point(order: dict, variables: Mapping[str, str]) -> dict:
    """Run what is not done yet; the final state, as in `state.json`. One process at a time has the folder.

    `variables` are added to the environment of the run's kernel.
    """
    folder = Path(order["folder"])
    if identity.library() != order["record"]["hashes"]["library"]:
        return {"status": "failed", "error": "the library on this machine is not the one that the run was planned "
                                             "with; run the same command again"}
    with locked(folder / LOCK):
        before = read_state(folder)
        if before.get("status") == "done" and not damage(folder, order["record"]):
            return before
        sweep_below(folder)  # what attempts that were killed have left
        state = {"status": "running", "attempts": before.get("attempts", 0) + 1, "host": socket.gethostname(),
                 "process": os.getpid(), "started": time.time()}
        try:
            for name in (METRICS, POINT, STATE, ENVIRONMENT):
                if name == METRICS or (folder / name).is_dir():
                    remove(folder / name)
            write_json(folder / POINT, order["record"])
            write_json(folder / STATE, state)
            write_json(folder / ENVIRONMENT, environment(variables))
            check_data(order)
            execute(order, folder, ALWAYS | {"MKL_NUM_THREADS": variables["OMP_NUM_THREADS"]} | variables)
            read_metrics(folder)
            check_data(order)  # otherwise numbers from other data would be kept under the hash of the old
            state["status"] = "done"
        except Exception as error:
            state |= {"status": "failed", "error": one_line(error), "killed": isinstance(error, Killed)}
        state["seconds"] = round(time.time() - state["started"], 2)
        return finish(folder, state)


def check_data(order: dict) -> None:
    """An error where the data of a run are not those that it was planned with."""
    record = order["record"]
    point = Point(record["variant"], record["seed"], from_flat(record["settings"]), record["extras"])
    was, now = record["hashes"]["data"], identity.fingerprint(point, Path(order["cwd"]))
    if changed := [name for name in sorted({**was, **now}) if was.get(name) != now.get(name)]:
        raise LabError(f"{' and '.join(changed)} changed after the run was planned; run the same command again")


def planned_notebook(order: dict, place: str) -> Path:
    """A copy of the run's notebook in a folder: what was examined is what runs."""
    copy = Path(shutil.copyfile(order["notebook"], Path(place, NOTEBOOK)))
    if identity.notebook_hash(copy) != order["record"]["hashes"]["notebook"]:
        raise LabError("its notebook changed after the run was planned; run the same command again")
    return copy


def execute(order: dict, folder: Path, variables: Mapping[str, str]) -> None:
    """The notebook with its parameters; what it shows is kept, whether it ends well or not."""
    import papermill

    kernels: list[subprocess.Popen] = []
    record = order["record"]
    with tempfile.TemporaryDirectory(prefix="kernel-") as place, open(folder / LOG, "a", encoding="utf-8") as log:
        print(f"--- {record['study']}, {record['variant']}, seed {record['seed']}, on {socket.gethostname()}",
              file=log, flush=True)
        try:
            papermill.execute_notebook(
                planned_notebook(order, place) if record["kind"] == "point" else shared_notebook(),
                str(folder / UNFINISHED), parameters=order["parameters"], kernel_name="python3", progress_bar=False,
                stdout_file=log, stderr_file=log, start_timeout=PATIENCE, iopub_timeout=PATIENCE,
                extra_arguments=["--ext=d2vlm_lab.lab.study.kernel", "--HistoryManager.enabled=False",
                                 f"--IPKernelApp.ipython_dir={place}"],  # without the startup files of whoever runs it
                kernel_manager_class=kernel_manager(kernels, place, cwd=order["cwd"], stdout=log, stderr=log,
                                                    env=environment_of(record, variables)))
        except papermill.PapermillExecutionError as error:
            raise LabError(f"cell {error.exec_count}: {error.ename}: {error.evalue}") from None
        except RuntimeError:
            if not kernels or kernels[0].poll() is None:
                raise
            raise Killed(f"the notebook's kernel died ({describe(kernels[0].returncode)})") from None
        finally:
            for kernel in kernels:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(kernel.pid, signal.SIGKILL)  # what it may have left behind
            if (folder / UNFINISHED).exists():
                os.replace(folder / UNFINISHED, folder / NOTEBOOK)


def environment_of(record: Mapping, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a kernel. Dask makes its workers give freed memory back to the system at once. A training step
    frees and takes the same memory again and again, so with that it would take 1.6 times as long."""
    inherited = {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}
    return inherited | variables | tracked_as(record)


def tracked_as(record: Mapping) -> dict[str, str]:
    """Environment variables by which experiment trackers name a run, and group it with the others of its study."""
    name = f"{record['variant']}, seed {record['seed']}"
    return {"D2VLM_RUN": name, "D2VLM_STUDY": record["study"], "WANDB_RUN_GROUP": record["study"],
            "MLFLOW_EXPERIMENT_NAME": record["study"]}


def kernel_manager(kernels: list[subprocess.Popen], place: str, **launch):
    """A kernel manager class, as nbclient takes one, that starts a kernel with `launch` and adds it to `kernels`."""
    from jupyter_client import AsyncKernelManager

    class Manager(AsyncKernelManager):
        async def start_kernel(self, **arguments):
            self.transport = "ipc"  # sockets on disk: no port that another run on this machine could take first
            self.connection_file = os.path.join(place, "k.json")
            await super().start_kernel(**arguments | launch)
            kernels.append(self.provisioner.process)

    return Manager


def shared_notebook():
    """Shared work as a notebook: a training run in its folder."""
    import nbformat.v4 as form

    cells = [form.new_code_cell("settings = {}\nout = ''", metadata={"tags": ["parameters"]}),
             form.new_code_cell(SHARED_WORK, metadata={"tags": []})]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return form.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def finish(folder: Path, state: dict) -> dict:
    """Write down how a run ended; a disk that is full must not hide it."""
    try:
        write_json(folder / STATE, state)
    except OSError as problem:
        state |= {"status": "failed", "error": f"{state.get('error', '')}; its state could not be written "
                                               f"({problem.strerror})".removeprefix("; ")}
    return state


def lost(folder: Path, record: dict) -> dict:
    """The state of a run whose worker died, and as its notebook whatever it had shown by then."""
    if (before := read_state(folder)).get("status") == "done" and not damage(folder, record):
        return before
    state = before | {"status": "failed", "killed": True,
                      "error": "the process that ran it was lost (out of memory, or killed by hand)"}
    with contextlib.suppress(OSError, LabError):
        read_json(folder / UNFINISHED)
        os.replace(folder / UNFINISHED, folder / NOTEBOOK)
    return finish(folder, state)


def damage(folder: Path, record: dict) -> str:
    """What is wrong with the files of a finished run, which then has to be made again; empty where nothing is."""
    try:
        if read_record(folder)["id"] != record["id"]:
            return f"its {POINT} is that of another run"
        read_metrics(folder)
    except LabError as error:
        return str(error).replace(f"{folder}/", "its ")
    missing = [name for name in MODEL if record["kind"] == "shared" and not (folder / name).is_file()]
    return f"its {missing[0]} is missing" if missing else ""


def remove(path: Path) -> None:
    """A file, or whatever else stands in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def environment(variables: Mapping[str, str]) -> dict:
    """What the run was made on."""
    gpu = variables.get("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return {"python": platform.python_version(), "torch": version("torch"), "transformers": version("transformers"),
            "platform": platform.platform(), "host": socket.gethostname(), "cores": os.cpu_count(),
            "threads": int(variables["OMP_NUM_THREADS"]), "gpu": gpu, "commit": _commit()}


def describe(code: int) -> str:
    """An exit status in words."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"{name}; out of memory, or killed by hand" if name == "SIGKILL" else name
    return f"exit code {code}"


def one_line(error: BaseException) -> str:
    words = " ".join(str(error).split())[:500]
    return words if isinstance(error, LabError) else f"{type(error).__name__}: {words}"


def _commit() -> str | None:
    if not shutil.which("git"):
        return None
    printed = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    return printed.stdout.strip() or None
