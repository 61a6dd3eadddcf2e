"""What a run of a study leaves in its folder, as other commands read it later: a damaged file is named."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from ..errors import LabError
from ..reader import read_json
from ..shapes import shown

POINT, STATE, METRICS = "point.json", "state.json", "metrics.json"
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,99}")  # names that become folders and files
METRIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}")  # names of numbers and of their figures


class State(TypedDict):
    """`state.json`: how a run went."""

    status: Literal["running", "done", "failed", "damaged"]
    error: NotRequired[str]
    killed: NotRequired[bool]
    attempts: NotRequired[int]
    started: NotRequired[float]
    seconds: NotRequired[float]
    process: NotRequired[int]


class Hashes(TypedDict):
    notebook: str
    settings: str
    library: dict[str, str]
    data: dict[str, str]
    shared: dict[str, str]


class RunRecord(TypedDict):
    """`point.json`: what a run is."""

    id: str
    kind: str
    study: str
    variant: str
    seed: int
    profile: str
    settings: dict[str, object]
    extras: dict[str, object]
    hashes: Hashes


def read_metrics(folder: Path) -> dict:
    """What the notebook of a run left: name -> number or text, and at least one."""
    if not os.path.lexists(folder / METRICS):
        raise LabError(f"the run ended without {METRICS} in its folder")
    metrics = read_json(folder / METRICS)
    if not isinstance(metrics, dict) or not metrics:
        raise LabError(f"{METRICS} has to be a mapping from names to numbers; it is {shown(metrics)}")
    return metrics


def read_state(folder: Path) -> State:
    """How the run in a folder went; empty where none was, and `damaged` where that cannot be read."""
    if not os.path.lexists(folder / STATE):
        return {}
    try:
        state = read_json(folder / STATE, State)
        if state["status"] == "done" and "seconds" not in state:
            raise LabError(f"{STATE}: seconds: the field is missing")
    except LabError as error:
        return {"status": "damaged", "error": str(error).removeprefix(f"{folder}/")}
    return state


def read_record(folder: Path) -> dict:
    """What the run in a folder is."""
    return read_json(folder / POINT, RunRecord)
