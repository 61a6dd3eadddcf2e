"""A text as the model reads it: its tokens, and which of them may look at which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from .colors import COLORS, ink_on
from .style import in_style, new_figure


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


def draw_mask(mask, segments: Sequence[tuple[str, int]]) -> Figure:
    """(Q, K) True where a query (row) may look at a key (column).

    `segments` are names and lengths along the keys; where there are fewer queries than keys, those are the last ones.
    """
    mask = np.asarray(mask, dtype=bool)
    edges = np.cumsum([0, *(length for _, length in segments)])
    if edges[-1] != mask.shape[1]:
        raise ValueError(f"segments are {edges[-1]} long together, but the mask has {mask.shape[1]} keys")
    skipped = mask.shape[1] - mask.shape[0]
    with in_style():
        figure, ax = new_figure(5.4, 5.4 * max(0.4, mask.shape[0] / mask.shape[1]))
        ax.imshow(mask, cmap=ListedColormap(["white", COLORS[4]]), vmin=0, vmax=1, aspect="auto",
                  extent=(0, mask.shape[1], mask.shape[0], 0), interpolation="nearest")
        for edge in edges[1:-1]:
            ax.axvline(edge, color="#333333", lw=0.8)
            if edge > skipped:
                ax.axhline(edge - skipped, color="#333333", lw=0.8)
        middles = (edges[:-1] + edges[1:]) / 2
        names = [name for name, _ in segments]
        ax.set_xticks(middles, names, rotation=30, ha="right", rotation_mode="anchor")
        rows = [(m - skipped, name) for m, name, end in zip(middles, names, edges[1:]) if end > skipped]
        ax.set_yticks([max(m, 0.5) for m, _ in rows], [name for _, name in rows])
        ax.tick_params(length=0)
        ax.spines[["top", "right"]].set_visible(True)
        ax.set(xlabel="may look at", ylabel="token")
    return figure


def draw_decoding(words: Sequence[str], curves, intervals: Sequence[tuple[int, int]], added: Sequence[float],
                  edges: Sequence[float]) -> Figure:
    """Every step of an answer as a row: its token, its curve, the interval of an `<evi>`, and what is added to it.

    `curves` are (steps, F), `edges` the F + 1 seconds at which a frame appears and the last one is gone.
    """
    rows = np.arange(len(words))
    with in_style():
        figure, (left, right) = new_figure(9, 0.19 * len(words) + 1, columns=2, width_ratios=(4, 1), sharey=True)
        left.pcolormesh(edges, np.arange(len(words) + 1) - 0.5, np.asarray(curves), cmap="Blues", vmin=0, vmax=1)
        for row, (word, (first, last)) in enumerate(zip(words, intervals)):
            if word == "<evi>":
                left.plot([edges[first], edges[last + 1]], [row, row], color=COLORS[1], lw=4, solid_capstyle="butt")
        left.set_yticks(rows, [word.replace("Ġ", "") or "(blank)" for word in words], fontsize=8)
        left.set(xlabel="time (s)", title="similarity with each frame", ylim=(len(words) - 0.5, -0.5))
        right.barh(rows, added, color=[COLORS[1] if word == "<evi>" else "#aaaaaa" for word in words])
        right.set(xlabel="added / embedding", title="what is added")
        right.tick_params(axis="y", length=0)
    return figure
