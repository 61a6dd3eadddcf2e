"""Runs as tables: one number a row, means over seeds, differences to the reference with the seeds paired.

Intervals are Student's t at 95 %, over seeds. One seed has none. They are not corrected for how many are compared.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from ...files import atomic_path, write_json
from ...judging.catalogue import CATALOGUE, REFUSALS
from ..plots import seed_interval
from .read import NUMBERS, STUDY, Results, read_results

DEMONSTRATION = "one seed: a demonstration"
INTERVAL = "95 % interval over seeds by Student's t"


@dataclass(frozen=True)
class Tables:
    """All numbers of a study."""

    study: dict
    runs: pd.DataFrame  # one row for each number of each finished run
    source: str = ""  # the folder that a notebook found them in

    @cached_property
    def variants(self) -> list[str]:
        """Those with numbers, in the order of the study."""
        there = set(self.runs.variant)
        return [name for name in self.study["variants"] if name in there]

    @property
    def compared(self) -> list[str]:
        return [name for name in self.variants if name != self.study["reference"]]

    @cached_property
    def metrics(self) -> list[str]:
        """Those of the study that some run has."""
        there = set(self.runs.metric)
        return [name for name in self.study["metrics"] if name in there]

    @property
    def seeds(self) -> list[int]:
        return sorted(set(self.runs.seed))

    def by_seed(self, metric: str, variant: str) -> pd.DataFrame:
        """Values and ids of the runs of a variant, by seed."""
        return self._by_seed[metric, variant]

    def paired(self, metric: str, variant: str) -> pd.Series:
        """The difference of a variant to what it is compared with, by seed; empty for the reference itself."""
        other = compared_with(self.study, variant)
        gains = self.by_seed(metric, variant).value - self.by_seed(metric, other).value
        return gains.dropna() if variant != other else gains[:0]

    def mean(self, metric: str, variant: str) -> dict | None:
        return self._means.get((metric, variant))

    def difference(self, metric: str, variant: str) -> dict | None:
        return self._differences.get((metric, variant))

    @cached_property
    def means(self) -> pd.DataFrame:
        """For each metric and variant the mean over seeds, with its interval where there is more than one."""
        rows = [{"metric": metric, "variant": variant, **interval(values.value), "seeds": _words(values.index),
                 "runs": _words(values.run)}
                for metric in self.study["metrics"] for variant in self.study["variants"]
                if len(values := self.by_seed(metric, variant))]
        return pd.DataFrame(rows, columns=["metric", "variant", "n", "mean", "low", "high", "interval", "seeds",
                                           "runs"])

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Variant minus what it is compared with, seed by seed, then the mean of that; only seeds that both have."""
        rows = [{"metric": metric, "variant": variant, "reference": compared_with(self.study, variant),
                 **interval(gains), "seeds": _words(gains.index)}
                for metric in self.study["metrics"] for variant in self.study["variants"]
                if len(gains := self.paired(metric, variant))]
        return pd.DataFrame(rows, columns=["metric", "variant", "reference", "n", "mean", "low", "high", "interval",
                                           "seeds"])

    # A study can have thousands of numbers, and its report reads each of them several times: to search the whole table
    # for every one would take minutes.
    @cached_property
    def _by_seed(self) -> dict[tuple[str, str], pd.DataFrame]:
        rows = self.runs.set_index("seed").sort_index(kind="stable")
        return defaultdict(lambda: rows[:0], iter(rows.groupby(["metric", "variant"], sort=False)))

    @cached_property
    def _means(self) -> dict[tuple[str, str], dict]:
        return {(row["metric"], row["variant"]): row for row in self.means.to_dict("records")}

    @cached_property
    def _differences(self) -> dict[tuple[str, str], dict]:
        return {(row["metric"], row["variant"]): row for row in self.differences.to_dict("records")}


def find_tables(name: str, folders: Sequence[str | Path]) -> Tables | None:
    """A study's tables from the first of some folders that has finished runs of it, or kept results."""
    for folder in folders:
        if (Path(folder) / name / STUDY).is_file() and (results := read_results(Path(folder) / name)).done:
            return replace(make_tables(results), source=str(results.folder))
    return None


def make_tables(results: Results) -> Tables:
    """The study's metrics, and after them refusals, which every exam measures."""
    named = results.study["metrics"]
    more = [metric for metric in REFUSALS if metric not in named and any(metric in run.metrics for run in results.done)]
    study = results.study | {"metrics": [*named, *more]}
    rows = [{"study": results.study["name"], "profile": results.study.get("profile", ""), "variant": run.variant,
             "seed": run.seed, "run": run.id, "metric": metric, "value": value}
            for run in results.done for metric, value in run.metrics.items()]
    table = pd.DataFrame(rows, columns=["study", "profile", "variant", "seed", "run", "metric", "value"])
    return Tables(study, table.astype({"seed": int, "value": float}))


def write_tables(tables: Tables, out: Path) -> None:
    for name, table in ((NUMBERS, tables.runs), ("means.csv", tables.means), ("differences.csv", tables.differences)):
        with atomic_path(out / name) as partial:
            table.to_csv(partial, index=False)
    with atomic_path(out / "runs.parquet") as partial:
        tables.runs.to_parquet(partial, index=False)
    write_json(out / STUDY, tables.study, ensure_ascii=False)


def compared_with(study: dict, variant: str) -> str:
    return study.get("against", {}).get(variant, study["reference"])


def versus(study: dict, variant: str) -> str:
    """The variant's name, and what it is compared with where that is not the study's reference."""
    other = compared_with(study, variant)
    return variant if other == study["reference"] else f"{variant} against {other}"


def label(metric: str) -> str:
    """What a metric's name means, with its unit; a metric that is not in the catalogue is called by its name."""
    known = CATALOGUE.get(metric)
    return metric if known is None else f"{known.label} ({known.unit})" if known.unit else known.label


def conclusion(tables: Tables, metric: str) -> str:
    """One sentence from the table of differences: what is higher, what is lower, what has no clear difference."""
    name = label(metric)[:1].upper() + label(metric)[1:]
    rows = [row for variant in tables.compared if (row := tables.difference(metric, variant))]
    if not rows:
        return f"{name}: {tables.study['reference']} has no number to compare with."
    where = f"{name}, against {tables.study['reference']}"
    seeds = max(row["n"] for row in rows)
    if seeds < 2:
        gains = ", ".join(f"{versus(tables.study, row['variant'])} {signed(row['mean'])}" for row in rows)
        return f"{where}: {gains}. This is {DEMONSTRATION}; with another seed the difference may be another one."
    groups: dict[str, list] = {"clearly higher": [], "clearly lower": [], "no clear difference": [], DEMONSTRATION: []}
    for row in rows:
        groups[DEMONSTRATION if row["n"] < 2 else "clearly higher" if row["low"] > 0 else
               "clearly lower" if row["high"] < 0 else "no clear difference"].append(row)
    parts = [f"{group}: {_listed(tables.study, members)}" for group, members in groups.items() if members]
    fewest = min(row["n"] for row in rows if row["n"] > 1)
    paired = f"{seeds} paired seeds" if fewest == seeds else f"{fewest} to {seeds} paired seeds"
    return f"{where}, {paired}: {'; '.join(parts)}."


def conclusions(tables: Tables | None, metrics: Sequence[str], name: str) -> str:
    """The sentences about some metrics and where their runs are, one a line; without results, how to get them."""
    if tables is None:
        return (f"There are no results of `{name}` yet, so no conclusion is drawn. `d2vlm-lab ablate {name}` makes a "
                "demonstration with one seed, `--profile full` the whole study; then run this page again.")
    lines = [conclusion(tables, metric) for metric in metrics if metric in tables.metrics]
    return "\n".join(lines + ([f"Read from `{tables.source}`."] if tables.source else []))


def costs(results: Results) -> pd.DataFrame:
    """What each variant took, mean over seeds; shared work has rows of its own."""
    names = ("training_seconds", "training_cpu_seconds", "seconds", "cpu_seconds", "memory_mb", "gpu_memory_mb")
    rows = [{"variant": run.variant, "whole run (s)": run.state.get("seconds", math.nan),
             **{label(name): run.metrics.get(name, math.nan) for name in names}}
            for run in (*results.shared, *results.runs) if run.metrics]
    groups = pd.DataFrame(rows, columns=["variant", "whole run (s)", *map(label, names)]).groupby("variant", sort=False)
    table = groups.mean()
    table.insert(0, "runs", groups.size())
    return table.dropna(axis="columns", how="all")


def held_fixed(study: dict, variants: Sequence[str]) -> dict:
    """Preset and settings that all of these variants have in common."""
    fixed = {"preset": study["preset"], **study["base"], **profile_of(study).get("base", {})}
    changed = {key for name in variants for key, value in study["variants"][name].items() if value != fixed.get(key)}
    return {key: value for key, value in fixed.items() if key not in changed}


def shared_work(study: dict) -> dict[str, dict]:
    """Preset and settings of the checkpoints that variants started from, by their names with @."""
    used, more = {run["variant"] for run in study["shared_runs"]}, profile_of(study).get("shared", {})
    return {f"@{name}": {"preset": work["preset"] or study["preset"], **work["overrides"], **more.get(name, {})}
            for name, work in study["shared"].items() if f"@{name}" in used}


def signed(value: float) -> str:
    """A difference as text: three digits, always with its sign."""
    return f"{value:+.3f}" if abs(value) < 10 else f"{value:+.0f}"


def plain(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.3f}" if abs(value) < 10 and not isinstance(value, int) else f"{value:,.0f}"


def _listed(study: dict, rows: Sequence[Mapping], in_full: int = 8) -> str:
    """Names with differences and intervals; of many only the names, and the range of their differences."""
    if len(rows) > in_full:
        gains = [row["mean"] for row in rows]
        return (f"{', '.join(versus(study, row['variant']) for row in rows)} "
                f"({signed(min(gains))} to {signed(max(gains))})")
    return ", ".join(f"{versus(study, row['variant'])} ({signed(row['mean'])}"
                     + (f"; {signed(row['low'])} to {signed(row['high'])})" if row["n"] > 1 else ")") for row in rows)


def interval(values: pd.Series) -> dict:
    """Mean of the values of several seeds, with its interval."""
    mean, half = seed_interval(list(values))
    return {"n": len(values), "mean": mean, "low": mean - half, "high": mean + half,
            "interval": INTERVAL if len(values) > 1 else DEMONSTRATION}


def profile_of(study: dict) -> dict:
    return study["profiles"].get(study.get("profile", ""), {})


def _words(values) -> str:
    return " ".join(map(str, values))
