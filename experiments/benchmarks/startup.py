"""From asking for a run to the first cell that can work: in a worker of the grid, and in papermill from the shell."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from d2vlm_lab.config import RunConfig
from d2vlm_lab.lab.bench import machine
from d2vlm_lab.lab.study.cluster import place
from d2vlm_lab.lab.study.form import Point
from d2vlm_lab.lab.study.identity import notebook_hash
from d2vlm_lab.lab.study.job import Job
from d2vlm_lab.lab.study.plan import record_of

RUNS, SHELL_RUNS = 5, 3
IMPORTS = "import time, torch, transformers, peft, d2vlm_lab.lab.run\nstarted = time.time()\ncpu = time.process_time()"
MEMORY = "import os, psutil\nkernel, worker = psutil.Process(), psutil.Process(os.getppid())"
WRITE = ("import json, pathlib\n"
         "measured = {'started': started, 'cpu': cpu, 'kernel': kernel.memory_full_info().uss / 2**20,\n"
         "            'worker': worker.memory_full_info().uss / 2**20}\n"
         "pathlib.Path(out, 'metrics.json').write_text(json.dumps(measured))")


@dataclass(frozen=True)
class Measured:
    seconds: float  # until the first cell has imported what a training needs
    cpu: float  # seconds of the kernel until then
    kernel: float  # megabytes of its own
    worker: float  # megabytes of the process that started the kernel


def run() -> dict:
    """The first cell of each run imports what a training needs, so what counts is when work can begin."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = _notebook(Path(folder) / "run.ipynb")
        asked = time.time()
        with place(jobs=1) as here:
            first = _in_grid(here, notebook, Path(folder) / "first")
            warm_up = time.time() - asked
            grid = [_in_grid(here, notebook, Path(folder) / f"grid-{n}") for n in range(RUNS)]
        shell = [_from_shell(notebook, Path(folder) / f"shell-{n}") for n in range(SHELL_RUNS)]
    seconds = [measured.seconds for measured in grid]
    cold = statistics.mean(measured.seconds for measured in shell)
    return {"bench": "startup",
            "seconds": {"startup_per_run": statistics.mean(seconds), "slowest": max(seconds), "cold": cold,
                        "kernel_cpu_per_run": statistics.mean(measured.cpu for measured in grid),
                        "warm_up_once": warm_up},
            "ratios": {"startup": cold / statistics.mean(seconds)},
            "memory_mb": {"worker": first.worker, "own_per_kernel": statistics.mean(m.kernel for m in grid),
                          "cold_own_per_kernel": statistics.mean(m.kernel for m in shell)},
            "machine": machine()}


def _in_grid(here, notebook: Path, folder: Path) -> Measured:
    """As `ablate` makes a run."""
    point = Point(folder.name, 0, RunConfig(), {})
    record = record_of("startup", "", point, notebook_hash(notebook), {})
    asked = time.time()
    state = here.submit(Job(point, record, folder, notebook, trains=False).order(Path.cwd())).result()
    assert state["status"] == "done", state
    return _read(folder, asked)


def _from_shell(notebook: Path, folder: Path) -> Measured:
    """A new process of papermill, which starts a new kernel."""
    folder.mkdir()
    asked = time.time()
    subprocess.run([sys.executable, "-m", "papermill", str(notebook), str(folder / "notebook.ipynb"), "-p", "out",
                    str(folder)], check=True, capture_output=True)
    return _read(folder, asked)


def _read(folder: Path, asked: float) -> Measured:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Measured(metrics["started"] - asked, metrics["cpu"], metrics["kernel"], metrics["worker"])


def _notebook(path: Path) -> Path:
    import nbformat.v4 as form

    # The parameters come first in every notebook of a study; what follows them is the first cell that can work.
    cells = [form.new_code_cell("settings = {}\nout = ''", metadata={"tags": ["parameters"]}),
             *(form.new_code_cell(source) for source in (IMPORTS, MEMORY, WRITE))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps(form.new_notebook(cells=cells, metadata={"kernelspec": kernel})), encoding="utf-8")
    return path
