"""A text as the model reads it: one box for each token, with the ones that matter in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from .style import in_style, ink_on, new_figure


def draw_tokens(tokens: Sequence[str], colors: Mapping[str, str] | None = None, width: float = 9.0) -> Figure:
    """Tokens in reading order, as many lines as it takes; `colors` by token. A leading blank is drawn as `_`."""
    places, x, line = [], 0.0, 0
    for token in tokens:
        shown = token.replace("Ġ", "_").replace(" ", "_").replace("\n", "\\n")
        size = 0.075 * len(shown) + 0.11  # inches: of a monospaced letter at 9 points, and around all of them
        if x > 0 and x + size > width:
            x, line = 0.0, line + 1
        places.append((x + size / 2, line, shown, (colors or {}).get(token, "#eeeeee")))
        x += size + 0.055
    with in_style():
        figure, ax = new_figure(width, 0.3 * (line + 1) + 0.1)
        for middle, row, shown, color in places:
            ax.text(middle, row, shown, family="monospace", ha="center", va="center", color=ink_on(color),
                    bbox={"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": "#cccccc"})
        ax.set(xlim=(-0.05, width + 0.05), ylim=(line + 0.55, -0.55))
        ax.axis("off")
    return figure
