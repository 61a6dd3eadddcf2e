"""Samples that cannot be used: they are named in a file and counted by reason; too many of them stop a run."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import LabError
from ..files import json_lines, locked


class SkippedSamples(LabError):
    """More samples than the configured share cannot be used."""


@dataclass(frozen=True)
class Skip:
    """One sample that cannot be used, and why."""

    sample: str
    video: str
    reason: str  # in a word: video, text, annotation, ...
    message: str


class Skips:
    """The skipped samples of one run, in its file `skipped.jsonl`. Several processes of the run may add to the file.

    A resumed run finds there what was skipped before it was interrupted. Each sample is counted once.
    """

    def __init__(self, path: Path | None, total: int, share: float):
        self.path, self.total, self.share = path, total, share
        self.reasons: Counter[str] = Counter()
        self.seen: set[tuple[str, str]] = set()  # id and video: records without an id are numbered in each file
        self.read_file()

    @property
    def allowed(self) -> int:
        """The largest number of samples that may be skipped."""
        return int(self.share * self.total + 1e-9)  # 0.29 * 100 is below 29

    def add(self, skip: Skip) -> None:
        if (skip.sample, skip.video) in self.seen:
            return
        with locked(self.path.with_suffix(".lock")) if self.path is not None else nullcontext():
            self.read_file()
            if self.count(skip.sample, skip.video, skip.reason) and self.path is not None:
                append_line(self.path, json.dumps(asdict(skip)))
        if len(self.seen) > self.allowed:
            raise SkippedSamples(f"{len(self.seen)} of {self.total} samples cannot be used (data.bad_share is "
                                 f"{self.share:g}): {dict(self.reasons)}; the last: {skip.message}")

    def count(self, sample: str, video: str, reason: str) -> bool:
        """Count a sample unless it was counted before; returns whether it is new."""
        if is_new := (sample, video) not in self.seen:
            self.seen.add((sample, video))
            self.reasons[reason] += 1
        return is_new

    def read_file(self) -> None:
        """Count the samples in the file that were not counted before."""
        for line in json_lines(self.path) if self.path is not None else ():
            self.count(*(str(line.get(name)) for name in ("sample", "video", "reason")))


def append_line(path: Path, line: str) -> None:
    """Add a line, on a new line even if the last one was cut off because the disk was full."""
    with open(path, "ab+") as out:
        if out.seek(0, 2):
            out.seek(-1, 2)
            line = line if out.read(1) == b"\n" else "\n" + line
        out.write((line + "\n").encode())
