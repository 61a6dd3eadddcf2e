"""`d2vlm-lab data BENCHMARK [FOLDER]`: where a benchmark can be had, what to put where, and what a folder lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import resolve
from ..data.datasets.mvbench import FILES
from ..data.video import VideoError, read_frames
from ..judging.benchmarks import BENCHMARKS, find, video_path

SAMPLED = 20  # videos that are opened unless all are


@dataclass
class Found:
    """What is in a folder."""

    annotations: Path
    videos: Path
    questions: int
    total: int  # videos that questions ask about
    missing: list[str]
    opened: int
    bad: dict[str, str] = field(default_factory=dict)  # video -> why it does not open
    absent: list[str] = field(default_factory=list)  # annotation files, where there are several

    @property
    def complete(self) -> bool:
        return not (self.missing or self.bad or self.absent)


def inspect(benchmark: str, folder: Path, everything: bool = False) -> Found:
    """Read the annotations, look for every video, and decode a frame of some, or of all."""
    annotations, videos = find(benchmark, folder)
    questions = BENCHMARKS[benchmark].read(annotations, 0.5)
    paths = dict.fromkeys(video_path(videos, sample.video) for sample, _ in questions)
    there = [path for path in paths if path.exists()]
    tried = there if everything else _spread(there, SAMPLED)
    bad = {}
    for path in tried:
        try:
            read_frames(path, max_frames=1)
        except VideoError as error:
            bad[_short(path, videos)] = str(error).removeprefix(f"{path}: ")
    absent = [f"{stem}.json" for stem in FILES if not (annotations / f"{stem}.json").exists()]
    return Found(annotations, videos, len(questions), len(paths), [_short(p, videos) for p in paths if not p.exists()],
                 len(tried) - len(bad), bad, absent if benchmark == "mvbench" else [])


def report(found: Found) -> list[str]:
    lines = [f"{found.annotations}: {found.questions:,} questions about {found.total:,} videos",
             f"{found.videos}: {found.total - len(found.missing):,} of {found.total:,} videos are there"]
    for title, names in (("no such annotation file", found.absent), ("missing", found.missing)):
        lines += [f"  {title}: {_few(names)}"] if names else []
    tried = found.opened + len(found.bad)
    lines.append(f"{found.opened:,} of the {tried:,} videos that were tried open"
                 + ("" if tried == found.total - len(found.missing) else " (--all tries every one)"))
    return lines + [f"  {name}: {reason}" for name, reason in found.bad.items()]


def about(benchmark: str) -> list[str]:
    layout = BENCHMARKS[benchmark]
    return [f"{benchmark}: {layout.page}", "put into one folder:", *(f"  {step}" for step in layout.steps),
            f"then: d2vlm-lab data {benchmark} FOLDER",
            f"      d2vlm-lab evaluate CHECKPOINT {benchmark} --data FOLDER"]


def configure(parser) -> None:
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS), help="which one")
    parser.add_argument("folder", nargs="?", help="check what is there, what is missing, whether videos open")
    parser.add_argument("--all", action="store_true", help=f"open every video, not just {SAMPLED}")


def run(args) -> int:
    if args.folder is None:
        print("\n".join(about(args.benchmark)))
        return 0
    found = inspect(args.benchmark, resolve(args.folder), args.all)
    print("\n".join(report(found)))
    return 0 if found.complete else 1


def _spread(items: Sequence, n: int) -> list:
    return [items[i] for i in np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)]


def _short(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _few(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")
