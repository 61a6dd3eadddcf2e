"""Which frames of a video a checkpoint sees, and how features are kept: as in training, unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

from ..config import Cache, Data, Frames, Pruning
from ..reader import read_json
from ..shapes import Range
from .seal import DESCRIPTION, run_of


class Rate(TypedDict):
    fps: NotRequired[Annotated[float, Range(0, 1000, open=True)]]
    max_frames: NotRequired[Frames]
    keep_frames: NotRequired[Frames | None]
    pruning: NotRequired[Pruning]
    cache: NotRequired[Cache]


class RunRate(TypedDict):
    """The part of a run's config.json that is read."""

    data: NotRequired[Rate]


class RecipeRate(TypedDict):
    """The part of a checkpoint's recipe.json that is read."""

    config: NotRequired[RunRate]


def trained_rate(checkpoint: Path) -> Rate:
    """The rate of the run that made a checkpoint of this project, from its recipe or from the folder of that run."""
    recipe, run = checkpoint / "recipe.json", run_of(checkpoint) / "config.json"
    if not (checkpoint / DESCRIPTION).is_file():
        return {}
    if recipe.is_file() and (config := read_json(recipe, RecipeRate).get("config")):
        return config.get("data", {})
    return read_json(run, RunRate).get("data", {}) if run.is_file() else {}


def frames_as_trained(checkpoint: Path, fps: float | None, max_frames: int | None, otherwise: float,
                      tell: Callable[[str], object] = print) -> Data:
    """Frames a second, the largest number of frames, and which of them are kept: as asked for, else as in training.

    `otherwise` are the frames a second of a checkpoint that does not say how it was trained. `tell` gets a line if
    other numbers are asked for than in training.
    """
    trained = trained_rate(checkpoint)
    for name, asked in (("fps", fps), ("max_frames", max_frames)):
        if asked is not None and trained.get(name, asked) != asked:
            tell(f"{name} is {asked:g}; this checkpoint was trained with {trained[name]:g}")
    return Data(fps=fps or trained.get("fps", otherwise),
                max_frames=max_frames or trained.get("max_frames", Data.max_frames),
                keep_frames=trained.get("keep_frames"), pruning=trained.get("pruning", Data.pruning),
                cache=trained.get("cache", Data.cache if (checkpoint / DESCRIPTION).is_file() else "off"))
