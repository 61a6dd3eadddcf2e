"""Going on with an interrupted run: from its last whole checkpoint, and only if it is still the same run."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerCallback

from .. import processes
from ..config import RunConfig, recorded_config, resolve
from ..data.world.world import TEXTS
from ..errors import LabError
from ..files import file_hash, write_json
from ..model.card import recorded
from ..model.seal import base_hash
from ..reader import read_json
from ..settings import flatten

# Settings that change no number, so that a run may go on with another value.
FREE = {"training.workers", "training.report_to", "training.log_every", "training.save_every", "evaluation.batch",
        "data.bad_share", "data.reader", "data.videos"}


class Complete(TrainerCallback):
    """Puts an empty file into each checkpoint once it is whole; a killed run goes on from the last one that has it."""

    FILE = "complete"

    def on_save(self, args, state, control, **_):
        PartialState().wait_for_everyone()  # each process has a file in the checkpoint
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / self.FILE).touch()


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole. The first process removes the others."""
    whole = {}
    for path in folder.glob("checkpoint-*"):
        if (path / Complete.FILE).exists():
            whole[int(path.name.removeprefix("checkpoint-"))] = str(path)
        elif processes.number() == 0:
            shutil.rmtree(path)
    return whole[max(whole)] if whole else None


def differing(recorded: RunConfig, wanted: RunConfig) -> list[str]:
    """The settings that make two runs different ones."""
    recorded, wanted = flatten(recorded), flatten(wanted)
    return [name for name in wanted if recorded[name] != wanted[name] and name not in FREE]


def contents(config: RunConfig) -> dict[str, str]:
    """Setting -> hash of what it names: the data that a run reads, and the checkpoint from which it starts.

    What does not exist has no hash: training reports it with an error, and a run that is done no longer needs it.
    """
    data = config.data
    named = {"data.train": data.train, "data.val": data.val} if data.train else {
        "data.world": f"{data.world}/world.json", **{f"data.world/{name}": f"{data.world}/{name}" for name in TEXTS}}
    named |= {"preference.file": config.preference.file, "reward.file": config.reward.file}
    hashes = {name: file_hash(path) for name, value in named.items() if value and (path := resolve(value)).is_file()}
    with suppress(LabError):  # loading it will say what is wrong
        if start := base_hash(config.parts.start):  # loading and saving need the same hash, so it is computed once
            hashes["parts.start"] = start
    return hashes


def same_content(folder: Path, config: RunConfig, content: dict[str, str]) -> None:
    """An error if the run in the folder was trained on other content; older runs do not record their content."""
    begun = read_json(folder / "config.json", dict).get("content", {})
    if changed := [name for name in content if begun.get(name, content[name]) != content[name]]:
        named = flatten(config)
        places = ", ".join(f"{name} ({named[name]})" if name in named else name for name in changed)
        raise LabError(f"{folder} holds a run on another content of {places}, which has changed since; choose another "
                       "folder, or delete this one")


def same_settings(folder: Path, config: RunConfig) -> None:
    """An error for the folder of a run with other settings, or with another number of processes.

    Each process adds its own batch to a step; older runs do not record how many there were.
    """
    if not (path := folder / "config.json").exists():
        return
    if different := differing(recorded_config(path), config):
        raise LabError(f"{folder} holds a run with other settings ({', '.join(different)}); choose another folder, "
                       "or delete this one")
    if (begun := read_json(path, dict).get("processes", processes.total())) != processes.total():
        raise LabError(f"{folder} holds a run that began with another number of processes ({begun}, and now there "
                       f"are {processes.total()}); start it with as many as before, or choose another folder")


def same_run(folder: Path, config: RunConfig, content: dict[str, str] | None = None) -> None:
    """Leave the config in the folder, with the `content` of what it names; a folder of another run is an error.

    A run that has learned nothing yet begins anew, so it may read other content.
    """
    same_settings(folder, config)
    path, content = folder / "config.json", content or {}
    if path.exists() and last_checkpoint(folder / "checkpoints") is not None:
        return same_content(folder, config, content)
    if processes.number() == 0:
        write_json(path, recorded(config) | {"content": content})
