"""One style for every figure: colours that all readers can distinguish, letters that are legible in print."""

from __future__ import annotations

from contextlib import AbstractContextManager

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

# Okabe and Ito's palette, without its yellow, which is lost on white
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
TRUTH, PREDICTED, WRONG, FAINT = COLORS[2], COLORS[0], COLORS[5], "#aaaaaa"
EVENT_COLORS = tuple(color for color in COLORS if color != TRUTH)
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
         "axes.titlelocation": "left", "legend.frameon": False, "savefig.dpi": 150, "figure.dpi": 110,
         "axes.prop_cycle": matplotlib.cycler(color=COLORS)}


def in_style() -> AbstractContextManager:
    """`with in_style():` whatever is drawn inside looks like all other figures."""
    return matplotlib.rc_context(STYLE)


def use_style() -> None:
    """The style for everything that follows: a notebook calls it once, at its top."""
    matplotlib.rcParams.update(STYLE)


def new_figure(width: float = 8.0, height: float = 2.4, rows: int = 1, columns: int = 1, **options):
    """A figure of its own and its axes, in style: one, or an array of `rows` x `columns`. A cell shows it by name."""
    with in_style():
        figure = Figure((width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


def event_color(k: int) -> str:
    """The colour of the k-th event, wherever it is shown."""
    return EVENT_COLORS[k % len(EVENT_COLORS)]


def ink_on(color) -> str:
    """Dark or white, whichever is legible on this colour."""
    return "#222222" if float(np.dot(to_rgb(color), (0.3, 0.6, 0.1))) > 0.62 else "white"
