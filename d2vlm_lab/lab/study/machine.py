"""One machine's part in a grid: its slots, and the warm process that runs are forked from."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from ...errors import LabError
from .point import STATE, describe, keep_notebook, read_state, write_json
from .warm import DISK_FULL

Slot = dict[str, str]  # environment of the run that has it


class Warm:
    """The parent's end of a warm process."""

    def __init__(self):
        self.noise = tempfile.TemporaryFile("w+")  # noqa: SIM115  what it prints, for the error if it does not start
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                       "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
                       "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen([sys.executable, "-m", "d2vlm_lab.lab.study.warm"], env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.noise,
                                        start_new_session=True, bufsize=1)
        self.numbers, self.waiting, self.lock = itertools.count(), {}, threading.Lock()
        self.hello = json.loads(self.process.stdout.readline() or "null")
        if not self.hello:
            self.noise.seek(0)
            last = (self.noise.read().strip().splitlines() or ["it said nothing"])[-1]
            raise LabError(f"the warm process did not start: {last}")
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def run(self, job: dict, slot: Slot) -> int | None:
        """The exit code of a run; None if the warm process itself is lost."""
        ended, number = Future(), next(self.numbers)
        with self.lock:
            self.waiting[number] = ended
            try:
                self.process.stdin.write(json.dumps({"id": number, "job": job, "environment": slot}) + "\n")
            except OSError:
                return None
            if self.process.poll() is not None:
                return None
        return ended.result()

    def close(self) -> None:
        """Ends it, and with it every run that it has."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        self.listener.join()
        self.process.stdout.close()
        self.noise.close()

    def _listen(self) -> None:
        for line in self.process.stdout:
            answer = json.loads(line)
            self.waiting.pop(answer["id"]).set_result(answer["code"])
        with self.lock:
            self.process.wait()
            for ended in self.waiting.values():
                ended.set_result(None)
            self.waiting.clear()


class Machine:
    """Runs jobs, each in the next free slot; used from several threads."""

    def __init__(self, slots: Sequence[Slot]):
        self.slots: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self.slots.put(slot)
        self.warm, self.older, self.lock = None, [], threading.Lock()

    def execute(self, job: dict) -> dict:
        """The run's final state."""
        slot = self.slots.get()
        try:
            return outcome(Path(job["folder"]), self._warm_for(job).run(job, slot))
        except LabError as error:
            return {"status": "failed", "error": str(error)}
        finally:
            self.slots.put(slot)

    def close(self) -> None:
        for warm in (*self.older, *([self.warm] if self.warm else [])):
            warm.close()

    def _warm_for(self, job: dict) -> Warm:
        """A living warm process that has imported the very library that the job was planned with."""
        with self.lock:
            if self.warm and not (self.warm.process.poll() is None and _same(self.warm, job)):
                self.older.append(self.warm)  # other threads may have runs in it
                self.warm = None
            self.warm = self.warm or Warm()
            if not _same(self.warm, job):
                raise LabError("the library on this machine is not the one that the run was planned with; "
                               "run the same command again")
            return self.warm


def outcome(folder: Path, code: int | None) -> dict:
    """The state in a folder after its process ended; written down here where the process could not."""
    state = read_state(folder)
    if state.get("status") in ("done", "failed") and code in (0, 1):
        return state
    if code == DISK_FULL and shutil.disk_usage(_existing(folder)).free < 2**20:
        error = f"no space left on the disk of {folder}"
    else:
        error = f"the run's process was lost ({describe(code)})"
    state |= {"status": "failed", "error": error, "killed": code is None or code < 0}
    try:
        keep_notebook(folder)
        write_json(folder / STATE, state)
    except OSError as problem:
        state["error"] += f"; its state could not be written ({problem.strerror})"
    return state


def slots(n: int | None = None, cores: int | None = None) -> list[Slot]:
    """One slot for each GPU, or shares of the cores; `n` asks for so many."""
    gpus, cores = visible_gpus(), cores or len(_own_cores())
    n = n or len(gpus) or _that_fit(cores)
    share = {"OMP_NUM_THREADS": str(max(1, cores // n))}
    return [share | ({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {}) for i in range(n)]


def visible_gpus() -> list[str]:
    """Names that CUDA_VISIBLE_DEVICES takes, found without touching a GPU."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True)
    return listed.stdout.split() if listed.returncode == 0 else []


_here: Machine | None = None
_starting = threading.Lock()


def execute_on_worker(job: dict) -> dict:
    """For a Dask worker: the machine it is on, with one slot for each of its threads or GPUs."""
    global _here
    from distributed import get_worker

    with _starting:
        if _here is None:
            n = get_worker().state.nthreads
            gpus = visible_gpus()
            _here = Machine(slots(min(n, len(gpus)) if gpus else n))
    return _here.execute(job)


def _same(warm: Warm, job: dict) -> bool:
    planned = job["record"]["hashes"]["library"]
    return all(warm.hello["library"].get(file) == hash for file, hash in planned.items())


def _own_cores():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _that_fit(cores: int) -> int:
    """Runs of small models side by side: one for each core, as long as each has 2 GB."""
    import psutil

    return max(1, min(cores, psutil.virtual_memory().available // 2**31))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
