"""`d2vlm-lab annotate check | convert FILE`: your own annotations, examined and brought into the project's format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...data.datasets import et_bench
from ...data.datasets import samples as sample_files
from ...data.sample import Sample, SampleError, brief
from ...errors import LabError
from ...files import check_outputs, write_text
from .draft import TASKS, Problem, with_ids
from .examine import Item, Videos, examine
from .layouts import LAYOUTS, drafts
from .page import page

SHOWN = 2000  # most questions on a page


def configure(parser) -> None:
    parser.add_argument("action", choices=("check", "convert"), help="say what is wrong, or write another file")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="annotations: JSON Lines, JSON, CSV, VTT, "
                                                                            "SRT; see data/README.md")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="where the videos are; each of them is opened")
    parser.add_argument("--format", choices=LAYOUTS, help="layout of the files; needed only if it is recognized "
                        "wrongly")
    parser.add_argument("--video", metavar="NAME", help="the video of a file that names none (default for subtitles: "
                                                        "the video that has the file's name)")
    parser.add_argument("--task", choices=TASKS, default="tvg", help="make of captions questions about when "
                        "each event happens (tvg), one question about all events of a video (dvc), or both")
    parser.add_argument("--page", type=Path, metavar="OUT.html",
                        help="write a page that shows each video with its events")
    parser.add_argument("--limit", type=int, default=60, metavar="N", help="at most this many questions on the page")
    parser.add_argument("--out", type=Path, help="convert: OUT.jsonl for training; FOLDER/etbench.json, beside "
                                                 "FOLDER/videos, for `evaluate CHECKPOINT world --data FOLDER`")


def run(args) -> int:
    check_options(args)
    videos = Videos(args.videos) if args.videos else None
    items = list(read(args, videos))
    found = in_order(problem for item in items for problem in item.problems)
    if args.page:
        names = ", ".join(file.name for file in args.files)
        write_text(args.page, page(items, found, args.videos, args.limit, names, args.page))
    for problem in found:
        print(problem)
    usable = [item.sample for item in items if item.usable]
    print("\n".join(summary(items, found)))
    if args.page:
        print(f"{args.page}: {args.page.stat().st_size / 2**20:.1f} MB")
    if args.action == "convert":
        return convert(args.out, usable)
    return 2 if any(item.lost for item in items) else 0


def check_options(args) -> None:
    """An error for wrong options, before anything is read."""
    if (args.action == "convert") != (args.out is not None):
        raise LabError("convert needs --out, the file to write" if args.action == "convert" else
                       "--out belongs to convert; check writes nothing, apart from --page")
    if args.videos and not os.path.isdir(args.videos):
        raise LabError(f"--videos is {brief(str(args.videos))}; there is no such folder")
    if not 1 <= args.limit <= SHOWN:
        raise LabError(f"--limit is {args.limit}; a page can hold 1 to {SHOWN:,} questions")
    if args.out is not None and args.out.suffix not in (".jsonl", ".json"):
        raise LabError(f"--out is {args.out}; its name must end with .jsonl (samples) or .json (for evaluate)")
    check_outputs(filter(None, (args.out, args.page)), args.files)


def read(args, videos: Videos | None) -> list[Item]:
    """Everything in the files."""
    find = videos.find if videos else str
    found = with_ids(draft for file in args.files for draft in drafts(file, args.format, args.task, args.video, find))
    return list(examine(found, videos, complete=args.action == "convert"))


def in_order(found: Iterable[Problem]) -> list[Problem]:
    """By file and line; what stands in one line keeps its order."""
    files: dict[str, int] = {}

    def place(problem: Problem) -> tuple[int, int]:
        file, _, line = problem.place.rpartition(": line ")
        return files.setdefault(file, len(files)), int(line)

    return sorted(found, key=place)


def summary(items: Sequence[Item], found: Sequence[Problem]) -> list[str]:
    """What can be used: videos, their seconds, questions and events of each task. Then how much cannot."""
    samples = [item.sample for item in items if item.usable]
    seconds = sum({sample.video: sample.duration for sample in samples}.values())
    lines = [f"{counted(len({sample.video for sample in samples}), 'video')} of {seconds:,.1f} s, "
             f"{counted(len(samples), 'question')}, {counted(sum(len(s.events) for s in samples), 'event')}"]
    events: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for sample in samples:
        events[sample.task] += len(sample.events)
        inside[sample.task] += sum(event.end - event.start for event in sample.events)
    for task, count in sorted(Counter(sample.task for sample in samples).items()):
        lines.append(f"  {brief(task)}: {counted(count, 'question')}, {counted(events[task], 'event')} of "
                     f"{inside[task]:,.1f} s")
    bad, notes = sum(item.lost for item in items), sum(problem.is_note for problem in found)
    lines.append(f"{bad:,} of {bad + len(samples):,} cannot be used" if bad else "everything can be used")
    if notes:
        lines.append(f"{counted(notes, 'note')} about what should be looked at")
    return lines


def counted(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def convert(out: Path, samples: Sequence[Sample]) -> int:
    """Write what can be used."""
    adapter = et_bench if out.suffix == ".json" else sample_files
    if adapter is et_bench:
        samples = list(scored(samples))
    if not samples:
        raise LabError(f"nothing can be used, so {out} is not written")
    adapter.write_file(out, samples)
    print(f"{out}: {counted(len(samples), 'question')}")
    return 0


def scored(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Those that a scorer can judge; the others are named."""
    for sample in samples:
        try:
            et_bench.to_record(sample, 0)
        except SampleError as error:
            print(f"left out: {error}")
        else:
            yield sample
