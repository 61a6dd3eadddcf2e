"""From asking for a run to the first cell that can work: forked from a warm process, and started from nothing."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from d2vlm_lab.lab.bench import machine
from d2vlm_lab.lab.study.identity import library
from d2vlm_lab.lab.study.machine import Machine, slots

RUNS, COLD_RUNS = 10, 3
IMPORTS = "import time, torch, transformers, peft, d2vlm_lab.lab.run\nstarted = time.time()"
MEMORY = "import psutil\nkernel = psutil.Process().memory_full_info().uss / 2**20"
WRITE = ("import json, pathlib\n"
         "pathlib.Path(out, 'metrics.json').write_text(json.dumps({'started': started, 'kernel': kernel}))")


def run() -> dict:
    """Each run's first cell imports what a training needs, so what counts is when work can begin."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        notebook = _notebook(folder / "run.ipynb")
        here, files = Machine(slots(1)), library(["d2vlm_lab.lab.run"])
        with ThreadPoolExecutor(1) as pool:
            def forked(n: int) -> tuple[float, float]:
                order = _order(notebook, folder / f"warm-{n}", files)
                asked = time.time()
                state = pool.submit(here.execute, order).result()
                assert state["status"] == "done", state
                return _read(folder / f"warm-{n}", asked)

            first = time.time()
            forked(0)  # warm-up: starts the warm process
            warm_up = time.time() - first
            warm = [forked(n) for n in range(1, RUNS + 1)]
        shared = psutil.Process(here.warm.process.pid).memory_info().rss / 2**20
        here.close()
        cold = [_cold(notebook, folder / f"cold-{n}") for n in range(COLD_RUNS)]
    seconds, kernels = zip(*warm)
    cold_seconds, cold_kernels = zip(*cold)
    return {"bench": "startup",
            "seconds": {"startup_per_run": statistics.mean(seconds), "slowest": max(seconds),
                        "cold": statistics.mean(cold_seconds), "warm_up_once": warm_up},
            "ratios": {"startup": statistics.mean(cold_seconds) / statistics.mean(seconds)},
            "memory_mb": {"warm_process": shared, "own_per_kernel": statistics.mean(kernels),
                          "cold_own_per_kernel": statistics.mean(cold_kernels)},
            "machine": machine()}


def _cold(notebook: Path, folder: Path) -> tuple[float, float]:
    """The plain way: a new process of papermill, which starts a new kernel."""
    folder.mkdir()
    asked = time.time()
    subprocess.run([sys.executable, "-m", "papermill", str(notebook), str(folder / "notebook.ipynb"), "-p", "out",
                    str(folder)], check=True, capture_output=True)
    return _read(folder, asked)


def _read(folder: Path, asked: float) -> tuple[float, float]:
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found["started"] - asked, found["kernel"]


def _order(notebook: Path, folder: Path, files: dict[str, str]) -> dict:
    """As a plan makes it."""
    record = {"kind": "point", "study": "startup", "variant": folder.name, "seed": 0,
              "hashes": {"library": files}}
    return {"record": record, "folder": str(folder), "notebook": str(notebook), "cwd": os.getcwd(),
            "parameters": {"settings": {}, "out": str(folder)}}


def _notebook(path: Path) -> Path:
    import nbformat.v4 as form

    cells = [form.new_code_cell("settings = {}\nout = ''", metadata={"tags": ["parameters"]}),
             *(form.new_code_cell(source) for source in (IMPORTS, MEMORY, WRITE))]
    # The parameters come first in every notebook of a study; what follows them is the first cell that can work.
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps(form.new_notebook(cells=cells, metadata={"kernelspec": kernel})), encoding="utf-8")
    return path
