"""Execute a plan wherever there is room: each job once, failed ones aside, killed ones again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median

from ...errors import LabError
from ...files import is_locked, locked
from ..run_files import POINT, STATE, read_state
from .cluster import Place
from .estimate import History, time_left
from .form import Point
from .job import Job
from .point import LOCK, damage, lost, one_line, remove, write_json
from .progress import Progress


class Grid:
    """Jobs under way: submitted when what they need is there and a slot is free, collected when they end."""

    def __init__(self, jobs: Sequence[Job], place: Place, cwd: Path, progress: Progress, retries: int = 1,
                 earlier: History | None = None):
        self.place, self.cwd, self.progress = place, cwd, progress
        self.waiting = list(jobs)
        self.tries = dict.fromkeys(jobs, 1 + retries)
        self.flying: dict[Future, Job] = {}
        self.ended: list[tuple[Job, dict]] = []
        self.history, self.earlier = History(), earlier or History()

    def run(self) -> list[tuple[Job, dict]]:
        """All jobs with their final states, in the order in which they ended; returns when none is left."""
        self._submit()
        while self.flying or self.waiting:
            self.progress.refresh(self.counts, self.time_left)
            if not self.flying:  # what is left is made by another command
                time.sleep(1)
            over = wait(self.flying, timeout=1, return_when=FIRST_COMPLETED).done
            if self.place.gone():  # what was submitted meanwhile would never end
                over = set(self.flying)
            for future in [future for future in self.flying if future in over]:  # in the order of submission
                self._collect(future)
            self._submit()
        self.progress.close(self.counts())
        return self.ended

    def counts(self) -> dict[str, int]:
        done = sum(state["status"] == "done" for _, state in self.ended)
        running = len(self._running())
        return {"running": running, "done": done, "failed": len(self.ended) - done,
                "waiting": len(self.waiting) + len(self.flying) - running}

    def time_left(self) -> float | None:
        """Seconds, or None where nothing is known yet."""
        now = time.time()
        running = {job: now - state["started"] for job, state in self._running()}
        return time_left(running, [*self.flying.values(), *self.waiting], self.place.slots(), self.history,
                         self.earlier)

    def _running(self) -> list[tuple[Job, dict]]:
        """Jobs that a worker has begun, as their folders say, with their states."""
        states = [(job, read_state(job.folder)) for job in self.flying.values()]
        return [(job, state) for job, state in states if state.get("status") == "running"]

    def _submit(self) -> None:
        failed = {job for job, state in self.ended if state["status"] != "done"}
        slots = max(1, self.place.slots())  # more would wait at a worker, and be lost together with the run it has
        for job in list(self.waiting):
            if broken := [need for need in job.needs if need in failed]:
                relation = "which is the same run" if job.twin else "which it starts from"
                self._end(job, {"status": "failed", "error": f"{broken[0].title}, {relation}, failed"})
            elif not all(need.done for need in job.needs) or job.twin and is_locked(job.folder / LOCK):
                continue  # the second: another command makes it now
            elif job.twin:
                self._end(job, copy_run(job.twin.folder, job))
            elif len(self.flying) < slots:
                self._start(job)
            else:
                continue
            self.waiting.remove(job)

    def _start(self, job: Job) -> None:
        self.tries[job] -= 1
        try:
            self.flying[self.place.submit(job.order(self.cwd))] = job
        except Exception as error:  # a cluster that is gone
            self._end(job, {"status": "failed", "error": f"could not be submitted: {one_line(error)}"})

    def _collect(self, future: Future) -> None:
        job = self.flying.pop(future)
        try:
            state = future.result(timeout=0)
        except (CancelledError, TimeoutError):
            state = {"status": "failed", "error": "the cluster was lost"}
        except Exception as error:
            died = type(error).__name__ == "KilledWorker"
            state = lost(job.folder, job.record) if died else {"status": "failed", "error": one_line(error)}
        if state["status"] != "done" and state.get("killed") and self.tries[job] > 0:
            self._start(job)
        else:
            self._end(job, state)

    def _end(self, job: Job, state: dict) -> None:
        job.done = state["status"] == "done"
        job.seconds = state.get("seconds", job.seconds)
        self.ended.append((job, state))
        self.progress.print_end(job, state)
        if not job.twin:
            self.history.add(job.record, state)


def choose(plan: Sequence[Job], only: Sequence[str] = (), limit: int | None = None, force: bool = False) -> list[Job]:
    """The jobs to run now, in the order to begin them: points that are wanted and not done, and what they need."""
    points = [job for job in plan if not job.shared and wanted(job.point, only)]
    if force:
        for job in [*points, *(job.twin for job in points if job.twin)]:
            job.why, job.done = ("forced" if job.done else job.why), False
    return in_order(with_needs([job for job in points if not job.done][:limit]))


def wanted(point: Point, only: Sequence[str]) -> bool:
    return not only or any(fnmatchcase(point.variant, name) for name in only)


def with_needs(points: Sequence[Job]) -> list[Job]:
    """Jobs after everything that has to be made before them."""
    jobs: dict[Job, None] = {}

    def add(job: Job) -> None:
        for need in job.needs:
            if not need.done:
                add(need)
        jobs[job] = None

    for job in points:
        add(job)
    return list(jobs)


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Seed by seed, the longest chain first; shared work belongs to the first seed that needs it.

    The length of a chain is the time of a job and of the longest chain that waits for it.
    """
    known = [job.seconds for job in jobs if job.seconds]
    usual = median(known) if known else 1.0
    chain: dict[Job, float] = {}
    for job in reversed(jobs):
        seconds = 0.0 if job.twin else job.seconds or usual
        chain[job] = seconds + max((chain[other] for other in jobs if job in other.needs), default=0.0)
    return sorted(jobs, key=lambda job: (job.seed_rank, -chain[job]))


def clear(jobs: Sequence[Job]) -> None:
    """Empty the folders of points that will be run again from the beginning."""
    for job in jobs:
        if not job.shared and is_locked(job.folder / LOCK):
            raise LabError(f"{job.folder} ({job.title}) is running now; --force would cut it off")
    for job in jobs:
        if not job.shared:
            shutil.rmtree(job.folder, ignore_errors=True)


def copy_run(source: Path, job: Job) -> dict:
    """A finished run becomes a point of another study as well; returns its state."""
    folder = job.folder
    try:
        with locked(folder / LOCK):
            before = read_state(folder)
            if before.get("status") == "done" and not damage(folder, job.record):  # by another command, meanwhile
                return before
            for path in sorted(folder.iterdir(), key=lambda path: path.name != STATE):  # first that it is done
                if path.name != LOCK:
                    remove(path)
            shutil.copytree(source, folder, dirs_exist_ok=True,
                            ignore=lambda place, _: [LOCK, STATE] if Path(place) == source else [])
            write_json(folder / POINT, job.record)
            write_json(folder / STATE, read_state(source))
            return read_state(folder)
    except (OSError, LabError) as error:
        return {"status": "failed", "error": f"could not be copied from {source}: {one_line(error)}"}
