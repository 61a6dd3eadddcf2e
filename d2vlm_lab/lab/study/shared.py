"""What several runs need is made once: worlds before the grid, shared training runs as part of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...config import resolve
from ...data.world.config import WorldConfig
from ...data.world.there import world_to_make
from ...errors import LabError
from .form import Point, Study, World


def worlds_of(study: Study, points: Sequence[Point]) -> dict[str, World]:
    """Every world that the points or the study name, by folder."""
    named: dict[str, World] = {}
    for data in (p.config.data for p in points if not p.config.data.train):
        world = World(data.world_preset, data.world_settings)
        if (other := named.setdefault(data.world, world)) != world:
            raise LabError(f"data.world: {data.world} is to be made with the settings {list(other.settings)} and "
                           f"with {list(world.settings)}; name two folders")
    return named | study.worlds


def missing_worlds(study: Study, points: Sequence[Point]) -> dict[str, WorldConfig]:
    """Those that are still to be made, with their settings read, so that a wrong one is an error at once."""
    worlds = worlds_of(study, points).items()
    configs = {folder: world_to_make(folder, world.preset, world.settings) for folder, world in worlds}
    return {folder: config for folder, config in configs.items() if config is not None}


def make_worlds(missing: dict[str, WorldConfig]) -> None:
    """In this process; another process that needs the same world waits for it."""
    from ...data.world.make import make_world

    for folder, config in missing.items():
        print(f"making the world {folder} ({config.videos} videos) ...")
        make_world(resolve(folder), config)


def shared_folder(out: Path, name: str, run_id: str) -> Path:
    """Where the training run behind `@name` is; all studies of `out` have it in common, whatever they call it."""
    return next(out.glob(f"shared/*-{run_id}"), out / "shared" / f"{name}-{run_id}")
