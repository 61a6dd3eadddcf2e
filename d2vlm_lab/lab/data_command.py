"""`d2vlm-lab data BENCHMARK [FOLDER]`: where to get a benchmark and what to put where, or what a folder still lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import resolve
from ..data.datasets.mvbench import FILES
from ..data.splits import evenly_spaced
from ..data.video import VideoError, read_frames
from ..judging.benchmarks import BENCHMARKS, find, video_path

SAMPLED = 20  # videos that are opened, unless all are


@dataclass(frozen=True)
class Inventory:
    """What a folder holds of its benchmark."""

    annotations: Path
    videos: Path
    questions: int
    asked: int  # videos that the questions are about
    opened: int  # videos that a frame could be read from
    broken: dict[str, str]  # videos that do not open, with the reason
    missing: list[str]  # videos that are not there
    absent: list[str]  # annotation files that are not there, for a benchmark that has several

    @property
    def complete(self) -> bool:
        return not (self.broken or self.missing or self.absent)

    def __str__(self) -> str:
        tried, present = self.opened + len(self.broken), self.asked - len(self.missing)
        lines = [f"{self.annotations}: {self.questions:,} questions about {self.asked:,} videos",
                 f"{self.videos}: {present:,} of {self.asked:,} videos are there"]
        for title, names in (("no such annotation file", self.absent), ("missing", self.missing)):
            lines += [f"  {title}: {_first_few(names)}"] if names else []
        lines.append(f"{self.opened:,} of the {tried:,} videos that were tried open"
                     + ("" if tried == present else " (--all tries every one)"))
        return "\n".join([*lines, *(f"  {name}: {reason}" for name, reason in self.broken.items())])


def inspect(benchmark: str, folder: Path, all_videos: bool = False) -> Inventory:
    """Read the annotations, look for every video, and decode a frame of some videos, or of all."""
    annotations, videos = find(benchmark, folder)
    questions = BENCHMARKS[benchmark].read(annotations)
    paths = dict.fromkeys(video_path(videos, sample.video) for sample, _ in questions)
    names = {path: path.relative_to(videos).as_posix() for path in paths}
    present = [path for path in paths if path.exists()]
    tried = present if all_videos else evenly_spaced(present, SAMPLED)
    broken = {}
    for path in tried:
        try:
            read_frames(path, max_frames=1)
        except VideoError as error:
            broken[names[path]] = str(error).removeprefix(f"{path}: ")
    files = [f"{stem}.json" for stem in FILES] if benchmark == "mvbench" else []
    return Inventory(annotations, videos, len(questions), len(paths), len(tried) - len(broken), broken,
                     [name for path, name in names.items() if not path.exists()],
                     [name for name in files if not (annotations / name).exists()])


def about(benchmark: str) -> str:
    layout = BENCHMARKS[benchmark]
    return "\n".join([f"{benchmark}: {layout.page}", "put into one folder:", *(f"  {step}" for step in layout.steps),
                      f"then: d2vlm-lab data {benchmark} FOLDER",
                      f"      d2vlm-lab evaluate CHECKPOINT {benchmark} --data FOLDER"])


def configure(parser) -> None:
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS), help="which benchmark")
    parser.add_argument("folder", nargs="?", help="check what is there, what is missing, whether videos open")
    parser.add_argument("--all", action="store_true", help=f"open every video, not just {SAMPLED}")


def run(args) -> int:
    if args.folder is None:
        print(about(args.benchmark))
        return 0
    inventory = inspect(args.benchmark, resolve(args.folder), args.all)
    print(inventory)
    return 0 if inventory.complete else 1


def _first_few(names: Sequence[str], n: int = 8) -> str:
    return ", ".join(names[:n]) + (f" and {len(names) - n:,} more" if len(names) > n else "")
