"""What the pages of the walkthrough begin with: a world, a checkpoint, and trainings whose results are kept."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from IPython import get_ipython

from ..config import RunConfig, read_config
from ..data.groups import Reader
from ..data.splits import reader
from ..data.world import World, WorldConfig
from ..data.world import load as load_world
from ..data.world.make import make_world
from ..model.checkpoint import checkpoint_id
from ..model.checkpoint import load as load_checkpoint
from ..model.d2vlm import D2VLM
from ..settings import flat, override, to_dict
from .plots import use_style
from .run import train
from .study.identity import digest

RUNS = "../../runs/walkthrough"  # as seen from a page of the walkthrough


def setup(folder: str | os.PathLike, videos: int = 400, seed: int = 0, **changes) -> World:
    """The synthetic world in `folder`, which is made if it is missing; `changes` are settings of the world."""
    if shell := get_ipython():
        shell.run_line_magic("matplotlib", "inline")
    use_style()
    torch.manual_seed(seed)
    return load_world(make_world(folder, override(WorldConfig(), {"videos": videos, "seed": seed, **changes})))


def checkpoint(folder: str | os.PathLike, world: World) -> tuple[D2VLM, Reader]:
    """A trained model, and what reads the videos of this world for it."""
    model = load_checkpoint(folder)
    return model, reader(RunConfig(), model.frames, world.videos)


def recipe(world: World, preset: str = "tiny", **sections: dict) -> RunConfig:
    """The recipe of a training in this world: a preset with changes, section by section as in its YAML file.

    A training is judged and saved once, at its end, unless `sections` say otherwise.
    """
    config = override(read_config(preset, {"data.world": str(world.folder)}), flat(sections))
    steps = config.training.steps
    once = {"training.log_every": max(1, steps // 10), "training.eval_every": steps, "training.save_every": steps}
    return override(config, once | flat(sections))


def train_once(name: str, world: World, runs: str | os.PathLike = RUNS, preset: str = "tiny", **sections: dict) -> Path:
    """Train, save and score; the folder of the run. A training with the same settings is not repeated."""
    config = recipe(world, preset, **sections)
    start = checkpoint_id(config.parts.start) if config.parts.start else ""
    folder = Path(runs) / f"{name}-{digest([to_dict(config), world.fingerprint, start])}"
    train(config, folder, log=lambda line: None)
    return folder
