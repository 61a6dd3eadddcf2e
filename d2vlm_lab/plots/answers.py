"""One answer on the time line of its video: what was shown, what is true, what was said, and why.

The k-th event has one colour everywhere: its bar, its similarity curve, its times inside the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evidence import END, Interval
from ..metrics.reading import find_spans
from .grounding import Span, frame_edges, spans
from .style import COLORS, TRUTH, in_style, ink_on, new_figure
from .tokens import GAP, LETTER

EVENT_COLORS = tuple(color for color in COLORS if color != TRUTH)
Piece = str | tuple[str, Interval, int]  # words, or a time as it is written, its seconds, and which event it is


def event_color(k: int) -> str:
    return EVENT_COLORS[k % len(EVENT_COLORS)]


def text_pieces(text: str) -> list[Piece]:
    """Words and times. The k-th time before `</evi>` and the k-th after it are about the same event."""
    pieces: list[Piece] = []
    for part in re.split(f"({END})", text):
        cut = 0
        for k, (interval, start, end) in enumerate(find_spans(part)):
            pieces += [part[cut:start], (part[start:end], interval, k)]
            cut = end
        pieces.append(part[cut:])
    return [piece for piece in pieces if piece]


def lanes(intervals: Sequence[Interval]) -> list[int]:
    """A lane for each, as few as it takes for none to cover another."""
    taken: list[list[Interval]] = []
    found = []
    for start, end in intervals:
        lane = next((k for k, row in enumerate(taken) if all(end < s or e < start for s, e in row)), len(taken))
        taken[lane:lane + 1] = [[*(taken[lane] if lane < len(taken) else []), (start, end)]]
        found.append(lane)
    return found


def draw_answer(frames, timestamps, truth_events: Sequence[Span], predicted_intervals: Sequence[Interval],
                similarity=None, threshold: float | Sequence[float] | None = None, text: str = "",
                width: float = 9.0) -> Figure:
    """(F, H, W, 3) frames shown at (F,) seconds, over true and predicted intervals, (E, F) curves and the answer.

    `threshold` is one for all curves or one for each.
    """
    curves = np.zeros((0, len(timestamps))) if similarity is None else np.atleast_2d(np.asarray(similarity, float))
    lines = _lines(text_pieces(text), width - 0.4)
    shown = min(12, len(frames))
    strip = width / shown * frames.shape[1] / frames.shape[2]
    heights = [strip, 0.62, 1.3 if len(curves) else 0, 0.27 * len(lines) + 0.05]
    kept = [height for height in heights if height > 0.06]
    with in_style():
        figure, axes = new_figure(width, sum(kept) + 0.55, len(kept), height_ratios=kept, squeeze=False)
        axes = list(axes[:, 0])
        edges = frame_edges(timestamps)
        _frames(axes[0], frames, edges, shown)
        _bars(axes[1], spans(truth_events), predicted_intervals)
        if len(curves):
            _curves(axes[2], curves, timestamps, threshold)
        for ax in axes[:2 + bool(len(curves))]:
            ax.set_xlim(edges[0], edges[-1])
        axes[1 + bool(len(curves))].set_xlabel("time (s)")
        if lines:
            _words(axes[-1], lines, width - 0.4)
    return figure


def _frames(ax: Axes, frames: np.ndarray, edges: np.ndarray, shown: int) -> None:
    ticks = np.linspace(edges[0], edges[-1], shown + 1)
    for left, right in zip(ticks, ticks[1:]):
        k = min(np.searchsorted(edges, (left + right) / 2, side="right") - 1, len(frames) - 1)
        gap = 0.02 * (right - left)
        ax.imshow(frames[k], extent=(left + gap, right - gap, 0, 1), aspect="auto")
    ax.set_ylim(0, 1)
    ax.axis("off")


def _bars(ax: Axes, truth: Sequence[Interval], predicted: Sequence[Interval]) -> None:
    rows = [(truth, [TRUTH] * len(truth)), (predicted, [event_color(k) for k in range(len(predicted))])]
    for y, (intervals, colors) in enumerate(rows):
        where = lanes(intervals)
        height = 0.76 / (1 + max(where, default=0))
        for (start, end), lane, color in zip(intervals, where, colors):
            ax.barh(y - 0.38 + (lane + 0.5) * height, end - start, height, start, color=color, edgecolor=color)
    ax.set_yticks((0, 1), ("truth", "predicted"))
    ax.set_ylim(1.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _curves(ax: Axes, curves: np.ndarray, timestamps, threshold) -> None:
    times = np.asarray(timestamps, float)
    levels = [None] * len(curves) if threshold is None else np.broadcast_to(threshold, len(curves))
    for k, (curve, level) in enumerate(zip(curves, levels)):
        ax.fill_between(times, curve, color=event_color(k), alpha=0.12, lw=0)
        ax.plot(times, curve, color=event_color(k), lw=1.6)
        if level is not None:
            ax.axhline(level, color=event_color(k), lw=1, ls="--")
    ax.set(ylim=(0, max(1.0, float(curves.max())) * 1.05), ylabel="similarity", yticks=(0, 0.5, 1))


def _lines(pieces: Sequence[Piece], width: float) -> list[list[tuple[float, str, str | None]]]:
    """Words with where they start, in inches, and their colour, on as many lines as it takes."""
    lines, x = [[]], 0.0
    for piece in pieces:
        words = [piece[0]] if isinstance(piece, tuple) else re.findall(r"\S+|\s+", piece)
        for word in words:
            size = LETTER * len(word) + (GAP if isinstance(piece, tuple) else 0)
            if x and x + size > width:
                lines, x = [*lines, []], 0.0
            if x or word.strip():
                lines[-1].append((x, word, event_color(piece[2]) if isinstance(piece, tuple) else None))
                x += size
    return lines if lines[0] else []


def _words(ax: Axes, lines: Sequence[Sequence[tuple[float, str, str | None]]], width: float) -> None:
    for row, line in enumerate(lines):
        for x, word, color in line:
            box = {"boxstyle": "round,pad=0.2", "facecolor": color, "edgecolor": "none"} if color else None
            ax.text(x + (GAP / 2 if color else 0), row, word, family="monospace", va="center", bbox=box,
                    color=ink_on(color) if color else "#222222")
    ax.set(xlim=(0, width), ylim=(len(lines) - 0.5, -0.5))
    ax.axis("off")
