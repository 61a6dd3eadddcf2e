"""A study's folder as it lies on disk: which run is which point of the grid, how it went, what it left."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NotRequired, TypedDict

from ...config import ROOT
from ...errors import LabError
from ...reader import read_json, read_lines
from ...shapes import shown
from ..run_files import FOLDER, METRIC, read_metrics, read_record, read_state

KEPT = ROOT / "experiments" / "results"
STUDY, NUMBERS = "study.json", "runs.csv"
LARGEST = 1e300  # beyond it, sums and squares are no numbers any more


class Entry(TypedDict):
    """A run in `study.json`."""

    id: str
    variant: str
    seed: int
    folder: str


class Shared(TypedDict):
    preset: str
    overrides: dict[str, object]


class Profile(TypedDict, total=False):
    base: dict[str, object]
    shared: dict[str, dict[str, object]]


class Paper(TypedDict):
    metric: str
    variant: str
    value: float
    source: str


class Index(TypedDict):
    """`study.json`: a study as it was run."""

    name: str
    question: str
    hypothesis: str
    preset: str
    reference: str
    variants: dict[str, dict[str, object]]
    metrics: list[str]
    base: dict[str, object]
    profiles: dict[str, Profile]
    paper: list[Paper]
    shared: dict[str, Shared]
    runs: list[Entry]
    shared_runs: list[Entry]
    against: NotRequired[dict[str, str]]
    conditions: NotRequired[dict[str, dict[str, object]]]
    ideas: NotRequired[dict[str, tuple[str, str]]]
    profile: NotRequired[str]
    made_with: NotRequired[list[str]]  # in kept results: versions and commits, one text for each that differs


class Environment(TypedDict, total=False):
    python: str
    torch: str
    transformers: str
    host: str
    commit: str | None


class Step(TypedDict):
    """A line of `history.jsonl`."""

    step: int


class Prediction(TypedDict):
    """A line of `predictions.jsonl`."""

    sample: str
    task: str
    video: str
    question: str
    duration: float
    truth: str
    answer: str
    events: list[tuple[float, float]]
    intervals: list[tuple[float, float]]
    mIoU: float


@dataclass(frozen=True)
class Run:
    """One point of the grid, or shared work (its variant is then its @name)."""

    id: str
    variant: str
    seed: int
    folder: Path
    state: dict = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # empty unless done; numbers only

    @property
    def done(self) -> bool:
        return self.state.get("status") == "done"

    @property
    def problem(self) -> str:
        """Why there are no numbers; empty where there are."""
        if self.done:
            return ""
        if self.state.get("status") in ("failed", "damaged"):
            return self.state.get("error", "failed without an error message")
        return {"running": "running, or interrupted", "missing": "its numbers were not kept",
                "gone": "its folder is gone, so that the training time of what started from it is not known"}.get(
            self.state.get("status"), "not run yet")

    @property
    def notebook(self) -> Path | None:
        path = self.folder / "notebook.ipynb"
        return path if path.is_file() else None

    @cached_property
    def environment(self) -> dict:
        """Empty where it is not there or damaged: it explains numbers, and is none."""
        with suppress(LabError):
            return read_json(self.folder / "environment.json", Environment)
        return {}

    @cached_property
    def history(self) -> list[dict]:
        """The numbers of each line."""
        return [{name: value for name, value in line.items() if type(value) in (int, float) and abs(value) < LARGEST}
                for line in _lines(self.folder / "history.jsonl", Step)]

    @cached_property
    def predictions(self) -> list[dict]:
        return _lines(self.folder / "predictions.jsonl", Prediction)


@dataclass(frozen=True)
class Results:
    folder: Path
    study: dict  # as it was run: the experiment file with its defaults filled in
    runs: tuple[Run, ...]
    shared: tuple[Run, ...]

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.done]


def read_results(folder: Path) -> Results:
    """The study in `folder` as its last command planned it: from the folders of its runs, or from a report's table.

    A report that is kept has the numbers of all its runs in one file, and no run folders. Runs of earlier plans are
    left out.
    """
    if not (folder / STUDY).exists():
        raise LabError(f"{folder} holds no study (no {STUDY}); run `d2vlm-lab ablate` first")
    study = read_json(folder / STUDY, Index)
    check_places(folder, study)
    kept = _numbers(folder / NUMBERS) if (folder / NUMBERS).is_file() else None
    runs, shared = (tuple(_run(folder, entry, kept) for entry in study[kind]) for kind in ("runs", "shared_runs"))
    if kept is None and shared:
        shared = tuple(map(_with_training, shared))
        starts = {run.id: _started_from(run) for run in runs if run.done}
        used = set().union(*(ids or () for ids in starts.values()))
        shared = tuple(replace(work, state={"status": "gone"}) if work.id in used and not work.state else work
                       for work in shared)
        works = {work.id: work for work in shared}
        runs = tuple(_with_training_before(run, starts[run.id], works) if run.id in starts else run for run in runs)
    return Results(folder, study, runs, shared)


def check_places(folder: Path, study: Index) -> None:
    """Names that become files are plain, and runs lie beside the study."""
    def need(condition: bool, message: str) -> None:
        if not condition:
            raise LabError(f"{folder / STUDY}: {message}")

    need(bool(FOLDER.fullmatch(study["name"])), f"name: {shown(study['name'])} has to be a plain folder name")
    for i, metric in enumerate(study["metrics"]):
        need(bool(METRIC.fullmatch(metric)), f"metrics[{i}]: {shown(metric)} has to be a name of letters and digits")
    near = folder.parent.resolve()
    for kind in ("runs", "shared_runs"):
        for i, entry in enumerate(study[kind]):
            need(bool(FOLDER.fullmatch(entry["id"])), f"{kind}[{i}].id: {shown(entry['id'])} has to be a plain name")
            need(Path(os.path.realpath(folder / entry["folder"])).is_relative_to(near),
                 f"{kind}[{i}].folder: {shown(entry['folder'])} leads out of {near}")


def _run(folder: Path, entry: Entry, kept: dict[str, dict] | None) -> Run:
    place = folder / entry["folder"]
    if kept is not None:
        metrics = kept.get(entry["id"], {})
        is_shared = entry["variant"].startswith("@")  # its numbers are not kept, but what started from it is there
        state = {"status": "done" if metrics or is_shared else "missing"}
        return Run(entry["id"], entry["variant"], entry["seed"], place, state, metrics)
    state, metrics = read_state(place), {}
    if state.get("status") == "done":
        try:
            metrics = {name: float(value) for name, value in read_metrics(place).items()
                       if type(value) in (int, float) and METRIC.fullmatch(name) and abs(value) < LARGEST}
        except LabError as error:
            state = {"status": "damaged", "error": str(error).removeprefix(f"{place}/")}
    return Run(entry["id"], entry["variant"], entry["seed"], place, state, metrics)


def _with_training(work: Run) -> Run:
    """Shared work with the time of its training, which its history has at its end."""
    last = work.history[-1] if work.done and work.history else {}
    times = {f"training_{name}": last[name] for name in ("seconds", "cpu_seconds") if name in last}
    return replace(work, metrics=work.metrics | times)


def _started_from(run: Run) -> set[str] | None:
    """The ids of the shared work that a run starts from; None where its record cannot be read."""
    with suppress(LabError):
        return set(read_record(run.folder)["hashes"]["shared"].values())
    return None


def _with_training_before(run: Run, ids: set[str] | None, works: Mapping[str, Run]) -> Run:
    """A run whose training time includes that of the shared work that it starts from; `ids` as `_started_from` says.

    So a run that only scores shared work, one that trains it further and one that trains alone can be compared. Where
    a part of the time is not known, there is none.
    """
    if ids == set():
        return run
    before, metrics = [works[id].metrics if id in works else {} for id in ids or ()], dict(run.metrics)
    for name in ("training_seconds", "training_cpu_seconds"):
        own = metrics.pop(name, 0.0)
        if before and all(name in work for work in before):
            metrics[name] = own + sum(work[name] for work in before)
    return replace(run, metrics=metrics)


def _numbers(path: Path) -> dict[str, dict]:
    """Id of a run -> its metrics."""
    import pandas as pd  # late: whoever looks for a folder, or reads one with runs, has no need of it

    try:
        table = pd.read_csv(path, dtype={"run": str, "metric": str, "value": float}, keep_default_na=False,
                            na_values={"value": [""]})
        return {run: dict(zip(rows.metric, rows.value)) for run, rows in table.groupby("run")}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise LabError(f"{path} is damaged ({error}); make it again with `d2vlm-lab report`") from None


def _lines(path: Path, shape: type) -> list[dict]:
    """The lines of a file that have this shape; a damaged one, or a file that is not there, is no reason to stop."""
    with suppress(LabError):
        return [line for _, line in read_lines(path, shape, lambda *_: None)]
    return []
