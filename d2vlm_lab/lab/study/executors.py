"""Where runs are made: this machine, a Dask cluster that is there, or one that Slurm starts. All speak `submit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from ...errors import LabError
from .machine import Machine, execute_on_worker, slots

PATIENCE = 10  # seconds for a scheduler to answer


@dataclass(frozen=True)
class Place:
    executor: Executor
    work: Callable[[dict], dict]  # what to submit with a job's order; returns the run's state
    slots: Callable[[], int]  # runs at a time, as far as is known now


@contextmanager
def place(on: str = "", jobs: int | None = None) -> Iterator[Place]:
    """`on` is empty, `tcp://host:port` or `slurm`."""
    if not on:
        yield from _local(jobs)
    elif on == "slurm":
        with _slurm(jobs or 1) as cluster:
            yield from _dask(cluster)
    elif on.startswith(("tcp://", "tls://")):
        yield from _dask(on)
    else:
        raise LabError(f"--on {on}: give tcp://host:port of a Dask scheduler, or slurm")


def _local(jobs: int | None) -> Iterator[Place]:
    shares = slots(jobs)
    machine, pool = Machine(shares), ThreadPoolExecutor(len(shares))
    try:
        yield Place(pool, machine.execute, lambda: len(shares))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        machine.close()


def _dask(scheduler) -> Iterator[Place]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise LabError(f"no Dask scheduler answers at {scheduler} ({error})") from None
    with client, client.get_executor(pure=False) as executor:
        yield Place(executor, execute_on_worker, lambda: sum(client.nthreads().values()))


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
