"""Where runs are made: Dask workers on this machine, on a cluster that is there, or in jobs of Slurm."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from ...errors import LabError
from .point import run_point

PATIENCE = 10  # seconds for a scheduler to answer
_starting = threading.Lock()


@dataclass(frozen=True)
class Place:
    submit: Callable[[dict], Future]  # a job's order; the result is the final state of its run
    slots: Callable[[], int]  # how many runs can be made at a time, now
    gone: Callable[[], bool] = lambda: False  # whether it is lost for good, so that nothing submitted will ever end


@contextmanager
def place(on: str = "", jobs: int | None = None, per_gpu: int = 1) -> Iterator[Place]:
    """`on` is empty, `tcp://host:port` or `slurm`; each GPU takes `per_gpu` runs at a time."""
    check_on(on)
    work = partial(run_on_worker, per_gpu=per_gpu)
    if not on:
        yield from _local(jobs, per_gpu)
    elif on == "slurm":
        with _slurm(jobs or 1) as cluster:
            yield from _connected(cluster, work)
    else:
        yield from _connected(on, work)


def check_on(on: str) -> None:
    if on not in ("", "slurm") and not on.startswith(("tcp://", "tls://")):
        raise LabError(f"--on {on}: give tcp://host:port of a Dask scheduler, or slurm")


def run_on_worker(order: dict, shares: Sequence[dict[str, str]] = (), per_gpu: int = 1) -> dict:
    """Called by a Dask worker to make a run; `shares` has, for each worker by number, its part of the machine."""
    free = _free_slots(shares, per_gpu)
    slot = free.get()
    try:
        return run_point(order, slot)
    finally:
        free.put(slot)


def _free_slots(shares: Sequence[dict[str, str]], per_gpu: int) -> queue.SimpleQueue:
    """The slots of this worker: its share of this machine, or elsewhere one for each thread, as far as GPUs take them.
    """
    from distributed import get_worker

    worker = get_worker()
    with _starting:
        if not hasattr(worker, "free_slots"):
            worker.free_slots = queue.SimpleQueue()
            threads, gpus = worker.state.nthreads, visible_gpus()
            n = min(threads, len(gpus) * per_gpu) if gpus else threads
            for slot in [shares[worker.name]] if shares else slots(n):
                worker.free_slots.put(slot)
        return worker.free_slots


def _local(jobs: int | None, per_gpu: int) -> Iterator[Place]:
    """Worker processes with one run at a time each; nothing listens beyond this machine."""
    from distributed import LocalCluster

    # silence_logs ends before the last connections are closed, and these would be reported with a traceback.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    shares = slots(jobs, per_gpu=per_gpu)
    # The run of a worker that dies has failed: whether it is run again is decided here, by --retries.
    cluster = LocalCluster(n_workers=len(shares), threads_per_worker=1, host="127.0.0.1",
                           dashboard_address="127.0.0.1:0", memory_limit=0, silence_logs=logging.CRITICAL,
                           scheduler_kwargs={"allowed_failures": 0, "dashboard": False})
    try:
        yield from _connected(cluster, partial(run_on_worker, shares=shares), len(shares))
    finally:
        for nanny in cluster.workers.values():  # closing gently would first wait for interrupted runs
            nanny.auto_restart = False
            with suppress(ProcessLookupError, TypeError):
                os.kill(nanny.pid, signal.SIGKILL)
        cluster.close()


def _connected(scheduler, work: Callable[[dict], dict], n: int | None = None) -> Iterator[Place]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise LabError(f"no Dask scheduler answers at {scheduler} ({error})") from None
    with client:
        executor = client.get_executor(pure=False)
        try:
            yield Place(partial(executor.submit, work), lambda: n or _threads(client),
                        lambda: client.status == "closed")
        finally:
            if client.status != "closed":  # where the scheduler is gone there is nothing to cancel
                executor.shutdown(wait=False)


def _threads(client) -> int:
    """The threads of all workers; none where the scheduler is gone."""
    try:
        return sum(client.nthreads().values())
    except Exception:  # of several kinds, as the client tries to reconnect and then gives up
        return 0


def _slurm(jobs: int):
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise LabError("--on slurm needs dask-jobqueue: pip install 'd2vlm_lab[slurm]'") from None
    try:
        cluster = SLURMCluster()
    except (ValueError, TypeError) as error:
        raise LabError(f"jobqueue.slurm in ~/.config/dask/jobqueue.yaml: {error}") from None
    cluster.scale(jobs=jobs)
    return cluster


def slots(n: int | None = None, cores: int | None = None, per_gpu: int = 1) -> list[dict[str, str]]:
    """The environment of each run at a time: `per_gpu` for each GPU, or shares of the cores; `n` asks for so many."""
    gpus, cores = visible_gpus(), cores or len(_usable_cores())
    n = n or len(gpus) * per_gpu or _that_fit(cores)
    share = {"OMP_NUM_THREADS": str(max(1, cores // n))}
    return [share | ({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {}) for i in range(n)]


def visible_gpus() -> list[str]:
    """Names that CUDA_VISIBLE_DEVICES takes, found without touching a GPU."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name and name != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True)
    return listed.stdout.split() if listed.returncode == 0 else []


def _usable_cores():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _that_fit(cores: int) -> int:
    """Runs of small models side by side: one for each core, as long as each has 2 GB."""
    import psutil

    return max(1, min(cores, psutil.virtual_memory().available // 2**31))
