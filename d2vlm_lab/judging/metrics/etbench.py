"""E.T. Bench: answers to twelve tasks in, one table of scores out, under one of five named protocols."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import LabError
from . import captions as caption_metrics
from . import quirks
from .describing import describe
from .protocols import PROTOCOLS, Protocol
from .sentences import SentenceModel
from .tasks import Row, all_moments, choice, choice_and_moment, highlight, one_moment, summary

# (column, task, score) in the official order
COLUMNS = (("RAR (Acc)", "rar", "Acc"), ("EVC (Acc)", "eca", "Acc"), ("RVQ (Acc)", "rvq", "Acc"),
           ("TVG (F1)", "tvg", "F1"), ("EPM (F1)", "epm", "F1"), ("TAL (F1)", "tal", "F1"),
           ("EVS (F1)", "evs", "F1"), ("VHD (F1)", "vhd", "F1"), ("DVC (F1)", "dvc", "F1"),
           ("DVC (Sim)", "dvc", "SentSim"), ("SLC (F1)", "slc", "F1"), ("SLC (Sim)", "slc", "SentSim"),
           ("TEM (Rec)", "tem", "mRec"), ("GVQ (Rec)", "gvq", "mRec"))
# (name, tasks, score) of columns that are averaged into one
MERGED = (("RAR ECA RVQ (Acc)", ("rar", "eca", "rvq"), "Acc"),
          ("TVG EPM TAL EVS VHD (F1)", ("tvg", "epm", "tal", "evs", "vhd"), "F1"),
          ("DVC SLC (F1)", ("dvc", "slc"), "F1"), ("DVC SLC (SentSim)", ("dvc", "slc"), "SentSim"),
          ("TEM GVQ (Rec)", ("tem", "gvq"), "mRec"))
TASKS = tuple(dict.fromkeys(task for _, task, _ in COLUMNS))
Averages = dict[str, float | None]


@dataclass
class Scores:
    """Rows per task and source, averages over each task's sources, and which answers could not be read."""

    protocol: str
    rows: list[Row]
    averages: Averages
    merged: Averages
    notes: list[str]
    evidence_averages: list[float | None] | None = None

    @property
    def collected(self) -> dict[str, dict[str, dict]]:
        return _by_task_and_source(self.rows, "values")

    @property
    def unparsed(self) -> dict[str, dict[str, list]]:
        """Ids of the answers that could not be read, by task and source; tasks without any are left out."""
        return _by_task_and_source([row for row in self.rows if row.unparsed], "unparsed")

    def to_json(self) -> dict:
        """The scores as the official scripts record them; NaN is written as a string."""
        result = {"protocol": self.protocol, "collected": self.collected, "task_averages": self.averages,
                  "merged": self.merged, "unparsed": self.unparsed,
                  "fallback_similarity_decisions": sum(row.compared for row in self.rows), "notes": self.notes}
        if self.evidence_averages is not None:
            result["met_evi"] = self.evidence_averages
        return _spell_nan(result)


def score_etbench(records: Sequence[dict], protocol: str = "clean", similar: SentenceModel | None = None,
                  captions: bool = True) -> Scores:
    """Scores of answered annotations (`records.py` checks them). Without a sentence model its columns stay empty."""
    if protocol not in PROTOCOLS:
        raise LabError(f"no protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")
    p = PROTOCOLS[protocol]
    groups: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        groups.setdefault((record["task"], record["source"]), []).append(record)
    if captions and not caption_metrics.unavailable() and any(task in ("dvc", "slc") for task, _ in groups):
        caption_metrics.meteor()  # METEOR starts while the other tasks are scored
    captions_last = sorted(groups, key=lambda group: group[0] in ("dvc", "slc"))
    rows = {group: _score(groups[group], p, similar, captions) for group in captions_last}
    return _assemble(p, [rows[group] for group in groups])


def _score(samples: list[dict], p: Protocol, similar: SentenceModel | None, captions: bool) -> Row:
    task = samples[0]["task"]
    if task in ("rar", "eca", "rvq"):
        return choice(samples, p, similar)
    if task in ("tvg", "epm"):
        return one_moment(samples, p, best=p.best_of_all)
    if task == "tem":
        return one_moment(samples, p, "R", "mRec")
    if task == "gvq":
        return choice_and_moment(samples, p, similar)
    if task in ("dvc", "slc"):
        return describe(samples, p, similar, captions)
    return {"tal": all_moments, "evs": summary, "vhd": highlight}[task](samples, p)


def _assemble(p: Protocol, rows: list[Row]) -> Scores:
    for row in rows:
        row.values = {name: _rounded(value, p.digits) for name, value in row.values.items()
                      if p.evidence or "_evi" not in name}
    collected = _by_task_and_source(rows, "values")
    averages = {column: _mean([values[name] for values in collected[task].values()], p.digits)
                for column, task, name in COLUMNS if task in collected}
    merged = {}
    for label, tasks, name in MERGED:
        columns = [column for column, task, score in COLUMNS if task in tasks and score == name and column in averages]
        if columns:
            merged[label] = _mean([averages[column] for column in columns], p.digits)
    notes = dict.fromkeys(f"{row.task} {row.source}: {note}" for row in rows for note in row.notes)
    return Scores(p.name, rows, averages, merged, list(notes),
                  quirks.evidence_averages(collected) if p.matched_columns else None)


def _by_task_and_source(rows: Sequence[Row], name: str) -> dict[str, dict]:
    nested: dict[str, dict] = {}
    for row in rows:
        nested.setdefault(row.task, {})[row.source] = getattr(row, name)
    return nested


def _mean(values: Sequence[float | None], digits: int | None) -> float | None:
    """The mean; one empty value makes it empty, because an average over the other values would mislead."""
    return None if None in values else _rounded(sum(values) / len(values), digits)


def _rounded(value, digits: int | None):
    if value is None or isinstance(value, (int, np.integer)):
        return None if value is None else int(value)
    return float(value) if digits is None else round(float(value), digits)


def _spell_nan(value):
    if isinstance(value, dict):
        return {key: _spell_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spell_nan(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
