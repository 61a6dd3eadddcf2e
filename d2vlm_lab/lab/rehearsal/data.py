"""A handful of generated videos with their questions, in the annotation format that a preset reads."""

from __future__ import annotations

import json
from pathlib import Path

from ...config import Data
from ...data.datasets import et_instruct
from ...data.datasets import samples as sample_files
from ...data.sample import Sample
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
        write_annotations(path, world.samples(split), data.format)
        files[name] = str(path)
    return world, {"data.world": "", "data.videos": str(world.videos), **files}


def write_annotations(path: Path, samples: list[Sample], form: str) -> None:
    """An annotation file of the format `form`.

    That of Charades-STA holds the questions about one moment alone, that of YouCook2 the dense captions alone.
    """
    if form == "et_instruct":
        et_instruct.write_file(path, samples)
    elif form == "samples":
        sample_files.write_file(path, samples)
    elif form == "charades_sta":
        moments = [sample for sample in samples if sample.task == "tvg" and len(sample.events) == 1]
        records = [{"id": k, "image_id": sample.video, "caption": sample.question, "duration": sample.duration,
                    "timestamp": list(sample.events[0].interval)} for k, sample in enumerate(moments)]
        path.write_text(json.dumps({"annotations": records}), encoding="utf-8")
    else:  # youcook2
        dense = [sample for sample in samples if sample.task == "dvc"]
        records = [{"id": k, "image_id": sample.video, "duration": sample.duration,
                    "segments": [list(event.interval) for event in sample.events],
                    "pure_cap": ". ".join(event.caption.rstrip(". ") for event in sample.events)}
                   for k, sample in enumerate(dense)]
        path.write_text(json.dumps({"annotations": records}), encoding="utf-8")
