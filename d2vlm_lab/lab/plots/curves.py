"""Losses and scores of runs from their history files, scores with intervals over seeds, tables as colours."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import stdtrit

from .colors import COLORS, FAINT, PREDICTED, WRONG, ink_on
from .style import in_style, new_figure

LOSSES = ("loss_answer", "loss_grounding", "loss_consistency", "loss_preference", "loss_reward")
UNITS = {"step": "step", "seconds": "time on the clock (s)", "cpu_seconds": "CPU time (s)"}

History = str | os.PathLike | Sequence[Mapping]


def read_history(history: History) -> list[Mapping]:
    """The lines of a run's `history.jsonl`, or of the folder it lies in; lines are returned as they are."""
    if isinstance(history, (str, os.PathLike)):
        path = Path(history)
        path = path / "history.jsonl" if path.is_dir() else path
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(history)


def draw_losses(history: History) -> Figure:
    """One panel for each part of the loss that was logged, against the step."""
    lines = read_history(history)
    names = [name for name in LOSSES if any(name in line for line in lines)] or ["loss"]
    with in_style():
        figure, axes = new_figure(2.9 * len(names), 2.3, columns=len(names), squeeze=False)
        for k, (ax, name) in enumerate(zip(axes[0], names)):
            _series(ax, lines, name, "step", color=COLORS[k % len(COLORS)])
            ax.set(title=name.removeprefix("loss_"), xlabel="step", ylabel="loss" if k == 0 else "")
            ax.set_ylim(bottom=0)
    return figure


def draw_scores(histories: Mapping[str, History], score: str, against: str = "step", label: str = "",
                ax: Axes | None = None) -> Figure:
    """A score of several runs, against steps or against time."""
    with in_style():
        ax = ax or new_figure(6.5, 2.6)[1]
        for k, (name, history) in enumerate(histories.items()):
            _series(ax, read_history(history), score, against, marker="os^Dv"[k % 5], ms=4, label=name,
                    color=COLORS[k % len(COLORS)])
        ax.set(xlabel=UNITS.get(against, against), ylabel=label or score.removeprefix("eval_").replace("_", " "))
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    return ax.figure


def draw_seeds(scores: Mapping[str, Sequence[float]], label: str, ax: Axes | None = None) -> Figure:
    """Each variant's score for every seed, with the mean and its 95 % interval; one seed has no interval."""
    with in_style():
        ax = ax or new_figure(6.5, 0.8 + 0.36 * len(scores))[1]
        for k, values in enumerate(scores.values()):
            mean, half = seed_interval(values) if len(values) else (np.nan, np.nan)
            if len(values) > 1:
                ax.plot(values, [k] * len(values), "o", color=FAINT, ms=5, alpha=0.7, markeredgecolor="#555555")
            ax.errorbar(mean, k, xerr=half if np.isfinite(half) else None, fmt="D", color=PREDICTED, ms=5, capsize=4)
        ax.set_yticks(range(len(scores)), list(scores))
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))  # more would touch each other
        ax.set(ylim=(len(scores) - 0.5, -0.5), xlabel=label, axisbelow=True)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color="#eeeeee")
    return ax.figure


def zoom_in(ax: Axes, scores: Mapping[str, Sequence[float]], keep: float | None = None) -> None:
    """Of rows drawn by `draw_seeds`, show those that lie together; a few that lie far away become arrows with numbers.

    Otherwise one such row would press all the others into a line. Intervals are shown whole, and the value `keep` too.
    """
    means = np.array([np.mean(values) if len(values) else np.nan for values in scores.values()])
    middle, width = np.nanmedian(means), np.nanmedian([np.ptp(values) for values in scores.values() if len(values)])
    far = np.abs(means - middle) > 5 * max(width, np.subtract(*np.nanquantile(means, [0.75, 0.25])), 1e-9)
    if not 0 < far.sum() <= len(means) / 3:
        return
    shown = [values for values, away in zip(scores.values(), far) if len(values) and not away]
    ends = [mean + end for mean, half in map(seed_interval, shown) if np.isfinite(half) for end in (-half, half)]
    near = np.concatenate([*shown, ends, [] if keep is None else [keep]])
    margin = 0.1 * max(np.ptp(near), 1e-3)
    low, high = float(near.min()) - margin, float(near.max()) + margin
    ax.set_xlim(low, high)
    for row in np.flatnonzero(far):
        below = means[row] < middle
        ax.text(low if below else high, row, f" ◂ {means[row]:.2f}" if below else f"{means[row]:.2f} ▸ ",
                ha="left" if below else "right", va="center", color=WRONG, fontsize=8)


def seed_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; nan where one seed says nothing about others."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return mean, float("nan")
    return mean, float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n))


def draw_confusion(table, rows: Sequence[str], columns: Sequence[str], row_label: str = "",
                   column_label: str = "") -> Figure:
    """A table (R, C) of shares as colours, with the numbers written in."""
    table = np.asarray(table, dtype=float)
    with in_style():
        figure, ax = new_figure(1.8 + 0.95 * len(columns), 0.9 + 0.42 * len(rows))
        ax.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            shade = "#08306b" if value > 0.62 else "#ffffff"
            ax.text(j, i, "" if np.isnan(value) else f"{value:.0%}", ha="center", va="center", color=ink_on(shade))
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set(xlabel=column_label, ylabel=row_label)
    return figure


def _series(ax: Axes, lines: Sequence[Mapping], name: str, against: str, color: str = WRONG, **style) -> None:
    points = [(line[against], line[name]) for line in lines if name in line]
    ax.plot(*np.array(points, dtype=float).reshape(-1, 2).T, color=color, lw=1.5, **style)
