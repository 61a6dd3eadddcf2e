"""How many frames of a video a checkpoint is shown: as many as it was trained with, unless somebody asks for others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

from ..config import Data, Frames
from ..reader import read_json
from ..shapes import Range
from .seal import DESCRIPTION


class Rate(TypedDict):
    fps: NotRequired[Annotated[float, Range(0, 1000, open=True)]]
    max_frames: NotRequired[Frames]


class RunRate(TypedDict):
    """What is read of the config.json of a run."""

    data: NotRequired[Rate]


class RecipeRate(TypedDict):
    """The same of the recipe.json of a checkpoint."""

    config: NotRequired[RunRate]


def trained_rate(checkpoint: Path) -> Rate:
    """Of the run that a checkpoint of this project comes from: it says so itself, or lies in the folder of that run."""
    recipe, run = checkpoint / "recipe.json", checkpoint.parent / "config.json"
    if not (checkpoint / DESCRIPTION).is_file():
        return {}
    if recipe.is_file() and (config := read_json(recipe, RecipeRate).get("config")):
        return config.get("data", {})
    return read_json(run, RunRate).get("data", {}) if run.is_file() else {}


def frame_rate(checkpoint: Path, fps: float | None, max_frames: int | None, otherwise: float,
               tell: Callable[[str], object] = print) -> tuple[float, int]:
    """Frames a second, and at most how many: as they are asked for, else as in training.

    `otherwise` are the frames a second of a checkpoint that does not say how it was trained. Where others are asked for
    than in training, this is told.
    """
    trained = trained_rate(checkpoint)
    for name, asked in (("fps", fps), ("max_frames", max_frames)):
        if asked is not None and trained.get(name, asked) != asked:
            tell(f"{name} is {asked:g}; this checkpoint was trained with {trained[name]:g}")
    return fps or trained.get("fps", otherwise), max_frames or trained.get("max_frames", Data.max_frames)
