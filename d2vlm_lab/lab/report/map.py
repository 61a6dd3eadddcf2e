"""Ideas by conditions: what each idea is worth under each condition of a study, as a table and as one figure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...files import atomic_path
from ...judging.catalogue import CATALOGUE
from ..plots import COLORS, in_style, new_figure
from .tables import Tables, interval, label, signed

HELPS = LinearSegmentedColormap.from_list("helps", [COLORS[5], "#ffffff", COLORS[0]])
LEAST = 0.05  # a map whose largest difference is smaller than this is drawn as pale as it is


def has_map(tables: Tables) -> bool:
    """Whether some condition has runs with and without some idea."""
    ideas, conditions = tables.study.get("ideas"), tables.study.get("conditions")
    return bool(ideas and conditions) and any(True for metric in tables.metrics for _ in cells(tables, metric))


def cells(tables: Tables, metric: str) -> Iterator[dict]:
    """One for each idea and condition that has runs with it and without it, on the same seeds."""
    for idea, pair in tables.study["ideas"].items():
        for condition in tables.study["conditions"]:
            having, lacking = (tables.by_seed(metric, f"{condition}: {variant}") for variant in pair)
            gains = (having.value - lacking.value).dropna()
            if len(gains):
                row = {"metric": metric, "idea": idea, "condition": condition, "with": pair[0], "without": pair[1]}
                row |= interval(gains) | {"seeds": " ".join(map(str, gains.index))}
                runs = [" ".join(runs.loc[gains.index, "run"]) for runs in (having, lacking)]
                yield row | dict(zip(("runs with", "runs without"), runs))


def worth(tables: Tables, metric: str) -> pd.DataFrame:
    """The cells as a table."""
    columns = ["metric", "idea", "condition", "with", "without", "n", "mean", "low", "high", "interval", "seeds",
               "runs with", "runs without"]
    return pd.DataFrame(list(cells(tables, metric)), columns=columns)


def write_map(tables: Tables, out: Path) -> None:
    """Every cell with its interval and the runs behind it; nothing for a study without conditions."""
    if has_map(tables):
        with atomic_path(out / "map.csv") as partial:
            pd.concat([worth(tables, metric) for metric in tables.metrics]).to_csv(partial, index=False)


def draw_map(tables: Tables, metrics: Sequence[str]) -> Figure:
    """A panel for each metric: ideas down, conditions across; hatched where the effect cannot be told from zero.

    Metrics differ in their units, so each has colours of its own.
    """
    found = {metric: worth(tables, metric) for metric in metrics}
    made = pd.concat(list(found.values()))
    ideas, conditions = ([name for name in tables.study[kind] if name in set(made[column])]
                         for kind, column in (("ideas", "idea"), ("conditions", "condition")))
    with in_style():
        figure, axes = new_figure(2.6 + 0.52 * max(len(conditions), 7), (0.9 + 0.36 * len(ideas)) * len(metrics) + 0.9,
                                  len(metrics), squeeze=False, sharex=True)
        for ax, (metric, table) in zip(axes[:, 0], found.items()):
            lower_is_better = metric in CATALOGUE and CATALOGUE[metric].higher_is_better is False
            _panel(ax, table, ideas, conditions, HELPS.reversed() if lower_is_better else HELPS)
            ax.set_title(fill(label(metric), 60))
            bar = figure.colorbar(ax.images[0], ax=ax, aspect=12, pad=0.02)
            bar.outline.set_visible(False)
            bar.set_label("what the idea adds")
        axes[-1, 0].set_xticks(range(len(conditions)), conditions, rotation=45, ha="right", rotation_mode="anchor")
    return figure


def _panel(ax: Axes, table: pd.DataFrame, ideas: Sequence[str], conditions: Sequence[str], colors: Colormap) -> None:
    limit = max([LEAST, *table["mean"].abs()])
    image = np.full((len(ideas), len(conditions)), np.nan)
    for cell in table.to_dict("records"):
        y, x = ideas.index(cell["idea"]), conditions.index(cell["condition"])
        image[y, x] = cell["mean"]
        told = re.sub(r"^([+-])0\.", r"\1.", f"{cell['mean']:+.2f}") if abs(cell["mean"]) >= 0.005 else "0"
        ax.text(x, y, told, ha="center", va="center", fontsize=7.5,
                color="white" if abs(cell["mean"]) > 0.65 * limit else "#222222", zorder=3)
        if not clear(cell):
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", lw=0, ec="#b5b5b5"))
    ax.imshow(image, cmap=colors, norm=TwoSlopeNorm(0, -limit, limit), aspect="auto")
    ax.set_yticks(range(len(ideas)), ideas)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for k in range(1, len(conditions)):
        other_axis = axis_of(conditions[k]) != axis_of(conditions[k - 1])
        ax.axvline(k - 0.5, color="#444444" if other_axis else "white", lw=1.0 if other_axis else 0.5)


def axis_of(condition: str) -> str:
    """`crowded-0.5` -> `crowded`: the levels of one axis differ in what follows the last dash."""
    return condition.rpartition("-")[0] or condition


def clear(cell: dict) -> bool:
    return cell["n"] > 1 and (cell["low"] > 0 or cell["high"] < 0)


def map_conclusion(tables: Tables, metric: str) -> str:
    """For each idea, where it clearly helps and where it clearly costs; everywhere else that cannot be told."""
    parts, table = [], worth(tables, metric)
    for idea, rows in table.groupby("idea", sort=False):
        records = rows.to_dict("records")
        found = [f"{cell['condition']} ({signed(cell['mean'])}; {signed(cell['low'])} to {signed(cell['high'])})"
                 for cell in records if clear(cell)]
        parts.append(f"{idea}: {', '.join(found) if found else 'nowhere'} (of {len(records)})")
    name = label(metric)[:1].upper() + label(metric)[1:]
    if not parts:
        return f"{name}: no condition has runs with and without an idea yet."
    if (seeds := int(table.n.max())) < 2:
        return f"{name}: one seed, a demonstration; whether a difference is clear takes several."
    return f"{name}, conditions in which an idea makes a clear difference over {seeds} seeds: {'; '.join(parts)}."
