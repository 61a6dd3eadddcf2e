"""Figures of a study: every comparison with its seeds, intervals and the paper's numbers; how training went."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import cycle
from textwrap import fill

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plots import COLORS, draw_seeds, in_style, new_figure
from ..plots.colors import WRONG
from ..plots.curves import LOSSES, zoom_in
from .read import Results
from .tables import Tables, label, versus

NOTHING = "*No results yet. See below how to make them.*"
LINE = {"color": "#bbbbbb", "lw": 0.8, "ls": "--", "zorder": 0}


def draw_comparison(tables: Tables | None, metric: str) -> Figure | Markdown:
    """Seeds as dots, means with their intervals as diamonds; beside them, on its own axis, what the paper reports."""
    variants = tables.variants if tables else []
    paper = [entry for entry in (tables.study["paper"] if tables else ())
             if entry["metric"] == metric and entry["variant"] in variants]
    if not paper:
        return draw_side_by_side(tables, [metric])
    with in_style():
        figure, (ax, beside) = new_figure(5.6, 0.85 + 0.3 * len(variants), columns=2, sharey=True,
                                          width_ratios=[3, 1.4])
        _values(ax, tables, metric)
        beside.plot([entry["value"] for entry in paper], [variants.index(entry["variant"]) for entry in paper], "s",
                    color=WRONG, ms=6)
        beside.set(xlabel=paper[0]["source"].split(", ", 2)[-1], title="the paper", axisbelow=True)
        beside.margins(x=0.25)
        beside.tick_params(axis="y", length=0)
        beside.grid(axis="x", color="#eeeeee")
    return figure


def draw_side_by_side(tables: Tables | None, metrics: Sequence[str]) -> Figure | Markdown:
    """Several metrics of the same variants in one row, without the paper's numbers; a note where nothing is there."""
    return _panels(tables, [metric for metric in metrics if tables and metric in tables.metrics], _values)


def draw_differences(tables: Tables | None, metrics: Sequence[str]) -> Figure | Markdown:
    """The difference of each variant to its partner on the same seeds, with intervals where there are several."""
    return _panels(tables, [m for m in metrics if tables and m in set(tables.differences.metric)], _gains)


def draw_training(results: Results) -> Figure | None:
    """A score and the parts of the loss against the step: one colour and dash per variant, one line per run."""
    table = pd.DataFrame([{"variant": run.variant, "run": run.id, **line}
                          for run in (*results.shared, *results.runs) for line in run.history])
    score = next((m for m in results.study["metrics"] if f"eval_{m}" in table), "named_F1@0.5")
    titles = {f"eval_{score}": fill(label(score), 36), **{name: f"{name.removeprefix('loss_')} loss, weighted"
                                                          for name in LOSSES}}
    panels = [titles[name] for name in titles if name in table]
    if not panels:
        return None
    lines = table.rename(columns=titles).melt(["variant", "run", "step"], panels, "panel").dropna(subset="value")
    with in_style():
        grid = sns.relplot(lines, x="step", y="value", col="panel", col_wrap=2, hue="variant", style="variant",
                           units="run", estimator=None, kind="line", lw=1.2, height=2.3, aspect=1.4,
                           palette=dict(zip(dict.fromkeys(table.variant), cycle(COLORS))),
                           facet_kws={"sharex": False, "sharey": False})
        for line in (line for ax in grid.axes.flat for line in ax.lines if len(line.get_xdata()) == 1):
            line.set_marker("o")  # a single evaluation, which a line would not show
        grid.set_titles("{col_name}").set(xlabel="step", ylabel="", ylim=(0, None))
        grid.tight_layout()
    plt.close(grid.figure)  # or a notebook shows it a second time
    return grid.figure


def svg(figure: Figure) -> bytes:
    """The figure as a drawing that is the same whenever it is made from the same numbers."""
    out = io.BytesIO()
    with in_style(), matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _panels(tables: Tables | None, metrics: Sequence[str], draw: Callable) -> Figure | Markdown:
    if not metrics:
        return Markdown(NOTHING)
    with in_style():
        figure, axes = new_figure(1.6 + 2.9 * len(metrics), 0.85 + 0.3 * len(tables.variants), columns=len(metrics),
                                  squeeze=False, sharey=True)
        for ax, metric in zip(axes[0], metrics):
            draw(ax, tables, metric)
    return figure


def _values(ax: Axes, tables: Tables, metric: str) -> None:
    values = {name: list(tables.by_seed(metric, name).value) for name in tables.variants}
    draw_seeds(values, fill(label(metric), 34), ax)
    zoom_in(ax, values)
    ax.set_title(f"here, {len(tables.seeds)} seeds" if len(tables.seeds) > 1 else "here, one seed")
    if reference := tables.mean(metric, tables.study["reference"]):
        ax.axvline(reference["mean"], **LINE)


def _gains(ax: Axes, tables: Tables, metric: str) -> None:
    names = [name for name in tables.compared if name in set(tables.differences.variant)]
    values = {versus(tables.study, name): list(tables.paired(metric, name)) for name in names}
    draw_seeds(values, fill(label(metric), 34), ax)
    zoom_in(ax, values, keep=0)
    ax.set_title("difference")
    ax.axvline(0, **LINE)
