"""A study's folder as it lies on disk: which run is which point, how it went, what it left."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ...errors import LabError


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
        status = self.state.get("status")
        return self.state.get("error", "failed without a word") if status == "failed" else (
            "running, or interrupted" if status else "not run yet")

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
    study: dict  # as it was run: the experiment file with its defaults filled in
    runs: tuple[Run, ...]
    shared: tuple[Run, ...]

    @property
    def name(self) -> str:
        return self.study["name"]

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.done]

    @property
    def variants(self) -> list[str]:
        """In the order of the study, those of this profile."""
        return list(dict.fromkeys(run.variant for run in sorted(self.runs, key=self._place)))

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    def _place(self, run: Run) -> int:
        names = list(self.study["variants"])
        return names.index(run.variant) if run.variant in names else len(names)


def read_results(folder: Path) -> Results:
    """The study in `folder` as its last command planned it; runs of earlier plans are left aside."""
    study = _json(folder / "study.json")
    if not study:
        raise LabError(f"{folder} holds no study (no study.json); run `d2vlm-lab ablate` first")
    try:
        runs, shared = ([_run(folder, entry) for entry in study[kind]] for kind in ("runs", "shared_runs"))
        return Results(study, tuple(runs), tuple(shared))
    except KeyError as error:
        raise LabError(f"{folder / 'study.json'}: {error} is missing") from None


def _run(folder: Path, entry: dict) -> Run:
    place = folder / entry["folder"]
    state = _json(place / "state.json")
    metrics = _json(place / "metrics.json") if state.get("status") == "done" else {}
    numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return Run(entry["id"], entry["variant"], entry["seed"], place, state, numbers)


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise LabError(f"{path}: not JSON ({error})") from None


def _lines(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
