"""A study's folder as it lies on disk: which run is which point of the grid, how it went, what it left."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ...config import ROOT
from ...errors import LabError

KEPT = ROOT / "experiments" / "results"
STUDY, NUMBERS = "study.json", "runs.csv"


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
        if self.state.get("status") == "failed":
            return self.state.get("error", "failed without an error message")
        return {"running": "running, or interrupted", "missing": "its numbers were not kept"}.get(
            self.state.get("status"), "not run yet")

    @property
    def notebook(self) -> Path | None:
        path = self.folder / "notebook.ipynb"
        return path if path.is_file() else None

    @cached_property
    def environment(self) -> dict:
        return _json(self.folder / "environment.json")

    @cached_property
    def history(self) -> list[dict]:
        return _lines(self.folder / "history.jsonl")

    @cached_property
    def predictions(self) -> list[dict]:
        return _lines(self.folder / "predictions.jsonl")


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
    study = _json(folder / STUDY)
    if not study:
        raise LabError(f"{folder} holds no study (no {STUDY}); run `d2vlm-lab ablate` first")
    kept = _numbers(folder / NUMBERS) if (folder / NUMBERS).is_file() else None
    try:
        runs, shared = (tuple(_run(folder, entry, kept) for entry in study[kind]) for kind in ("runs", "shared_runs"))
    except KeyError as error:
        raise LabError(f"{folder / STUDY}: {error} is missing") from None
    return Results(folder, study, runs, shared)


def _run(folder: Path, entry: dict, kept: dict[str, dict] | None) -> Run:
    place = folder / entry["folder"]
    if kept is None:
        state = _json(place / "state.json")
        metrics = _json(place / "metrics.json") if state.get("status") == "done" else {}
        metrics = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    else:
        metrics = kept.get(entry["id"], {})
        is_shared = entry["variant"].startswith("@")  # its numbers are not kept, but what started from it is there
        state = {"status": "done" if metrics or is_shared else "missing"}
    return Run(entry["id"], entry["variant"], entry["seed"], place, state, metrics)


def _numbers(path: Path) -> dict[str, dict]:
    """Id of a run -> its metrics."""
    import pandas as pd  # late: whoever looks for a folder, or reads one with runs, has no need of it

    try:
        table = pd.read_csv(path, dtype={"run": str, "metric": str, "value": float}, keep_default_na=False,
                            na_values={"value": [""]})
        return {run: dict(zip(rows.metric, rows.value)) for run, rows in table.groupby("run")}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise LabError(f"{path} is damaged ({error}); make it again with `d2vlm-lab report`") from None


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise LabError(f"{path}: not JSON ({error})") from None


def _lines(path: Path) -> list[dict]:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines()]
