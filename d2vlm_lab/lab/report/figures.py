"""Pictures of a study: every comparison with its seeds, intervals and the paper's numbers; how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plots.style import COLORS, FAINT, PREDICTED, WRONG, in_style, new_figure
from .labels import label
from .tables import Tables, versus

NOTHING = "*No results yet. How to make them is said below.*"
LOSSES = ("loss_answer", "loss_grounding", "loss_consistency", "loss_preference")


def draw_comparison(tables: Tables | None, metric: str) -> Figure | Markdown:
    """Seeds as dots, means with their intervals as diamonds; beside them, on its own axis, what the paper reports."""
    if tables is None:
        return Markdown(NOTHING)
    variants = tables.variants
    paper = {entry["variant"]: entry for entry in tables.study["paper"] if entry["metric"] == metric}
    paper = {name: paper[name] for name in variants if name in paper}
    with in_style():
        columns = 2 if paper else 1
        figure, axes = new_figure(5.6 if paper else 4.6, 0.85 + 0.3 * len(variants), columns=columns, squeeze=False,
                                  sharey=True, width_ratios=[3, 1.4][:columns])
        _ours(axes[0, 0], tables, metric, variants)
        if paper:
            _papers(axes[0, 1], paper, variants)
    return figure


def draw_side_by_side(tables: Tables | None, metrics: Sequence[str]) -> Figure | Markdown:
    """Several metrics of the same variants in one row, without the paper's numbers; a word where nothing is there."""
    shown = [metric for metric in metrics if tables and metric in tables.metrics]
    if not shown:
        return Markdown(NOTHING)
    with in_style():
        figure, axes = new_figure(1.2 + 2.9 * len(shown), 0.85 + 0.3 * len(tables.variants), columns=len(shown),
                                  squeeze=False, sharey=True)
        for ax, metric in zip(axes[0], shown):
            _ours(ax, tables, metric, tables.variants)
    return figure


def draw_differences(tables: Tables | None, metrics: Sequence[str]) -> Figure | Markdown:
    """What each variant has more or less than its partner on the same seeds, with intervals where there are several."""
    shown = [metric for metric in metrics if tables and metric in set(tables.differences.metric)]
    if not shown:
        return Markdown(NOTHING)
    table = tables.differences[tables.differences.metric.isin(shown)]
    names = [name for name in tables.variants if name in set(table.variant)]
    with in_style():
        figure, axes = new_figure(1.6 + 2.9 * len(shown), 0.85 + 0.3 * len(names), columns=len(shown), squeeze=False,
                                  sharey=True)
        for ax, metric in zip(axes[0], shown):
            for row in table[table.metric == metric].to_dict("records"):
                _diamond(ax, names.index(row["variant"]), row)
            ax.axvline(0, color="#bbbbbb", lw=0.8, ls="--", zorder=0)
            _rows(ax, [versus(tables.study, name) for name in names], metric, "difference")
    return figure


def draw_training(histories: Mapping[str, Sequence[Sequence[Mapping]]], score: str) -> Figure | None:
    """A score and the loss parts against the step: one colour and dash per variant, one line per seed."""
    rows = [{"variant": name, "seed": seed, **line} for name, runs in histories.items()
            for seed, lines in enumerate(runs) for line in lines]
    table = pd.DataFrame(rows)
    panels = [name for name in (f"eval_{score}", *LOSSES) if name in table]
    if not panels:
        return None
    names = list(histories)
    colors = {name: COLORS[k % len(COLORS)] for k, name in enumerate(names)}
    dashes = {name: [(), (4, 1.5), (1, 1), (5, 1, 1, 1)][k // len(COLORS) % 4] for k, name in enumerate(names)}
    with in_style():
        rows = (len(panels) + 1) // 2
        figure, axes = new_figure(6.4, 2.2 * rows + 0.2 * (len(names) // 4 + 1), rows, 2, squeeze=False)
        for ax in axes.flat[len(panels):]:
            ax.remove()
        for ax, panel in zip(axes.flat, panels):
            sns.lineplot(table.dropna(subset=[panel]), x="step", y=panel, units="seed", estimator=None, lw=1.2, ax=ax,
                         hue="variant", hue_order=names, palette=colors, style="variant", style_order=names,
                         dashes=dashes)
            handles, labels = ax.get_legend_handles_labels()
            ax.get_legend().remove()
            held_out = panel.startswith("eval_")
            ax.set(xlabel="step", ylabel=fill(str(label(score)), 22) if held_out else "loss, weighted",
                   title="while training, held out" if held_out else panel.removeprefix("loss_").replace("_", " "))
            ax.set_ylim(bottom=0)
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)))
    return figure


def _ours(ax: Axes, tables: Tables, metric: str, variants: list[str]) -> None:
    seeds = tables.runs[tables.runs.metric == metric]
    means = tables.means[tables.means.metric == metric].set_index("variant")
    several = bool((means.n > 1).any())
    if several:
        sns.stripplot(seeds, x="value", y="variant", order=variants, color=FAINT, size=5, jitter=False, ax=ax, zorder=3,
                      alpha=0.7, edgecolor="#555555", linewidth=0.6)
    for k, name in enumerate(variants):
        if name in means.index:
            _diamond(ax, k, means.loc[name])
    if tables.study["reference"] in means.index:
        ax.axvline(means.loc[tables.study["reference"], "mean"], color="#bbbbbb", lw=0.8, ls="--", zorder=0)
    _rows(ax, variants, metric, f"here, {len(tables.seeds)} seeds" if several else "here, one seed")


def _diamond(ax: Axes, k: int, row: Mapping) -> None:
    """A mean in the k-th row, with its interval where there are several seeds."""
    half = row["high"] - row["mean"] if row["n"] > 1 else None
    ax.errorbar(row["mean"], k, xerr=half, fmt="D", color=PREDICTED, ms=5, capsize=4, zorder=2)


def _rows(ax: Axes, names: list[str], metric: str, title: str) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))  # by itself so many that numbers touch
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel=fill(str(label(metric)), 34), ylabel="", title=title)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#eeeeee")
    ax.set_axisbelow(True)


def _papers(ax: Axes, paper: Mapping[str, Mapping], variants: list[str]) -> None:
    """Another model on other data: its numbers have an axis of their own, only the order can be compared."""
    ax.plot([entry["value"] for entry in paper.values()], [variants.index(name) for name in paper], "s", color=WRONG,
            ms=6)
    source = next(iter(paper.values()))["source"]
    ax.set(xlabel=source.split(", ", 2)[-1], title="the paper")
    ax.margins(x=0.25)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#eeeeee")
    ax.set_axisbelow(True)
