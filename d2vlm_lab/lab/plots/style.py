"""One style for every figure, with letters that are legible in print."""

from __future__ import annotations

from contextlib import AbstractContextManager

import matplotlib
from matplotlib.figure import Figure

from .colors import COLORS

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
