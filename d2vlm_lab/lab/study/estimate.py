"""How long runs take, from runs like them, and from that how long the rest of a grid will take."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from . import identity
from .job import Job

MARGIN = 1.1  # a run that has taken longer than expected will need a tenth of that time more


class History:
    """Seconds that finished runs took."""

    def __init__(self):
        self.took: dict[tuple, list[float]] = defaultdict(list)

    def add(self, record: dict, state: dict) -> None:
        if state.get("status") == "done":
            for key in likeness(record):
                self.took[key].append(state["seconds"])


def likeness(record: dict) -> list[tuple]:
    """What a run shares with others that should take as long, the closest likeness first.

    The same settings with any seed, then the same kind of run; each in the same notebook, then in the same study, where
    the notebook may have been edited. A shared training, a run that trains and one that only examines a checkpoint (its
    parameter `learn` is false) are different kinds.
    """
    settings = {key: value for key, value in record["settings"].items() if key != "seed"}
    work = ("settings", identity.digest([settings, record["extras"]]))
    kind = ("kind", record["kind"], record["extras"].get("learn"), record["profile"])
    notebook, study = record["hashes"]["notebook"], record["study"]
    return [(notebook, work), (study, work), (study, kind), (notebook, kind)]


def expected(record: dict, *histories: History) -> float | None:
    """The median of the runs that are most like this one, in the first history that has any; None if none has."""
    for key in likeness(record):
        for history in histories:
            if key in history.took:
                return median(history.took[key])
    return None


def time_left(running: Mapping[Job, float], jobs: Sequence[Job], slots: int, *histories: History) -> float | None:
    """Seconds until the last of `jobs` has ended, if the runner goes on as it does; None where nothing is known yet.

    `running` has the seconds that jobs have had so far; the others wait in the order of `jobs`.
    """
    seconds = {job: expected(job.record, *histories) or job.seconds for job in jobs}
    seconds |= {job: 0.0 for job in jobs if job.twin}
    if None in seconds.values():
        return None
    ends = {job: max(seconds[job] - spent, (MARGIN - 1) * spent) for job, spent in running.items()}
    free = [*ends.values(), *[0.0] * (max(slots, 1) - len(ends))]  # when each slot is free
    heapq.heapify(free)
    waiting = [job for job in jobs if job not in running]
    while waiting:
        now = heapq.heappop(free)
        starts = [max([now, *(ends.get(need, float("inf")) for need in job.needs if need in seconds)])
                  for job in waiting]
        start = min(starts)
        job = waiting.pop(starts.index(start))
        ends[job] = start + seconds[job]
        heapq.heappush(free, ends[job])
    return max(ends.values(), default=0.0)
