"""The whole grid on one screen: a line for each run that ends, and below them one that says how it stands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import Job
    from .runner import Grid


class Progress:
    """On a terminal the last line is refreshed in place; elsewhere it is written again once a minute."""

    def __init__(self, time_left: Callable[[Grid], float | None], out=None, every: float = 60.0):
        self.time_left, self.out, self.every = time_left, out or sys.stdout, every
        self.told, self.written, self.live = 0, time.monotonic(), self.out.isatty()

    def tell(self, job: Job, state: dict) -> None:
        """A run has ended."""
        self.told += 1
        took = f" in {duration(state['seconds'])}" if "seconds" in state else ""
        error = f": {state['error']}" if state["status"] != "done" else ""
        again = f" (attempt {state['attempts']})" if state.get("attempts", 1) > 1 else ""
        self._print(f"{state['status']:7} {job.title:32} {job.record['id']}{took}{again}{error}\n")

    def refresh(self, grid: Grid) -> None:
        if not self.live and time.monotonic() - self.written < self.every:
            return
        self.written = time.monotonic()
        self._print(line(grid, self.time_left(grid)) + ("" if self.live else "\n"))

    def close(self, grid: Grid) -> None:
        self._print(line(grid, None) + "\n")

    def _print(self, text: str) -> None:
        self.out.write(f"\r\033[K{text}" if self.live else text)
        self.out.flush()


def line(grid: Grid, left: float | None) -> str:
    """3 running, 5 done, 1 failed, 2 waiting; 12 min left."""
    done = sum(state["status"] == "done" for _, state in grid.ended)
    running = len(grid.running())
    counts = {"running": running, "done": done, "failed": len(grid.ended) - done,
              "waiting": len(grid.waiting) + len(grid.flying) - running}
    end = "" if not (grid.waiting or grid.flying) else f"; {duration(left)} left" if left is not None else ""
    return ", ".join(f"{n} {name}" for name, n in counts.items()) + end


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
