"""`d2vlm-lab data NAME [FOLDER]`: where to get a data set and what to put where, or what a folder still lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...config import resolve
from ...data.datasets.formats import ADAPTERS
from ...data.datasets.mvbench import FILES
from ...data.sample import Sample, evenly_spaced
from ...data.video import VideoError, read_frames
from ...judging.benchmarks import BENCHMARKS, DATA_SETS, TRAINING_SETS, find, video_path

SAMPLED = 20  # videos that are opened, unless all are
NAMED = 8  # missing files that are named


def check(benchmark: str, folder: Path, all_videos: bool = False) -> bool:
    """Print what a folder holds of a data set and what it lacks; True where it is complete."""
    annotations, videos = find(benchmark, folder)
    samples, unfit = _samples(benchmark, annotations)
    paths = {video_path(videos, sample.video): None for sample in samples}
    present = [path for path in paths if os.path.exists(path)]
    missing = [path.relative_to(videos).as_posix() for path in paths if not os.path.exists(path)]
    files = [f"{stem}.json" for stem in FILES] if benchmark == "mvbench" else []
    absent = [name for name in files if not (annotations / name).exists()]
    tried = present if all_videos else evenly_spaced(present, SAMPLED)
    broken = list(_broken(tried))
    print(f"{annotations}: {len(samples):,} questions about {len(paths):,} videos")
    if unfit:
        print(f"  {len(unfit):,} more cannot be used; the first: {unfit[0]}")
    print(f"{videos}: {len(present):,} of {len(paths):,} videos are there")
    for title, names in (("no such annotation file", absent), ("missing", missing)):
        if names:
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            print(f"  {title}: {', '.join(names[:NAMED])}{more}")
    print(f"{len(tried) - len(broken):,} of the {len(tried):,} videos that were tried open"
          + ("" if len(tried) == len(present) else " (--all tries every one)"))
    for path, reason in broken:
        print(f"  {path.relative_to(videos).as_posix()}: {reason}")
    return not (missing or absent or broken)


def _samples(name: str, annotations: Path) -> tuple[list[Sample], list[str]]:
    """What can be asked or learned, and what is wrong with the rest, which evaluation and training leave out."""
    unfit: list[str] = []
    if name in BENCHMARKS:
        return [sample for sample, _ in BENCHMARKS[name].read(annotations, bad=unfit)], unfit
    adapter = ADAPTERS[TRAINING_SETS[name].format]
    return adapter.read(annotations, on_bad=lambda place, message: unfit.append(message)), unfit


def _broken(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The videos from which no frame can be read, and why."""
    for path in paths:
        try:
            read_frames(path, max_frames=1)
        except VideoError as error:
            yield path, str(error).removeprefix(f"{path}: ")


def about(name: str) -> str:
    layout = DATA_SETS[name]
    use = (f"d2vlm-lab evaluate CHECKPOINT {name} --data FOLDER" if layout.scorer else
           f"d2vlm-lab train PRESET data.format={layout.format} data.train=FOLDER/{layout.annotations[0]} "
           f"data.videos=FOLDER/{layout.videos[-1]}")
    return "\n".join([f"{name}: {layout.page}", "put into one folder:", *(f"  {step}" for step in layout.steps),
                      f"then: d2vlm-lab data {name} FOLDER", f"      {use}"])


def configure(parser) -> None:
    parser.add_argument("benchmark", metavar="NAME", choices=sorted(DATA_SETS),
                        help=f"a benchmark ({', '.join(sorted(BENCHMARKS))}) or a data set to train on "
                             f"({', '.join(sorted(TRAINING_SETS))})")
    parser.add_argument("folder", nargs="?", help="check what is there, what is missing, whether videos open")
    parser.add_argument("--all", action="store_true", help=f"open every video, not just {SAMPLED}")


def run(args) -> int:
    if args.folder is None:
        print(about(args.benchmark))
        if DATA_SETS[args.benchmark].hub is not None:
            print(f"`d2vlm-lab get {args.benchmark} FOLDER` fetches the annotations")
        return 0
    return 0 if check(args.benchmark, resolve(args.folder), args.all) else 1
