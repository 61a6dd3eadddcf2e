"""The curve of an evidence token over the frames, the interval that is read from it, and the true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...ideas.evidence import Event, Interval
from .colors import COLORS, PREDICTED, TRUTH
from .style import in_style, new_figure

Span = Event | Interval


def draw_curve(similarity, timestamps, interval: Interval | None = None, truth: Span | Sequence[Span] | None = None,
               threshold: float | None = None, ax: Axes | None = None, label: str = "similarity",
               color: str = PREDICTED) -> Figure:
    """Similarity of one evidence token with every frame: each frame lasts until the next one is shown.

    `interval` is what was read from the curve, `truth` one or several true intervals, all in seconds.
    """
    with in_style():
        ax = ax or new_figure(8, 2.2)[1]
        edges = frame_edges(timestamps)
        step = edges[-1] - edges[-2]
        for k, (start, end) in enumerate(spans(truth)):
            ax.axvspan(start, end + step, color=TRUTH, alpha=0.25, lw=0, label=None if k else "truth")
        values = np.asarray(similarity, dtype=float)[:len(edges) - 1]
        ax.stairs(values, edges, color=color, lw=1.6, label=label, baseline=None)
        ax.stairs(values, edges, color=color, alpha=0.15, fill=True)
        if threshold is not None:
            ax.axhline(threshold, color="#333333", lw=1, ls="--", label=f"threshold {threshold:.2f}")
        if interval is not None:
            ax.plot([interval[0], interval[1] + step], [1.06, 1.06], color=COLORS[5], lw=4, solid_capstyle="butt",
                    label="interval")
        ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.12), xlabel="time (s)", ylabel="similarity", yticks=(0, 0.5, 1))
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    return ax.figure


def draw_curves(curves: Mapping[str, Sequence[float]], timestamps, truth: Sequence[Span] | Mapping[str, Span] = (),
                intervals: Mapping[str, Interval] | None = None) -> Figure:
    """One row for each named curve, with its own true interval if `truth` is by name, else with all of them."""
    with in_style():
        figure, axes = new_figure(9, 0.5 + 1.25 * len(curves), rows=len(curves), sharex=True, squeeze=False)
        for ax, (name, curve) in zip(axes[:, 0], curves.items()):
            true = truth.get(name) if isinstance(truth, Mapping) else truth
            draw_curve(curve, timestamps, (intervals or {}).get(name), true, ax=ax)
            ax.set_title(name)
            ax.label_outer()
            if ax is not axes[0, 0]:
                ax.get_legend().remove()
    return figure


def draw_push(curve, targets, push, truth: Interval) -> Figure:
    """A curve with its targets, and under it how strongly the loss pushes each frame up (green) or down."""
    frames = np.arange(len(curve))
    with in_style():
        figure, (top, bottom) = new_figure(9, 3.6, rows=2, sharex=True)
        draw_curve(curve, frames, truth=truth, ax=top)
        top.stairs(targets, np.arange(len(curve) + 1), color="#222222", ls=":", label="target, base 2")
        top.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
        top.set_xlabel("")
        bottom.bar(frames + 0.5, push, 0.8, color=np.where(np.asarray(push) > 0, COLORS[2], COLORS[5]))
        bottom.axhline(0, color="#333333", lw=0.8)
        bottom.set(xlabel="frame", ylabel="push on the logit")
    return figure


def draw_timeline(truth: Sequence[Span], predicted: Sequence[Span] | Mapping[str, Sequence[Span]], duration: float,
                  ax: Axes | None = None) -> Figure:
    """True intervals above predicted ones, which may be several rows by name. Captions are written where they fit.

    Intervals of a row that overlap are drawn one under the other, each as a thinner bar.
    """
    rows = {"truth": truth, **(predicted if isinstance(predicted, Mapping) else {"predicted": predicted})}
    with in_style():
        ax = ax or new_figure(8, 0.7 + 0.32 * len(rows))[1]
        for k, (name, events) in enumerate(rows.items()):
            color = TRUTH if name == "truth" else COLORS[(0, 5, 3, 1, 4)[(k - 1) % 5]]
            places, lanes = _lanes(spans(events))
            for event, lane, (start, end) in zip(events, places, spans(events)):
                middle = k + 0.66 * ((lane + 0.5) / lanes - 0.5)
                ax.barh(middle, end - start, 0.66 / lanes, start, color=color, alpha=0.85, edgecolor="white")
                caption = event.caption if isinstance(event, Event) else ""
                if lanes == 1 and 0.011 * len(caption) * duration < end - start:
                    ax.text((start + end) / 2, middle, caption, ha="center", va="center", color="white", fontsize=8)
        ax.set_yticks(range(len(rows)), list(rows))
        ax.set(xlim=(0, duration), ylim=(len(rows) - 0.5, -0.5), xlabel="time (s)")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return ax.figure


def _lanes(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """In which lane each interval lies so that none touches another of its lane, and how many lanes there are."""
    full: list[float] = []  # up to where each lane is taken
    places = [0] * len(intervals)
    for k, (start, end) in sorted(enumerate(intervals), key=lambda pair: pair[1]):
        places[k] = next((lane for lane, until in enumerate(full) if until <= start), len(full))
        full[places[k]:places[k] + 1] = [end]
    return places, max(1, len(full))


def draw_targets(targets: Mapping[str, Sequence[float]]) -> Figure:
    """The target of each frame by name of the rule, drawn frame by frame, so that a hard edge looks hard."""
    with in_style():
        figure, ax = new_figure(8, 2.2)
        for k, (name, values) in enumerate(targets.items()):
            ax.plot(np.asarray(values), marker="os^D"[k % 4], ms=4, lw=1.2, ls="-" if k == 0 else "--",
                    drawstyle="steps-mid", color=COLORS[k % len(COLORS)], label=name)
        ax.set(ylim=(-0.05, 1.1), xlabel="frame", ylabel="target", yticks=(0, 0.5, 1))
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    return figure


def frame_edges(timestamps) -> np.ndarray:
    """(F,) -> (F + 1,): when each frame appears, and when the last one is gone."""
    times = np.asarray(timestamps, dtype=float)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return np.append(times, times[-1] + step)


def spans(events: Span | Sequence[Span] | None) -> list[Interval]:
    """Intervals of one event or of several, which may be events or pairs of seconds."""
    if events is None or isinstance(events, Event) or (len(events) == 2 and np.isscalar(events[0])):
        events = [] if events is None else [events]
    return [event.interval if isinstance(event, Event) else tuple(event) for event in events]
