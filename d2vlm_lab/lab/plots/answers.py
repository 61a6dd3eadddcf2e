"""One answer on the time line of its video: what was shown, what is true, what was said, and why.

The k-th event has one colour everywhere: its bar, its similarity curve, its times inside the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ...ideas.evidence import Event, Interval, seconds
from .grounding import frame_edges
from .strips import Strip, draw_strip, strip_height
from .style import COLORS, TRUTH, in_style, new_figure

EVENT_COLORS = tuple(color for color in COLORS if color != TRUTH)


def event_color(k: int) -> str:
    return EVENT_COLORS[k % len(EVENT_COLORS)]


def draw_answer(frames: np.ndarray, timestamps: np.ndarray, intervals: Sequence[Interval], curves=(),
                truth: Sequence[Event] = (), width: float = 9.0) -> Figure:
    """(F, H, W, 3) frames shown at (F,) seconds, over the true events if known, the answer's, and its (E, F) curves.

    Everything lasts as its frames do: each until the next one is shown.
    """
    colors = [event_color(k) for k in range(max(len(intervals), len(curves)))]
    rows = {"truth": truth} if truth else {}
    rows["answer"] = [Event(*interval, seconds(interval)) for interval in intervals]
    strip = Strip(frames, timestamps, rows, colors={"truth": TRUTH, "answer": colors[:len(intervals)]})
    heights = [strip_height(strip, width), *([1.3] if len(curves) else [])]
    with in_style():
        figure, axes = new_figure(width, sum(heights), len(heights), height_ratios=heights, squeeze=False)
        draw_strip(axes[0, 0], strip)
        if len(curves):
            axes[0, 0].tick_params(axis="x", labelbottom=False)
            ax, edges = axes[1, 0], frame_edges(timestamps)
            for curve, color in zip(curves, colors):
                ax.stairs(curve, edges, color=color, lw=1.6, baseline=None)
                ax.stairs(curve, edges, color=color, alpha=0.12, fill=True)
            peak = float(np.max(curves))
            top = 1.0 if peak > 0.25 else peak or 1.0  # a curve that adds up to 1 over the frames is low everywhere
            ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * max(top, peak)), xlabel="time (s)", ylabel="similarity")
    return figure
