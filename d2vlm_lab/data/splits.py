"""Where the samples of a run come from, a world or annotation files, and how their videos are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import RunConfig, resolve
from ..settings import from_dict, override
from .batch import Clip
from .datasets import et_instruct
from .features import FeatureCache
from .groups import Reader
from .pruning import prune
from .sample import Sample
from .world import load as load_world
from .world.config import WorldConfig, preset
from .world.make import make_world

CACHE = "data/cache"


class FrameEncoder(Protocol):
    """What reading needs of a frame encoder; every one of `model.frames` and `model.towers` has it."""

    id: str  # names its weights, so that features of another encoder are never taken for its own
    size: int  # pixels of a frame's short side

    def encode(self, frames: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Split:
    """Samples and the folder of their videos."""

    samples: Sequence[Sample]
    videos: Path


def splits(config: RunConfig) -> tuple[Split, Split]:
    """Training and validation data: a world, made if it is missing, or annotation files."""
    data = config.data
    if data.train:
        videos, half = resolve(data.videos), 0.5 / data.fps
        train = et_instruct.read(resolve(data.train), max(half, 0.5))
        val = et_instruct.read(resolve(data.val), max(half, 0.5)) if data.val else []
        return Split(train, videos), Split(val, videos)
    folder = resolve(data.world)
    if not (folder / "world.json").exists():
        make_world(folder, override(from_dict(WorldConfig, preset(data.world_preset)), data.world_settings))
    world = load_world(folder)
    return Split(world.samples("train"), world.videos), Split(world.samples("val"), world.videos)


def held_out_questions(val: Split, config: RunConfig) -> list[Sample]:
    """The validation questions that a run is judged on: those about events, an even draw from each wanted task."""
    picked = []
    for task in config.evaluation.tasks:
        wanted = [s for s in val.samples if s.task == task and s.events]
        n = min(config.evaluation.samples, len(wanted))
        picked += [wanted[i] for i in np.linspace(0, len(wanted) - 1, n).round().astype(int)] if n else []
    return picked


def reader(config: RunConfig, encoder: FrameEncoder, videos: Path) -> Reader:
    """From a sample to its video's features, through the cache on disk."""
    data = config.data
    cache = FeatureCache(resolve(CACHE), encoder.id, data.fps, encoder.size, data.max_frames)

    def read(sample: Sample) -> Clip:
        features, timestamps = cache.get(videos / sample.video, encoder.encode)
        clip = Clip(torch.from_numpy(np.asarray(features)), np.asarray(timestamps))
        return prune(clip, data.keep_frames, data.pruning)

    return read
