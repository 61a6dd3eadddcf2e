"""What a run is: the hashes of everything that its numbers depend on, and in words what differs from another run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ...config import RunConfig, resolve
from ...data.world.world import TEXTS
from ...errors import LabError
from ...files import file_hash
from ...hub import fetched
from ...reader import read_json
from ...settings import flatten
from .form import Point
from .parameters import notebook_cells

PACKAGE = Path(__file__).resolve().parents[2]
# Code that displays or orchestrates: editing it cannot change a number of a run. Everything else can.
NO_EFFECT = ("cli.py", "lab/study", "lab/report", "lab/plots", "lab/show", "lab/ask.py", "lab/demo.py",
             "lab/gallery.py", "lab/lesson.py", "lab/teaching", "lab/classroom", "lab/run_files.py", "lab/commands",
             "lab/annotate", "lab/app", "lab/harness", "lab/rehearsal", "hub.py", "model/card.py", "model/sharing.py")
# As in model/seal.py, which would import torch only to plan a study.
ABOUT = "d2vlm.json"
BESIDE_WEIGHTS = (ABOUT, "config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
                  "tokenizer.model", "vocab.json", "merges.txt")


class Card(TypedDict):
    """`world.json`: among others, a hash of the videos of a world."""

    videos: str


class Description(TypedDict):
    """`d2vlm.json`: the description beside a checkpoint's weights."""

    base: str


def digest(value) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def library() -> dict[str, str]:
    """File -> hash, for the files of this package that can change a number of a run."""
    files = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {name: _short_hash(path) for name, path in files.items()
            if not any(name == quiet or name.startswith(f"{quiet}/") for quiet in NO_EFFECT)}


def hashes_of(point: Point, notebook: str, shared: dict[str, str]) -> dict:
    """All hashes of a run; `notebook` is that of its notebook, `shared` has the ids of the work it starts from."""
    return {"notebook": notebook, "library": library(), "settings": digest([flatten(point.config), point.extras]),
            "data": fingerprint(point), "shared": shared}


def run_id(hashes: dict) -> str:
    return digest(hashes)[:12]


def notebook_hash(path: Path) -> str:
    """A hash of the text and the tags of its cells; outputs and other metadata do not count."""
    return digest([[cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", [])]
                   for cell in notebook_cells(path)])


def fingerprint(point: Point, cwd: Path = Path()) -> dict[str, str]:
    """Setting -> hash of the content that it names; `cwd` is the folder that `ablate` was called in."""
    config, hashes = point.config, {}
    named = {"parts.start": config.parts.start, "parts.language": config.parts.language,
             "parts.frames": config.parts.frames, "preference.file": config.preference.file,
             "reward.file": config.reward.file, **_data(config),
             **{f"notebook.{key}": value for key, value in point.extras.items() if isinstance(value, str)}}
    for name, value in named.items():
        if value and not value.startswith("@"):
            here = cwd / value
            path = here if os.path.exists(here) else fetched(value) if name == "parts.start" else resolve(value)
            if path.exists():
                hashes[name] = content(path)
    return hashes


def content(path: Path, above: tuple[Path, ...] = ()) -> str:
    """A hash of a file, a world, a checkpoint with its base (or that of a run), or the names and sizes in a folder.

    `above` are the checkpoints whose base this one is.
    """
    if (card := path / "world.json").is_file():
        return digest([*_hashes(path, TEXTS), read_json(card, Card)["videos"]])
    if not path.is_dir():
        return _short_hash(path)
    path = next((place for inside in ("", "model", "training/model") if (place := path / inside / ABOUT).is_file()),
                path / ABOUT).parent
    if path in above:
        raise LabError(f"{path}: the base of this checkpoint leads back to itself")
    if weights := sorted(path.rglob("*.safetensors")):
        base = read_json(path / ABOUT, Description)["base"] if (path / ABOUT).is_file() else ""
        below = content(resolve(base), (*above, path)) if base and resolve(base).exists() else base
        return digest([*map(_short_hash, weights), *_hashes(path, BESIDE_WEIGHTS), below])
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest([[file.relative_to(path).as_posix(), file.stat().st_size] for file in files])


def _hashes(folder: Path, names: Sequence[str]) -> list[str]:
    return [_short_hash(file) for name in names if (file := folder / name).is_file()]


def differences(old: dict, new: dict) -> str:
    """What makes a run another one than an earlier one, in words; both are records as in `point.json`."""
    was, now = old["hashes"], new["hashes"]
    words = ["notebook changed"] if was["notebook"] != now["notebook"] else []
    before, after = old["settings"] | old["extras"], new["settings"] | new["extras"]
    changed = [key for key in sorted({**before, **after}) if before.get(key) != after.get(key)]
    words += [f"{key} was {before.get(key)!r}, is {after.get(key)!r}" for key in changed[:3]]
    words += [f"{len(changed) - 3} more settings"] if len(changed) > 3 else []
    for kind in ("library", "data", "shared"):
        names = [n for n in sorted({**was[kind], **now[kind]}) if was[kind].get(n) != now[kind].get(n)]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        words += [f"{kind} changed: {', '.join(names[:4])}{more}"] if names else []
    return "; ".join(words)


def _data(config: RunConfig) -> dict[str, str]:
    data = config.data
    if data.train:
        return {"data.train": data.train, "data.val": data.val, "data.videos": data.videos}
    return {"data.world": data.world}


def _short_hash(path: Path) -> str:
    return file_hash(path)[:16]
