"""Does a world exist already, and is it the world that is wanted?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...config import Data, resolve
from ...errors import LabError
from ...reader import read_json
from ...settings import from_dict, to_dict
from .config import WorldConfig, from_preset
from .world import WorldCard


def world_to_make(folder: str, preset: str, settings: Sequence[str]) -> WorldConfig | None:
    """None if the world exists already. Its settings need not be given then, but given settings must be its own."""
    path, config = resolve(folder), from_preset(preset, settings)
    if path.exists() and not path.is_dir():
        raise LabError(f"data.world: {folder} is no folder")
    if (path / "world.json").exists() and not settings and preset == Data.world_preset:
        return None
    return None if is_made(path, config) else config


def is_made(out: Path, config: WorldConfig, overwrite: bool = False) -> bool:
    """Whether exactly this world exists already; an error if something else is in its place."""
    card = out / "world.json"
    if not card.is_file():
        if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
            raise LabError(f"{out} exists and is not a world; choose another folder")
        return False
    if overwrite:
        return False
    made = to_dict(from_dict(WorldConfig, read_json(card, WorldCard)["config"]))
    if other := [f"{knob} is {made[knob]}, not {value}" for knob, value in to_dict(config).items()
                 if made[knob] != value]:
        raise LabError(f"{out} holds a world made with other settings ({', '.join(other[:3])}); choose another folder, "
                       "or make the world again with `d2vlm-lab make-world --overwrite`")
    return True
