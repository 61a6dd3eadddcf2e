"""What ties a checkpoint to its own weights and to its base: hashes in its description, which loading compares."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..config import resolve
from ..errors import LabError
from ..files import file_hash
from ..hub import fetched, is_hub_id
from ..reader import read_json

WEIGHTS, TOKENIZER, DESCRIPTION = "model.safetensors", "tokenizer.json", "d2vlm.json"
REST, ADAPTER, LANGUAGE = "d2vlm.safetensors", "adapter_model.safetensors", f"language/{WEIGHTS}"  # see weights.py
SEALED = (WEIGHTS, REST, ADAPTER, LANGUAGE, TOKENIZER)
HEX = 64  # digits of one hash
CHAIN = 8  # most checkpoints in a chain: one may have a base, which has another base, and so on
OF_A_BASE = ("language", "frames", "adapter")  # what a checkpoint takes from its base besides weights and tokenizer
TOOLS = ("config.json", TOKENIZER, "preprocessor_config.json")  # likewise, if a base is not of this project


def weight_files(folder: Path) -> list[Path]:
    """The files with weights in a checkpoint."""
    return [folder / name for name in (WEIGHTS, REST, ADAPTER, LANGUAGE) if (folder / name).exists()]


def own_hashes(folder: Path) -> dict[str, str]:
    """Hashes of the files in a checkpoint that decide what it answers."""
    return {name: file_hash(folder / name) for name in SEALED if (folder / name).is_file()}


def base_hash(base: str, above: tuple[Path, ...] = ()) -> str:
    """A hash of everything that a checkpoint takes from its base; empty if the base is not a folder here."""
    folder = find_checkpoint(base) if base else Path()
    if not base or not os.path.isdir(folder):
        return ""
    check_chain(folder, above)
    if (folder / DESCRIPTION).is_file():
        description = read_json(folder / DESCRIPTION, dict)
        parts = [{name: description.get(name) for name in OF_A_BASE},
                 base_hash(base_of(description), (*above, folder))]
        files = [*weight_files(folder), folder / TOKENIZER]
    else:
        parts, files = [], [*sorted(folder.glob("*.safetensors")), *(folder / name for name in TOOLS)]
    parts += [[file.name, file_hash(file)] for file in files if file.is_file()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def base_of(description: dict) -> str:
    """The base of a checkpoint; in the middle of a run that began without one, the language model of its parts."""
    begun = description.get("begun")
    return str((begun["parts"].get("language") if begun else description.get("base")) or "")


def check_chain(folder: Path, above: tuple[Path, ...]) -> None:
    """An error if a checkpoint is its own base, directly or through the base of its base."""
    if folder.resolve() in [each.resolve() for each in above]:
        raise LabError(f"{above[-1] / DESCRIPTION}: base: {folder} leads back to this checkpoint itself; give the "
                       "checkpoint that it was trained from")
    if len(above) >= CHAIN:
        raise LabError(f"{above[-1] / DESCRIPTION}: base: more than {CHAIN} checkpoints, each the base of the next one")


def check_seal(folder: Path, description: dict) -> None:
    """An error if the weights or the base are not those with which the checkpoint was saved.

    Older checkpoints have no hashes, so nothing is compared.
    """
    for name, sealed in description.get("hashes", {}).items():
        if name in SEALED and (not (folder / name).is_file() or file_hash(folder / name) != sealed):
            raise LabError(f"{folder / name}: not the file that {DESCRIPTION} beside it describes; it was damaged or "
                           "replaced, so copy the checkpoint again")
    base, sealed = base_of(description), description.get("base_hash")
    if sealed and (found := base_hash(base, (folder,))) and found != sealed:
        place, advice = (base, "name its revision after an @") if is_hub_id(base) else (
            resolve(base), "put the right base there")
        raise LabError(f"{folder / DESCRIPTION}: base: {place} is not the base that this checkpoint was trained from "
                       f"(its hash is {found[:12]}, and {sealed[:12]} is needed); {advice}")


def checkpoint_id(folder: str | os.PathLike) -> str:
    """A short hash of the weights and of the base on which they stand, for the protocol beside a score."""
    folder = find_checkpoint(folder)
    weights = "".join(_plain_hash(file) for file in weight_files(folder) or [folder / WEIGHTS])
    below = base_hash(base_of(read_json(folder / DESCRIPTION, dict)), (folder,))
    return (hashlib.sha256((weights + below).encode()).hexdigest() if len(weights + below) > HEX else weights)[:12]


def _plain_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_checkpoint(source: str | os.PathLike, revision: str | None = None) -> Path:
    """The folder of a checkpoint, which may be a hub id, or the only checkpoint in the folder of a run."""
    folder = fetched(os.fspath(source), revision)
    if not os.path.isdir(folder) or (folder / DESCRIPTION).is_file():
        return folder
    inside = list(_inside(folder))
    if len(inside) > 1:
        raise LabError(f"{folder} holds several checkpoints; give one of them: {', '.join(map(str, inside[:5]))}"
                       + (", ..." if len(inside) > 5 else ""))
    return inside[0] if inside else folder


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that left a checkpoint: at its end, or in `checkpoints/` while it was under way."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder.name == "checkpoints" else folder


def _inside(folder: Path) -> Iterator[Path]:
    """The places in which runs and studies keep the checkpoints that they have trained."""
    for pattern in ("model", "training/model", "*", "*/model", "*/training/model"):
        if found := sorted(path.parent for path in folder.glob(f"{pattern}/{DESCRIPTION}")):
            yield from found
            return
