"""A video that runs while its standing questions are answered, as an animated picture.

Beside the newest frame, each question has its curve, which grows. An event is a pale bar while it goes on, and a solid
one once it is closed; then the words appear. The grey part of the time line has been shown, but not been read yet.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ...model.streaming.standing import Closed, StandingQuestion, Update, Withdrawn
from ..live import Live
from .colors import PREDICTED, event_color
from .style import in_style

EACH, LAST = 250, 2500  # milliseconds for which a picture and the last one stay


@dataclass(frozen=True)
class Film:
    """One picture for each moment."""

    pictures: Sequence[Image.Image]

    def save(self, path: str | os.PathLike) -> None:
        """An animated WebP, which goes on for ever."""
        Path(path).write_bytes(self.encoded())

    def encoded(self) -> bytes:
        file = io.BytesIO()
        times = [EACH] * (len(self.pictures) - 1) + [LAST]
        self.pictures[0].save(file, "WEBP", save_all=True, append_images=self.pictures[1:], duration=times, loop=0,
                              quality=70, method=4)
        return file.getvalue()

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.encoded()).decode()
        return f'<img style="max-width: 100%" src="data:image/webp;base64,{source}" alt="the video while it runs">'


def draw_film(live: Live, seconds: float) -> Film:
    """Listen to the end of a stream that takes so many `seconds`, and draw every moment."""
    events: dict[tuple[str, int], Update] = {}
    pictures = []
    for moment in live.moments():
        for update in moment:
            if isinstance(update, Withdrawn):
                del events[update.question, update.number]
            elif isinstance(update, Update):
                events[update.question, update.number] = update
        if live.stream.newest is not None:  # a note may come before the first frame
            pictures.append(drawn(live, list(events.values()), seconds))
    return Film(pictures)


def drawn(live: Live, events: Sequence[Update], seconds: float) -> Image.Image:
    """This moment: the newest frame on the left, a row for each question on the right."""
    rows = max(1, len(live.questions))
    with in_style():
        figure = Figure((8.4, 0.7 + 1.25 * rows), dpi=90)
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(rows, 2, width_ratios=(1, 3), left=0.01, right=0.99, top=0.9, bottom=0.15,
                                   hspace=0.8, wspace=0.08)
        picture = figure.add_subplot(grid[:, 0])
        picture.imshow(live.stream.newest.pixels)
        picture.set_title(f"{live.now:.1f} s")
        picture.axis("off")
        for row, standing in enumerate(live.questions):
            ax = figure.add_subplot(grid[row, 1])
            draw_question(ax, standing, [each for each in events if each.question == standing.question])
            read = standing.seconds[-1] + step_of(standing) if standing.seconds else 0.0
            ax.axvspan(min(read, live.now), live.now, color="#eeeeee", lw=0)
            ax.axvline(live.now, color="#333333", lw=1)
            ax.set(xlim=(0, seconds), ylim=(0, 1.35), yticks=(0, 1), xlabel="time (s)")
            ax.label_outer()
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def draw_question(ax: Axes, standing: StandingQuestion, events: Sequence[Update]) -> None:
    """The curve so far, its events, and what was said last."""
    times = np.array(standing.seconds)
    step = step_of(standing)
    if len(times):
        edges = np.append(times, times[-1] + step)
        ax.stairs(list(standing.curve), edges, color=PREDICTED, alpha=0.3, fill=True)
    for event in events:
        start, end = event.interval
        ax.plot([start, end + step], [1.18, 1.18], color=event_color(event.number), lw=7, solid_capstyle="butt",
                alpha=1.0 if isinstance(event, Closed) else 0.35)
    ax.set_title(standing.question, fontsize=9)
    said = [event for event in events if isinstance(event, Closed) and event.text]
    if said:
        newest = max(said, key=lambda event: event.seconds)
        ax.set_title(newest.text, loc="right", fontsize=9, fontweight="bold", color=event_color(newest.number))


def step_of(standing: StandingQuestion) -> float:
    """Seconds for which a frame stays."""
    return float(np.median(np.diff(standing.seconds))) if len(standing.seconds) > 1 else 0.5
