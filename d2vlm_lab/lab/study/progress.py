"""The whole grid on one screen: a line for each run that ends, and below them one that says how the grid stands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from .job import Job

ESTIMATED = 15.0  # seconds for which an estimate of the time left holds: in a large grid it takes some time to make


class Progress:
    """On a terminal the last line is refreshed in place; elsewhere it is written again once a minute."""

    def __init__(self, out=None, every: float = 60.0):
        self.out, self.every = out or sys.stdout, every
        self.written, self.live = time.monotonic(), self.out.isatty()
        self.left: float | None = None
        self.estimated = -ESTIMATED  # when that was

    def print_end(self, job: Job, state: dict) -> None:
        """A run has ended."""
        took = f" in {duration(state['seconds'])}" if "seconds" in state else ""
        error = f": {state['error']}" if state["status"] != "done" else ""
        again = f" (attempt {state['attempts']})" if state.get("attempts", 1) > 1 else ""
        self._print(f"{state['status']:7} {job.title:32} {job.record['id']}{took}{again}{error}\n")

    def refresh(self, counts: Callable[[], Mapping[str, int]], time_left: Callable[[], float | None]) -> None:
        if not self.live and time.monotonic() - self.written < self.every:
            return
        self.written = time.monotonic()
        if self.written - self.estimated >= ESTIMATED or not self.live:
            self.left, self.estimated = time_left(), self.written
        end = "time left: unknown yet" if self.left is None else f"{duration(self.left)} left"
        self._print(f"{line(counts())}; {end}" + ("" if self.live else "\n"))

    def close(self, counts: Mapping[str, int]) -> None:
        self._print(line(counts) + "\n")

    def _print(self, text: str) -> None:
        self.out.write(f"\r\033[K{text}" if self.live else text)
        self.out.flush()


def line(counts: Mapping[str, int]) -> str:
    """3 running, 5 done, 1 failed, 2 waiting"""
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
