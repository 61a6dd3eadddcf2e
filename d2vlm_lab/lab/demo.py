"""`d2vlm-lab demo`: the world made and read back, the scores of guesses without looking, and a gallery to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..config import resolve
from ..data.video import read_frames
from ..data.world import World, load
from ..data.world.baselines import table
from ..data.world.config import from_preset
from ..data.world.make import SPLITS, make_world
from ..errors import LabError
from .gallery import strips, write_gallery


def configure(parser) -> None:
    parser.add_argument("--world", default="data/world-small", help="folder of the world; made if it is missing")
    parser.add_argument("--out", default="runs/demo", help="folder for what is shown")


def run(args) -> None:
    folder = resolve(args.world)
    if not (folder / "world.json").exists():
        print(f"making the small world in {folder} (about a minute) ...", flush=True)
        make_world(folder, from_preset("small"))
    world = load(folder)
    print(f"{folder}: {', '.join(f'{len(world.truth(split))} videos to {split}' for split in SPLITS)}")
    print(f"read back: {read_back(world)} test videos have every frame where the truth says it is")
    print("\n" + table(world.baselines))
    picture = write_gallery(Path(args.out) / "gallery.png", strips(world))
    print(f"\nlook at {picture.resolve()}\nthen train a model that does better: d2vlm-lab train tiny")


def read_back(world: World) -> int:
    """How many test videos were read, each with the frames and times that its truth promises."""
    scenes = world.truth("test")
    for scene in scenes:
        clip = read_frames(world.video_path(scene))
        if len(clip.frames) != scene.n_frames or not np.allclose(clip.timestamps * scene.fps, range(scene.n_frames)):
            raise LabError(f"{scene.video}: {len(clip.frames)} frames were read where {scene.n_frames} were written; "
                           "make the world again")
    return len(scenes)
