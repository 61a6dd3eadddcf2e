"""`d2vlm-lab gallery WORLD --out FILE.png`: what the videos of a world look like, and what is asked about them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.sample import Sample
from ..data.video import read_frames
from ..data.world import World, load
from ..data.world.make import SPLITS
from ..data.world.scene import Scene
from ..errors import LabError
from ..files import atomic_path
from ..ideas.evidence import EVIDENCE, Event, compose, seconds
from .plots import Strip, draw_strips

KINDS = (".png", ".pdf", ".svg")
SHOW_FIRST = ("tvg", "gvq", "tem", "epm", "dvc")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("world", help="folder of a world")
    parser.add_argument("--out", required=True, metavar="FILE", help="the figure: .png, .pdf or .svg")
    parser.add_argument("--split", default="train", choices=SPLITS, help="which videos")
    parser.add_argument("--videos", type=int, default=6, help="how many")
    parser.add_argument("--questions", type=int, default=2, help="how many questions under each video")


def run(args: argparse.Namespace) -> None:
    out = Path(args.out)
    if out.suffix not in KINDS:
        raise LabError(f"--out is {args.out!r}; a figure is written as {', '.join(KINDS)}")
    if args.videos < 1:
        raise LabError(f"--videos is {args.videos}; draw at least one")
    figure = draw_strips(strips(load(args.world), args.split, args.videos, args.questions))
    with atomic_path(out) as partial:
        figure.savefig(partial, format=out.suffix[1:])
    print(out)


def strips(world: World, split: str = "train", videos: int = 6, questions: int = 2) -> list[Strip]:
    """The first videos of a split, with the truth and a few of the questions."""
    samples = world.samples(split)
    return [strip(world, scene, [s for s in samples if s.video == scene.video], k, questions)
            for k, scene in enumerate(world.truth(split)[:videos])]


def strip(world: World, scene: Scene, samples: list[Sample], turn: int = 0, questions: int = 2) -> Strip:
    clip = read_frames(world.video_path(scene))
    rows = {"truth": _events(scene, scene.events)}
    if scene.annotated is not None:
        rows["annotated"] = _events(scene, scene.annotated)
    order = [*SHOW_FIRST[turn % len(SHOW_FIRST):], *SHOW_FIRST[:turn % len(SHOW_FIRST)]]
    asked = sorted((s for s in samples if s.task in order and s.events), key=lambda s: order.index(s.task))
    each = {s.task: s for s in reversed(asked)}
    notes = [_line(each[task]) for task in order if task in each][:questions]
    return Strip(clip.frames, clip.timestamps, rows, scene.video, notes)


def _events(scene: Scene, events) -> list[Event]:
    return [Event(*scene.interval(e), scene.caption(e)) for e in events]


def _line(sample: Sample) -> str:
    """Question and answer in one line, times as seconds."""
    question = sample.question
    for span in sample.question_intervals:
        question = question.replace(EVIDENCE, f"{seconds(span)} s", 1)
    answer = "".join(piece if isinstance(piece, str) else f"{seconds(piece.interval)} s"
                     for piece in compose(sample.events, sample.answer or tuple(range(len(sample.events)))).pieces)
    return f"{sample.task}   {question}   →   {answer}"
