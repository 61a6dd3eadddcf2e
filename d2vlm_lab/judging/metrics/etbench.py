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
# groups of columns that are averaged into one
MERGED = (("Acc", ("rar", "eca", "rvq"), "Acc"), ("F1", ("tvg", "epm", "tal", "evs", "vhd"), "F1"),
          ("F1", ("dvc", "slc"), "F1"), ("SentSim", ("dvc", "slc"), "SentSim"), ("Rec", ("tem", "gvq"), "mRec"))
TASKS = tuple(dict.fromkeys(task for _, task, _ in COLUMNS))


@dataclass
class Scores:
    """Rows per task and source, averages over each task's sources, and which answers could not be read."""

    protocol: str
    rows: list[Row]
    averages: dict[str, float | None]
    merged: dict[str, float | None]
    notes: list[str]
    evidence_averages: list[float] | None = None

    @property
    def collected(self) -> dict[str, dict[str, dict]]:
        found: dict[str, dict[str, dict]] = {}
        for row in self.rows:
            found.setdefault(row.task, {})[row.source] = row.values
        return found

    @property
    def unparsed(self) -> dict[str, dict[str, list]]:
        """Ids of the answers that could not be read, by task and source; tasks where all could are left out."""
        found: dict[str, dict[str, list]] = {}
        for row in self.rows:
            if row.unparsed:
                found.setdefault(row.task, {})[row.source] = row.unparsed
        return found

    def to_json(self) -> dict:
        """As the official scripts record it; NaN is written as a string."""
        result = {"protocol": self.protocol, "collected": self.collected, "task_averages": self.averages,
                  "merged": self.merged, "unparsed": self.unparsed,
                  "fallback_similarity_decisions": sum(row.compared for row in self.rows), "notes": self.notes}
        if self.evidence_averages is not None:
            result["met_evi"] = self.evidence_averages
        return _spell_nan(result)


def score_etbench(records: Sequence[dict], protocol: str = "clean", sentence_model: SentenceModel | str | None = None,
                  captions: bool = True) -> Scores:
    """Score answered annotations (`records.py` checks them). Without a sentence model its columns stay empty."""
    if protocol not in PROTOCOLS:
        raise LabError(f"no protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")
    p = PROTOCOLS[protocol]
    similar = SentenceModel(sentence_model) if isinstance(sentence_model, str) else sentence_model
    groups: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        groups.setdefault((record["task"], record["source"]), []).append(record)
    if captions and not caption_metrics.unavailable() and any(task in ("dvc", "slc") for task, _ in groups):
        caption_metrics.meteor()  # starts while the other tasks are scored
    captions_last = sorted(groups, key=lambda key: key[0] in ("dvc", "slc"))
    rows = {key: _score(groups[key], p, similar, captions) for key in captions_last}
    return _assemble(p, [rows[key] for key in groups])


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
        row.values = {name: _rounded(value, p.digits) for name, value in row.values.items()}
    scores = Scores(p.name, rows, {}, {}, list(dict.fromkeys(f"{row.task} {row.source}: {note}"
                                                             for row in rows for note in row.notes)))
    found = scores.collected
    for column, task, name in COLUMNS:
        if task in found:
            scores.averages[column] = _mean([row[name] for row in found[task].values()], p.digits)
    for label, tasks, name in MERGED:
        columns = [scores.averages[column] for column, task, score in COLUMNS
                   if task in tasks and score == name and column in scores.averages]
        if columns:
            scores.merged[f"{' '.join(tasks).upper()} ({label})"] = _mean(columns, p.digits)
    if p.matched_columns:
        scores.evidence_averages = quirks.evidence_averages(found)
    return scores


def _mean(values: Sequence[float | None], digits: int | None) -> float | None:
    """One empty value makes the mean empty: an average over what happens to be there would mislead."""
    return None if any(value is None for value in values) else _rounded(sum(values) / len(values), digits)


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
