"""The colours of figures and pages, which all readers can distinguish."""

from __future__ import annotations

from PIL.ImageColor import getrgb

# Okabe and Ito's palette, without its yellow, which is lost on white
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
TRUTH, PREDICTED, WRONG, FAINT = COLORS[2], COLORS[0], COLORS[5], "#aaaaaa"
EVENT_COLORS = tuple(color for color in COLORS if color != TRUTH)


def event_color(k: int) -> str:
    """The colour of the k-th event, wherever it is shown."""
    return EVENT_COLORS[k % len(EVENT_COLORS)]


def ink_on(color: str) -> str:
    """Dark or white, whichever is legible on this colour, which is `#rrggbb` or has a name in CSS."""
    red, green, blue = getrgb(color)[:3]
    return "#222222" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.62 * 255 else "white"
