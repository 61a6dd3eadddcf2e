"""The samples of a run, from a world or from annotation files, and how their videos are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from ..config import Data, Evaluation, RunConfig, resolve
from ..errors import LabError
from ..settings import suggest
from ..shapes import shown
from .batch import Clip
from .datasets.formats import ADAPTERS
from .features import FeatureCache
from .groups import NotCached, Reader
from .preparation import Preparation
from .pruning import prune
from .sample import UNKNOWN, Sample, SampleError, evenly_spaced
from .skips import Skip
from .video import find_video, read_frames
from .world import load as load_world
from .world.config import WorldConfig
from .world.make import make_world
from .world.there import world_to_make

CACHE = "data/cache"


class FrameEncoder(Protocol):
    """What reading needs of a frame encoder; all encoders in `model.frames` and `model.towers` have it."""

    id: str  # names its weights, so that features of another encoder are never taken for its own
    preparation: Preparation  # how it expects its frames
    around: int  # how many frames before and after a frame it also looks at

    def encode(self, frames: Tensor, before: int = 0, after: int = 0) -> Tensor: ...


@dataclass(frozen=True)
class Split:
    """Samples, the folder of their videos, and the records of the annotation file that cannot be used."""

    samples: Sequence[Sample]
    videos: Path
    bad: tuple[Skip, ...] = ()


def splits(config: RunConfig) -> tuple[Split, Split]:
    """Training and validation data: a world, which is made if it is missing, or annotation files."""
    data = config.data
    if data.train:
        videos = resolve(data.videos)
        train = annotated(data, data.train, videos)
        val = annotated(data, data.val, videos) if data.val else Split([], videos)
        return check_tasks(config, train, val)
    if (missing := missing_world(config)) is not None:
        make_world(resolve(data.world), missing)
    world = load_world(resolve(data.world))
    return check_tasks(config, Split(world.samples("train"), world.videos), Split(world.samples("val"), world.videos))


def check_tasks(config: RunConfig, train: Split, val: Split) -> tuple[Split, Split]:
    """The splits themselves; an error if a named task is in neither split, or none of the tasks is in validation."""
    there = {sample.task for split in (train, val) for sample in split.samples}
    for name, tasks in (("data.tasks", config.data.tasks), ("evaluation.tasks", config.evaluation.tasks)):
        if tasks != Evaluation.tasks and (unknown := [task for task in tasks if task not in there]):
            raise LabError(f"{name}: no question has the task {shown(unknown[0])}{suggest(unknown[0], there)}")
    asked, held_out = config.evaluation.tasks, sorted({sample.task for sample in val.samples if sample.events})
    if asked and held_out and not set(asked) & set(held_out):
        raise LabError(f"evaluation.tasks: no validation question has the task {' or '.join(asked)}; those of "
                       f"{config.data.val or config.data.world} have {', '.join(held_out)}: set "
                       f"evaluation.tasks=[{', '.join(held_out)}]")
    return train, val


def missing_world(config: RunConfig) -> WorldConfig | None:
    """How to make the world of a run, if it has one that does not exist yet."""
    data = config.data
    if data.train:
        return None
    if data.format != Data.format:
        raise LabError(f"data.format is {data.format!r}, but data.train names no annotation file in this format")
    return world_to_make(data.world, data.world_preset, data.world_settings)


def annotated(data: Data, path: str, videos: Path) -> Split:
    """The samples of an annotation file in the format `data.format`."""
    bad: list[Skip] = []

    def on_bad(place: str, message: str) -> None:
        bad.append(Skip(place, "", "annotation", message))

    samples = ADAPTERS[data.format].read(resolve(path), max(0.5, 0.5 / data.fps), on_bad)
    for sample in samples:
        if sample.duration == UNKNOWN:
            on_bad(f"{path}, sample {sample.id}",
                   f"{path}, sample {sample.id}: its duration is not known, and training needs it; use a file that "
                   "gives durations (Charades-STA: the JSON form)")
    samples = [sample for sample in samples if sample.duration != UNKNOWN]
    if bad and not samples:
        raise SampleError(f"{bad[0].message} (no record of this file can be used)")
    return Split(samples, videos, tuple(bad))


def held_out_questions(val: Split, config: RunConfig) -> list[Sample]:
    """The validation questions on which a run is judged: for each task, evenly spaced questions about events."""
    questions = []
    for task in config.evaluation.tasks:
        questions += evenly_spaced([s for s in val.samples if s.task == task and s.events], config.evaluation.samples)
    return questions


def feature_cache(config: RunConfig, encoder: FrameEncoder) -> FeatureCache:
    """The cache that keeps the features of an encoder; not used with `cache: off`."""
    data = config.data
    kept_as: Literal["fp16", "fp32"] = "fp16" if data.cache == "fp16" else "fp32"
    return FeatureCache(resolve(CACHE), encoder.id, data.fps, encoder.preparation, data.max_frames, kept_as,
                        encoder.around, data.reader)


def reader(config: RunConfig, encoder: FrameEncoder, videos: Path) -> Reader:
    """A reader from a sample to the features of its video, kept on disk; without a cache, to its prepared frames."""
    if config.data.cache == "off":
        return partial(_read_anew, videos, config.data, encoder.preparation)
    return CachedReader(feature_cache(config, encoder), videos, config.data, encoder.encode)


@dataclass
class CachedReader:
    """Reads features, and makes those that the cache lacks, except in a worker of a data loader.

    Workers have no GPU, and the copy of this reader in a worker has no encoder.
    """

    cache: FeatureCache
    videos: Path
    data: Data
    encode: Callable[[Tensor], Tensor] | None

    def __call__(self, sample: Sample) -> Clip:
        path = find_video(self.videos, sample.video)
        if get_worker_info() is not None and not self.cache.has(path):
            raise NotCached(path)
        # Without an encoder, as in a worker, nothing is missing.
        features, timestamps = self.cache.get(path, self.encode)  # type: ignore[arg-type]
        clip = Clip(torch.from_numpy(np.asarray(features)), np.asarray(timestamps))
        return prune(clip, self.data.keep_frames, self.data.pruning)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"encode": None}


def _read_anew(videos: Path, data: Data, preparation: Preparation, sample: Sample) -> Clip:
    """A clip of uint8 frames. It needs no model, so that the workers of a data loader can read it."""
    video = read_frames(find_video(videos, sample.video), data.fps, preparation.frames, data.max_frames, data.reader,
                        preparation.clock)
    return Clip(torch.from_numpy(video.frames), video.timestamps)
