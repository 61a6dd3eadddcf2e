"""Ideas by conditions: what each idea is worth under each condition of a study, as a table and as figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
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
MORE = LinearSegmentedColormap.from_list("more", [COLORS[3], "#ffffff", COLORS[2]])
COLORS_OF = {True: HELPS, False: HELPS.reversed(), None: MORE}  # by whether a higher value is better
LEAST = 0.05  # a map whose largest difference is smaller than this stays pale
BY_CHANCE = 0.05  # the share of the cells without an effect whose 95 % interval does not contain zero


def maps(tables: Tables, most: int = 6) -> list[str]:
    """The first metrics of the study for which some condition has runs with and without some idea: each has a map."""
    if not (tables.study.get("ideas") and tables.study.get("conditions")):
        return []
    return list(islice((metric for metric in tables.metrics if any(True for _ in cells(tables, metric))), most))


def has_map(tables: Tables) -> bool:
    return bool(maps(tables, 1))


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


def draw_map(tables: Tables, metric: str) -> Figure:
    """Ideas down, the conditions that have this metric across; hatched where the effect cannot be told from zero."""
    table = worth(tables, metric)
    ideas, conditions = ([name for name in tables.study[kind] if name in set(table[column])]
                         for kind, column in (("ideas", "idea"), ("conditions", "condition")))
    better = CATALOGUE[metric].higher_is_better if metric in CATALOGUE else None
    with in_style():
        figure, ax = new_figure(3.4 + 0.49 * len(conditions), 1.8 + 0.36 * len(ideas))
        _panel(ax, table, ideas, conditions, COLORS_OF[better])
        figure.suptitle(fill(label(metric), 30 + 4 * len(conditions)), x=0.01, ha="left", fontsize=10)
        bar = figure.colorbar(ax.images[0], ax=ax, aspect=15, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("how much more with the idea" if better is None else "what the idea adds")
        ax.set_xticks(range(len(conditions)), conditions, rotation=45, ha="right", rotation_mode="anchor")
    return figure


def _panel(ax: Axes, table: pd.DataFrame, ideas: Sequence[str], conditions: Sequence[str], colors: Colormap) -> None:
    limit = max([LEAST, *table["mean"].abs()])
    image = np.full((len(ideas), len(conditions)), np.nan)
    for cell in table.to_dict("records"):
        y, x = ideas.index(cell["idea"]), conditions.index(cell["condition"])
        image[y, x] = cell["mean"]
        number = re.sub(r"^([+-])0\.", r"\1.", f"{cell['mean']:+.2f}") if abs(cell["mean"]) >= 0.005 else "0"
        ax.text(x, y, number, ha="center", va="center", fontsize=7.5,
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


def map_summary(tables: Tables, metric: str) -> str:
    """How many cells are clear, how many would be by chance alone, and which idea has most of them."""
    return _summary(worth(tables, metric), metric)


def _summary(table: pd.DataFrame, metric: str) -> str:
    name = label(metric)[:1].upper() + label(metric)[1:]
    if table.empty:
        return f"{name}: no condition has runs with and without an idea yet."
    table = table[table.n > 1]
    if table.empty:
        return f"{name}: one seed, a demonstration; whether a difference is clear takes several."
    found, chance = [cell["idea"] for cell in table.to_dict("records") if clear(cell)], BY_CHANCE * len(table)
    most = max(found, key=found.count, default="")
    return (f"{name}: {len(found)} of {len(table)} cells are clear over {table.n.max()} seeds; "
            f"{f'about {chance:.0f}' if chance >= 0.5 else 'fewer than one'} would look so by chance alone."
            + (f" The idea with the most is {most}: {found.count(most)} of {sum(table.idea == most)}." if most else ""))


def map_conclusion(tables: Tables, metric: str) -> str:
    """The summary, and for each idea the conditions in which it makes a clear difference."""
    table = worth(tables, metric)
    lines = [f"{_summary(table, metric)}\n"]
    if table.n.max() > 1:
        for idea, rows in table.groupby("idea", sort=False):
            found = [f"{cell['condition']} ({signed(cell['mean'])})" for cell in rows.to_dict("records") if clear(cell)]
            lines.append(f"- {idea}: {', '.join(found) or 'nowhere'}")
    return "\n".join(lines)
