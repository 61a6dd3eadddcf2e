"""`d2vlm-lab gallery WORLD --out FILE.png`: what the videos of a world look like, and what is asked about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ..data.sample import Sample
from ..data.video import read_frames
from ..data.world import World, load
from ..data.world.make import SPLITS
from ..data.world.scene import Scene
from ..errors import LabError
from ..files import atomic_path
from ..ideas.evidence import EVIDENCE, Event, compose, seconds, write
from ..settings import suggest
from ..shapes import Range, fit
from .plots import Strip, draw_strips

SUFFIXES = (".png", ".pdf", ".svg")
TASKS = ("tvg", "gvq", "tem", "epm", "dvc", "multi")  # whose questions are shown; each video begins with another one


def configure(parser) -> None:
    parser.add_argument("world", help="folder of a world")
    parser.add_argument("--out", required=True, metavar="FILE", help="the figure: .png, .pdf or .svg")
    parser.add_argument("--split", default="train", choices=SPLITS, help="which videos")
    parser.add_argument("--videos", type=int, default=6, help="how many")
    parser.add_argument("--questions", type=int, default=2, help="how many questions under each video")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", default=TASKS, help="tasks whose questions are shown")


def run(args) -> None:
    if Path(args.out).suffix not in SUFFIXES:
        raise LabError(f"--out is {args.out!r}; a figure is written as {', '.join(SUFFIXES)}")
    fit(args.videos, Annotated[int, Range(1, 100)], "--videos")
    fit(args.questions, Annotated[int, Range(0, 100)], "--questions")
    world = load(args.world)
    known = {sample.task for sample in world.samples(args.split)}
    if args.tasks is not TASKS and (unknown := [task for task in args.tasks if task not in known]):
        raise LabError(f"--tasks: no question of the world has the task {unknown[0]!r}{suggest(unknown[0], known)}")
    print(write_gallery(args.out, strips(world, args.split, args.videos, args.questions, args.tasks)))


def write_gallery(out: str | Path, drawn: list[Strip]) -> Path:
    out = Path(out)
    with atomic_path(out) as partial:
        draw_strips(drawn).savefig(partial, format=out.suffix[1:])
    return out


def strips(world: World, split: str = "train", videos: int = 6, questions: int = 2,
           tasks: Sequence[str] = TASKS) -> list[Strip]:
    """The first videos of a split, with the truth and a few of the questions."""
    samples = world.samples(split)
    return [strip(world, scene, [s for s in samples if s.video == scene.video], k, questions, tasks)
            for k, scene in enumerate(world.truth(split)[:videos])]


def strip(world: World, scene: Scene, samples: list[Sample], first: int = 0, questions: int = 2,
          tasks: Sequence[str] = TASKS) -> Strip:
    """A video with what happens in it and the first question of each task, from the task at place `first` on."""
    clip = read_frames(world.video_path(scene))
    rows = {"truth": scene.events} | ({} if scene.annotated is None else {"annotated": scene.annotated})
    rows |= {"feints": scene.feints} if scene.feints else {}
    events = {name: [Event(*scene.interval(e), scene.caption(e)) for e in row] for name, row in rows.items()}
    first %= len(tasks)
    asked = {task: next((s for s in samples if s.task == task and s.events), None)
             for task in (*tasks[first:], *tasks[:first])}
    notes = [_line(sample) for sample in asked.values() if sample][:questions]
    return Strip(clip.frames, clip.timestamps, events, scene.video, notes)


def _line(sample: Sample) -> str:
    """Question and answer in one line, with every time in seconds."""
    answer = compose(sample.events, sample.answer or tuple(range(len(sample.events))), "coupled")
    line = f"{sample.task}   {sample.question}   →   {write(answer)}"
    for span in (*sample.question_intervals, *answer.intervals):
        line = line.replace(EVIDENCE, f"{seconds(span)} s", 1)
    return line
