"""A handful of generated videos with their questions, in the annotation format that a preset reads."""

from __future__ import annotations

from pathlib import Path

from ...config import Data
from ...data.datasets.formats import ADAPTERS
from ...data.world import load as load_world
from ...data.world.config import from_preset
from ...data.world.make import make_world
from ...data.world.world import World

VIDEOS = 8  # for training; one more for validation and one for the benchmark


def write_data(data: Data, folder: Path, frames: int | None = None) -> tuple[World, dict[str, object]]:
    """A small world in `folder`, and the settings that make a run read it; `frames` makes its videos longer."""
    changes = [*data.world_settings, f"videos={VIDEOS}", *([f"frames={frames}"] if frames else [])]
    world = load_world(make_world(folder / "world", from_preset(data.world_preset, changes), workers=1))
    if not data.train:
        return world, {"data.world": str(world.folder), "data.world_settings": tuple(changes)}
    files = {}
    for name, split in (("data.train", "train"), ("data.val", "val")):
        path = folder / f"{split}.json"
        ADAPTERS[data.format].write_file(path, world.samples(split))
        files[name] = str(path)
    return world, {"data.world": "", "data.videos": str(world.videos), **files}
