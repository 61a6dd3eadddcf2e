"""Execute a plan on anything that speaks `concurrent.futures`: each job once, failed ones aside, killed ones again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from pathlib import Path
from statistics import median

from ...errors import LabError
from ...files import is_locked
from .plan import Job
from .point import LOCK, one_line, read_state
from .progress import Progress


class Grid:
    """Jobs under way: submitted when what they need is there, collected when they end."""

    def __init__(self, jobs: Sequence[Job], executor: Executor, work: Callable[[dict], dict], cwd: Path,
                 retries: int = 1):
        self.executor, self.work, self.cwd = executor, work, cwd
        self.waiting = list(jobs)
        self.tries = {id(job): 1 + retries for job in jobs}
        self.flying: dict[Future, Job] = {}
        self.ended: list[tuple[Job, dict]] = []

    def run(self, progress: Progress) -> list[tuple[Job, dict]]:
        """All jobs with their final states; returns when none is left."""
        while True:
            self._submit()
            for job, state in self.ended[progress.told:]:
                progress.tell(job, state)
            progress.refresh(self)
            if not self.flying and not self.waiting:
                progress.close(self)
                return self.ended
            if self.flying:
                over = wait(self.flying, timeout=1, return_when=FIRST_COMPLETED).done
                for future in [future for future in self.flying if future in over]:  # in the order of submission
                    self._collect(future)

    def running(self) -> list[Job]:
        """Jobs that some machine works on at this moment, as their folders say."""
        return [job for job in self.flying.values() if read_state(job.folder).get("status") == "running"]

    def _submit(self) -> None:
        lost = {id(job): job for job, state in self.ended if state["status"] != "done"}
        for job in list(self.waiting):
            if broken := [need for need in job.needs if id(need) in lost]:
                self._end(job, {"status": "failed", "error": f"{broken[0].title}, which it starts from, failed"})
                self.waiting.remove(job)
            elif all(need.done for need in job.needs):
                self.waiting.remove(job)
                self._start(job)

    def _start(self, job: Job) -> None:
        self.tries[id(job)] -= 1
        try:
            self.flying[self.executor.submit(self.work, job.order(self.cwd))] = job
        except Exception as error:  # a cluster that is gone
            self._end(job, {"status": "failed", "error": f"could not be submitted: {one_line(error)}"})

    def _collect(self, future: Future) -> None:
        job = self.flying.pop(future)
        try:
            state = future.result()
        except CancelledError:
            state = {"status": "failed", "error": "the cluster was lost"}
        except Exception as error:  # for example a worker lost once too often
            state = {"status": "failed", "error": one_line(error)}
        if state["status"] != "done" and state.get("killed") and self.tries[id(job)] > 0:
            self._start(job)
        else:
            self._end(job, state)

    def _end(self, job: Job, state: dict) -> None:
        job.done = state["status"] == "done"
        job.seconds = state.get("seconds", job.seconds)
        self.ended.append((job, state))


def choose(plan: Sequence[Job], only: Sequence[str] = (), limit: int | None = None, force: bool = False) -> list[Job]:
    """The jobs to run now: points that are asked for and not done, and the shared work that they still need."""
    points = [job for job in plan if not job.shared and (not only or job.point.variant in only)]
    if force:
        for job in points:
            job.why, job.done = ("forced" if job.done else job.why), False
    wanted = [job for job in points if not job.done][:limit]
    needed = [need for job in wanted for need in job.needs if not need.done]
    return [*{id(need): need for need in needed}.values(), *wanted]


def clear(jobs: Sequence[Job]) -> None:
    """Empty the folders of points that are to be run from nothing."""
    for job in jobs:
        if is_locked(job.folder / LOCK):
            raise LabError(f"{job.folder} ({job.title}) is running now; --force would cut it off")
        if not job.shared:
            shutil.rmtree(job.folder, ignore_errors=True)


def time_left(grid: Grid, slots: int) -> float | None:
    """Seconds, from what jobs of the kind took, what was expected being one of them; None where nothing is known."""
    now = time.time()
    took: dict[bool, list[float]] = {True: [], False: []}
    for job, state in grid.ended:
        took[job.shared] += [state["seconds"]] if state.get("seconds") else []
    left = 0.0
    for job in (*grid.waiting, *grid.flying.values()):
        if not (like := [*took[job.shared], *([job.seconds] if job.seconds else [])]):
            return None
        state = read_state(job.folder)
        spent = now - state["started"] if state.get("status") == "running" else 0
        left += max(median(like) - spent, 0)
    return left / max(1, min(slots, len(grid.waiting) + len(grid.flying)))
