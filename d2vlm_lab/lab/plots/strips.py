"""Videos as strips of frames over their time lines, with the events drawn where they happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...ideas.evidence import Event
from .colors import COLORS, ink_on
from .style import in_style, new_figure

WIDTH, SHOWN = 9.0, 16  # inches of a figure; frames of each video
LANE, AXIS, NOTE = 0.42, 0.44, 0.34  # heights under a strip of frames, which is 1 high
LETTER = 0.066  # inches, on average, at 9 points: a page shows a figure about as wide as it is


@dataclass(frozen=True)
class Strip:
    """A video to draw: its frames with their times, and named rows of events under them (truth, answers, ...)."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    timestamps: np.ndarray  # (F,)
    rows: dict[str, Sequence[Event]] = field(default_factory=dict)
    title: str = ""
    notes: Sequence[str] = ()  # lines of text under the events
    colors: Mapping[str, str | Sequence[str]] = field(default_factory=dict)  # of a row, or else one for each caption


def draw_strips(strips: Sequence[Strip]) -> Figure:
    """One figure: each video as a strip of frames over its time line, with the events drawn where they happen."""
    heights = [_height(strip) for strip in strips]
    with in_style():
        figure, axes = new_figure(WIDTH, sum(heights), len(strips), height_ratios=heights, squeeze=False)
        for strip, ax in zip(strips, axes[:, 0]):
            _draw_strip(ax, strip)
    return figure


def _draw_strip(ax: Axes, strip: Strip) -> None:
    """A strip of frames on a time axis in seconds; below it lanes of events, then the notes."""
    (start, end), step = _limits(strip.timestamps)
    ax.set_xlim(start, end)
    shown, size = min(SHOWN, len(strip.frames)), (end - start) / SHOWN
    edges = np.linspace(start, end, shown + 1)
    nearest = _chosen(strip.timestamps, (edges[:-1] + edges[1:] - step) / 2)
    for left, k in zip(edges, nearest):
        margin = 0.03 * size
        ax.imshow(strip.frames[k], extent=(left + margin, left + size - margin, 0, 1), aspect="auto")
    captions = dict.fromkeys(event.caption for events in strip.rows.values() for event in events)
    colors = {caption: COLORS[k % len(COLORS)] for k, caption in enumerate(captions)}
    depth, ticks = 0.08, []
    for name, events in strip.rows.items():
        bars = _arrange(events, strip.timestamps)
        looks = np.broadcast_to(strip.colors.get(name, [colors[event.caption] for event in events]), len(events))
        for bar in bars:
            _draw_bar(ax, bar, -depth - LANE * bar.lane, str(looks[bar.event]))
        ticks.append((-depth - LANE * _lanes(bars) / 2, name))
        depth += LANE * _lanes(bars)
    fits = int((WIDTH - 0.4) / (LETTER * 8 / 9))
    for k, line in enumerate(strip.notes):
        line = line if len(line) <= fits else line[:fits - 1].rstrip() + "…"
        ax.text(start, -depth - AXIS - NOTE * k, line, fontsize=8, va="top", color="#333333", in_layout=False)
    ax.set_ylim(-depth - AXIS - NOTE * len(strip.notes), 1)
    ax.set_yticks([y for y, _ in ticks], [name for _, name in ticks])
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8, colors="#555555", length=2)
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set(position=("data", -depth), color="#aaaaaa")
    ax.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g} s")
    ax.set_title(strip.title)


def _chosen(timestamps: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The frames nearest to these times, but not only every second one, which would hide that a thing blinks."""
    nearest = np.abs(timestamps[None] - wanted[:, None]).argmin(1)
    if len(set((nearest % 2).tolist())) == 1:
        nearest[1::2] = (nearest[1::2] + 1).clip(max=len(timestamps) - 1)
    return nearest


@dataclass(frozen=True)
class _Bar:
    """An event from when its first frame appears until its last is replaced, and where its caption goes."""

    event: int  # which one of its row
    start: float
    end: float
    caption: str
    side: str  # of the bar that the caption is aligned to: center (inside), left (after it), right (before it)
    lane: int


def _arrange(events: Sequence[Event], timestamps: np.ndarray) -> list[_Bar]:
    """Bars and captions in as few lanes as it takes for none to touch."""
    (left, right), step = _limits(timestamps)
    taken: list[float] = []  # up to where each lane is full
    bars = []
    for k, event in sorted(enumerate(events), key=lambda pair: pair[1].start):
        start, end = event.start, event.end + step
        need = LETTER * (len(event.caption) + 2) / (WIDTH - 0.8) * (right - left) if event.caption else 0.0
        side = "center" if end - start >= need else "left" if end + need <= right else "right"
        first = start - need if side == "right" else start
        lane = next((k for k, full in enumerate(taken) if full <= first + 1e-6), len(taken))
        taken[lane:lane + 1] = [end + need if side == "left" else end]
        bars.append(_Bar(k, start, end, event.caption, side, lane))
    return bars


def _draw_bar(ax: Axes, bar: _Bar, top: float, color: str) -> None:
    ax.barh(top - 0.03, bar.end - bar.start, -0.36, bar.start, color=color, align="edge")
    place = {"center": (bar.start + bar.end) / 2, "left": bar.end, "right": bar.start}[bar.side]
    ax.text(place, top - 0.22, f" {bar.caption} ", fontsize=9, va="center", ha=bar.side,
            color=ink_on(color) if bar.side == "center" else "#222222")


def _limits(timestamps: np.ndarray) -> tuple[tuple[float, float], float]:
    """From the first frame until the last one is gone, and how long a frame stays."""
    step = float(np.median(np.diff(timestamps))) if len(timestamps) > 1 else 1.0
    return (float(timestamps[0]), float(timestamps[-1]) + step), step


def _lanes(bars: Sequence[_Bar]) -> int:
    return 1 + max((bar.lane for bar in bars), default=0)


def _height(strip: Strip) -> float:
    """Inches of a strip with all that is under it."""
    frame = 0.93 * WIDTH / SHOWN * strip.frames.shape[1] / strip.frames.shape[2]
    lanes = sum(_lanes(_arrange(events, strip.timestamps)) for events in strip.rows.values())
    return frame * (1.08 + LANE * lanes + AXIS + NOTE * len(strip.notes)) + 0.35
