"""Numbers as bars with the number written at their end: one row a name, several bars a row, or panels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .colors import COLORS
from .style import in_style, new_figure

Colors = Mapping[str, str] | None


def draw_bars(values: Mapping[str, float | Mapping[str, float]], label: str, limit: float = 1.0, form: str = " %.2f",
              colors: Colors = None, ax: Axes | None = None) -> Figure:
    """A row for each name. A row is one number, or several by name, which are then explained in a legend.

    `colors` by the name of the row, or by the name of the bar in it; `limit` is how far the axis reaches.
    """
    rows = {name: row if isinstance(row, Mapping) else {"": row} for name, row in values.items()}
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    with in_style():
        ax = ax or new_figure(8, 0.7 + (0.16 + 0.2 * len(series)) * len(rows))[1]
        height = 0.8 / len(series)
        for k, name in enumerate(series):
            places = np.arange(len(rows)) + height * (k - (len(series) - 1) / 2)
            looks = [(colors or {}).get(row if name == "" else name, COLORS[k % len(COLORS)]) for row in rows]
            bars = ax.barh(places, [row.get(name, np.nan) for row in rows.values()], 0.9 * height, color=looks,
                           label=name or None)
            ax.bar_label(bars, fmt=form)
        ax.set_yticks(range(len(rows)), list(rows))
        ax.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1.12 * limit), xlabel=label)
        ax.tick_params(axis="y", length=0)
        if series != [""]:
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    return ax.figure


def draw_panels(panels: Mapping[str, Mapping[str, float]], label: str | Sequence[str], colors: Colors = None) -> Figure:
    """One panel for each title, with the same rows in all of them; `label` says what the axes count."""
    rows = len(next(iter(panels.values())))
    labels = [label] * len(panels) if isinstance(label, str) else label
    with in_style():
        figure, axes = new_figure(9, 0.9 + 0.32 * rows, columns=len(panels), sharey=True, squeeze=False)
        for ax, (title, values), name in zip(axes[0], panels.items(), labels):
            draw_bars(values, name, max(1.0, *values.values()) * 1.05, colors=colors, ax=ax)
            ax.set_title(title)
    return figure


def draw_layers(shares: Sequence[Sequence[float]], names: Sequence[str], split: float) -> Figure:
    """(layers, facts) how well each fact can be read after each layer; a line stands before the fact `split`."""
    with in_style():
        figure, ax = new_figure(9, 2.8)
        width = 0.8 / len(shares)
        for layer, values in enumerate(shares):
            places = np.arange(len(names)) + width * (layer - (len(shares) - 1) / 2)
            ax.bar(places, np.clip(values, 0, 1), width, color=str(0.85 - 0.8 * layer / max(1, len(shares) - 1)),
                   edgecolor="white", label="as it enters" if layer == 0 else f"after layer {layer}")
        ax.axvline(split - 0.5, color="#aaaaaa", lw=0.8)
        ax.set_xticks(range(len(names)), names)
        ax.set(ylim=(0, 1.02), ylabel="variance explained")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
