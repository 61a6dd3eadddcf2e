"""What a set of preferences holds: kinds of rejected answers, how wrong their intervals are, how long their texts."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from .colors import COLORS
from .style import in_style, new_figure


def draw_preferences(report: dict) -> Figure:
    """The report of `make-preferences`: how many of each kind, overlap with the truth, difference in length."""
    factors = list(report["factors"])
    color = dict(zip(factors, COLORS))
    with in_style():
        figure, (kinds, overlaps, lengths) = new_figure(11, 3.4, columns=3)
        names = list(report["kinds"])
        kinds.barh(range(len(names)), list(report["kinds"].values()),
                   color=[color[name.split("/")[0]] for name in names])
        kinds.set_yticks(range(len(names)), names)
        kinds.invert_yaxis()
        kinds.xaxis.set_major_formatter("{x:,.0f}")
        kinds.set_title("Rejected answers of each kind")
        bottom = np.zeros(10)
        for (kind, tenths), shade in zip(report["overlap"].items(), np.linspace(1, 0.3, len(report["overlap"]))):
            overlaps.bar(np.arange(10) / 10 + 0.05, tenths, 0.09, bottom, label=kind, color=color["when"], alpha=shade)
            bottom += tenths
        overlaps.set(xlim=(0, 1), xlabel="intersection over union")
        overlaps.yaxis.set_major_formatter("{x:,.0f}")
        overlaps.set_title("Wrong interval against the true one")
        if report["overlap"]:
            overlaps.legend()
        spreads = {name: s for name, s in report["length_difference"].items() if name.endswith("/words")}
        for k, (name, spread) in enumerate(spreads.items()):
            lengths.plot([spread["p5"], spread["p95"]], [k, k], color=color[name.split("/")[0]], lw=2)
            lengths.plot(spread["mean"], k, "o", color=color[name.split("/")[0]])
        lengths.axvline(0, color="#aaaaaa", lw=0.8, zorder=0)
        lengths.set_yticks(range(len(spreads)), [name.split("/")[0] for name in spreads])
        lengths.set(ylim=(len(spreads) - 0.5, -0.5), xlabel="words: mean, 5 % to 95 %")
        lengths.set_title("Rejected minus chosen")
    return figure
