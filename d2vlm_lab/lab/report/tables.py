"""Runs as tables: one number a row, means over seeds, differences to the reference with the seeds paired.

Intervals are Student's t at 95 %, over seeds. One seed has none. They are not corrected for how many are compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...errors import LabError
from ...files import atomic_path
from ..plots.curves import seed_interval
from .labels import label
from .read import Results

DEMONSTRATION = "one seed: a demonstration"
INTERVAL = "95 % interval over seeds by Student's t"
RUNS, MEANS, DIFFERENCES, STUDY = "runs.csv", "means.csv", "differences.csv", "study.json"


@dataclass(frozen=True)
class Tables:
    """All numbers of a study, made from its runs or read from a report that was made before."""

    study: dict
    runs: pd.DataFrame  # one row for each number of each finished run
    means: pd.DataFrame
    differences: pd.DataFrame

    @property
    def variants(self) -> list[str]:
        """Those with numbers, in the order of the study."""
        have = set(self.runs.variant)
        return [name for name in self.study["variants"] if name in have]

    @property
    def compared(self) -> list[str]:
        return [name for name in self.variants if name != self.study["reference"]]

    @property
    def metrics(self) -> list[str]:
        """Those of the study that some run has."""
        have = set(self.runs.metric)
        return [name for name in self.study["metrics"] if name in have]

    @property
    def seeds(self) -> list[int]:
        return sorted(set(self.runs.seed))


def make_tables(results: Results) -> Tables:
    runs = tidy(results)
    return Tables(results.study, runs, means(runs, results.study), differences(runs, results.study))


def read_tables(folder: Path) -> Tables | None:
    """What `write_tables` left; None where nothing is."""
    if not (folder / STUDY).is_file():
        return None
    try:
        study = json.loads((folder / STUDY).read_text(encoding="utf-8"))
        text = {"seeds": str, "runs": str, "run": str}
        return Tables(study, *(pd.read_csv(folder / name, dtype=text) for name in (RUNS, MEANS, DIFFERENCES)))
    except (OSError, ValueError) as error:
        raise LabError(f"{folder} holds no whole report ({error}); make it again with `d2vlm-lab report`") from None


def find_tables(name: str, folders: Sequence[str | Path]) -> Tables | None:
    """A study's tables from the first of some folders of reports that has them."""
    return next((tables for folder in folders if (tables := read_tables(Path(folder) / name))), None)


def write_tables(tables: Tables, out: Path) -> None:
    for name, table in ((RUNS, tables.runs), (MEANS, tables.means), (DIFFERENCES, tables.differences)):
        with atomic_path(out / name) as partial:
            table.to_csv(partial, index=False)
    with atomic_path(out / "runs.parquet") as partial:
        tables.runs.to_parquet(partial, index=False)
    with atomic_path(out / STUDY) as partial:
        partial.write_text(json.dumps(tables.study, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def tidy(results: Results) -> pd.DataFrame:
    """One row for each number of each finished run."""
    rows = [{"study": results.name, "profile": results.study.get("profile", ""), "variant": run.variant,
             "seed": run.seed, "run": run.id, "metric": metric, "value": value}
            for run in results.done for metric, value in run.metrics.items()]
    table = pd.DataFrame(rows, columns=["study", "profile", "variant", "seed", "run", "metric", "value"])
    return table.astype({"seed": int, "value": float})


def means(runs: pd.DataFrame, study: dict) -> pd.DataFrame:
    """For each metric and variant the mean over seeds, with its interval where there is more than one."""
    rows = []
    for metric in study["metrics"]:
        for variant in study["variants"]:
            mine = runs[(runs.metric == metric) & (runs.variant == variant)].sort_values("seed")
            if len(mine):
                rows.append({"metric": metric, "variant": variant, **_interval(mine.value),
                             "seeds": _words(mine.seed), "runs": _words(mine.run)})
    return pd.DataFrame(rows, columns=["metric", "variant", "n", "mean", "low", "high", "interval", "seeds", "runs"])


def differences(runs: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Variant minus what it is compared with, seed by seed, then the mean of that; only seeds that both have."""
    rows = []
    for metric in study["metrics"]:
        wide = runs[runs.metric == metric].pivot_table(index="seed", columns="variant", values="value")
        for variant in study["variants"]:
            reference = compared_with(study, variant)
            if variant == reference or variant not in wide or reference not in wide:
                continue
            if len(gain := (wide[variant] - wide[reference]).dropna()):
                rows.append({"metric": metric, "variant": variant, "reference": reference, **_interval(gain),
                             "seeds": _words(gain.index)})
    return pd.DataFrame(rows, columns=["metric", "variant", "reference", "n", "mean", "low", "high", "interval",
                                       "seeds"])


def compared_with(study: dict, variant: str) -> str:
    return study.get("against", {}).get(variant, study["reference"])


def versus(study: dict, variant: str) -> str:
    """The variant's name, and what it is compared with where that is not the study's reference."""
    other = compared_with(study, variant)
    return variant if other == study["reference"] else f"{variant} against {other}"


def conclusion(tables: Tables, metric: str) -> str:
    """One sentence from the table of differences: what is above, what below, what cannot be told apart."""
    mine = tables.differences[tables.differences.metric == metric]
    if mine.empty:
        return f"{_sentence(label(metric))}: there is nothing to compare with {tables.study['reference']} yet."
    where = f"{_sentence(label(metric))}, against {tables.study['reference']}"
    if mine.n.max() < 2:
        told = ", ".join(f"{versus(tables.study, row.variant)} {signed(row.mean)}" for row in _rows(mine))
        return f"{where}: {told}. This is {DEMONSTRATION}; another one may differ by more."
    groups: dict[str, list] = {"above": [], "below": [], "not told apart": [], DEMONSTRATION: []}
    for row in _rows(mine):
        groups[DEMONSTRATION if row.n < 2 else "above" if row.low > 0 else "below" if row.high < 0 else
               "not told apart"].append(row)
    parts = [f"{side}: {_listed(tables.study, rows)}" for side, rows in groups.items() if rows]
    return f"{where}, {int(mine.n.max())} paired seeds: {'; '.join(parts)}."


def _listed(study: dict, rows: Sequence, in_full: int = 8) -> str:
    """Names with differences and intervals; of many only the names, and between what their differences lie."""
    if len(rows) > in_full:
        means = [row.mean for row in rows]
        return f"{', '.join(versus(study, row.variant) for row in rows)} ({signed(min(means))} to {signed(max(means))})"
    return ", ".join(f"{versus(study, row.variant)} ({signed(row.mean)}"
                     + (f"; {signed(row.low)} to {signed(row.high)})" if row.n > 1 else ")") for row in rows)


def told(tables: Tables | None, metrics: Sequence[str], name: str) -> str:
    """The sentences of some metrics, one a line; without results, how to get them."""
    if tables is None:
        return (f"There are no results of `{name}` yet, so nothing is claimed. `d2vlm-lab ablate {name}` makes a "
                "demonstration with one seed, `--profile full` the whole study; then run this page again.")
    return "\n".join(conclusion(tables, metric) for metric in metrics if metric in tables.metrics)


def costs(results: Results) -> pd.DataFrame:
    """What each variant took, mean over seeds; shared work has rows of its own."""
    names = ("training_seconds", "training_cpu_seconds", "seconds", "cpu_seconds", "memory_mb", "gpu_memory_mb")
    rows = [{"variant": run.variant, "runs": 1, "whole run (s)": run.state.get("seconds", math.nan),
             **{str(label(name)): run.metrics[name] for name in names if name in run.metrics}}
            for run in (*results.shared, *results.runs) if run.done]
    if not rows:
        return pd.DataFrame(columns=["variant", "runs", "whole run (s)"])
    groups = pd.DataFrame(rows).groupby("variant", sort=False)
    return groups.mean().assign(runs=groups.size()).reset_index()


def held_fixed(study: dict) -> dict:
    """Preset and settings that all variants of the profile have in common."""
    return {"preset": study["preset"], **study["base"], **_profile(study).get("base", {})}


def shared_work(study: dict) -> dict[str, dict]:
    """Preset and settings of the checkpoints that variants started from, by their names with @."""
    used, more = {run["variant"] for run in study["shared_runs"]}, _profile(study).get("shared", {})
    return {f"@{name}": {"preset": work["preset"] or study["preset"], **work["overrides"], **more.get(name, {})}
            for name, work in study["shared"].items() if f"@{name}" in used}


def with_half(row) -> str:
    """A mean, and half of its interval where it has one."""
    return plain(row["mean"]) + (f" ± {plain(row['high'] - row['mean'])}" if row["n"] > 1 else "")


def signed(value: float) -> str:
    """A difference as text: three digits, its sign always there."""
    return f"{value:+.3f}" if abs(value) < 10 else f"{value:+.0f}"


def plain(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.3f}" if abs(value) < 10 and not isinstance(value, int) else f"{value:,.0f}"


def _interval(values: pd.Series) -> dict:
    mean, half = seed_interval(list(values))
    return {"n": len(values), "mean": mean, "low": mean - half, "high": mean + half,
            "interval": INTERVAL if len(values) > 1 else DEMONSTRATION}


def _profile(study: dict) -> dict:
    return study["profiles"].get(study.get("profile", ""), {})


def _rows(table: pd.DataFrame):
    return table.itertuples(index=False)


def _sentence(text) -> str:
    return str(text)[:1].upper() + str(text)[1:]


def _words(values) -> str:
    return " ".join(map(str, values))
