"""One picture of the whole method, the same on every page, with the part lit that the page is about."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from .colors import COLORS, ink_on
from .style import in_style, new_figure

BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = COLORS
PARTS = {"world": "a video and a question", "frames": "frames become tokens", "language": "the language model",
         "answer": "the answer and its evidence tokens", "similarity": "evidence is compared with frames",
         "grounding": "the grounding loss", "semantics": "what was seen enters the token",
         "consistency": "two mentions agree", "adapter": "what is trained", "preference": "right answers are preferred",
         "score": "how good an answer is"}
CURVE = np.array([0.06, 0.12, 0.9, 0.97, 0.86, 0.3, 0.1, 0.07])  # of the evidence token in the picture
FRAME, INSIDE = 4.0, (2, 3, 4)  # width of a frame; which frames its interval holds
ANSWER = (("<evi>", 7.4), ("</evi>", 7.8), ("in", 5.0), ("<evi>", 7.4), ("it", 5.0), ("spins", 7.4))
LEFT, ASKED, SAID, END = 3.0, 39.0, 52.5, 96.0  # where frames, question and answer begin, and where all ends


def draw_method(*lit: str) -> Figure:
    """The whole method; the parts `lit` (see PARTS) are in colour, the others grey. Without any, all are in colour."""
    if unknown := [part for part in lit if part not in PARTS]:
        raise ValueError(f"the picture has no part {unknown[0]!r}; it has {', '.join(PARTS)}")
    with in_style():
        figure, ax = new_figure(9, 9 * 0.56)
        ax.set(xlim=(0, 97.5), ylim=(-0.6, 53.4), aspect="equal")
        ax.axis("off")
        _Picture(ax, lit or tuple(PARTS)).draw()
    return figure


class _Picture:
    """Draws boxes, letters and arrows, each as a part that is lit or not."""

    def __init__(self, ax: Axes, lit: tuple[str, ...]):
        self.ax, self.lit = ax, lit

    def draw(self) -> None:
        self.video()
        self.tokens()
        self.model()
        self.comparison()
        self.losses()

    def video(self) -> None:
        """The frames of a video, with a red square that turns on some of them, and the question."""
        for k in range(len(CURVE)):
            x = LEFT + FRAME * k
            self.ax.add_patch(Rectangle((x + 0.15, 0.3), FRAME - 0.3, 3.9, fc=self.ink("world", "#fafafa"), lw=0.8,
                                        ec=self.ink("world", "#888888")))
            turn = 35 * (k - 1) if k in INSIDE else 0
            self.ax.add_patch(Rectangle((x + 1.1, 1.3), 1.8, 1.8, angle=turn, rotation_point="center",
                                        fc=self.ink("world", RED) if "world" in self.lit else "#c8c8c8", lw=0))
            self.arrow("frames", (x + FRAME / 2, 4.4), (x + FRAME / 2, 6.6))
        self.text("world", LEFT - 1.2, 2.2, "video", rotation=90)
        self.text("world", ASKED, 2.2, "question:  when does the red square spin?", ha="left")
        self.box("frames", LEFT, 6.8, FRAME * len(CURVE), 4.0, "frame encoder (frozen), projector", BLUE)

    def tokens(self) -> None:
        """What the language model reads, from left to right: frames, question, answer."""
        for k in range(len(CURVE)):
            x = LEFT + FRAME * k
            self.arrow("frames", (x + FRAME / 2, 10.9), (x + FRAME / 2, 12.9))
            self.box("frames", x + 0.3, 13.1, FRAME - 0.6, 3.6, f"$v_{k + 1}$", SKY)
            self.arrow("language", (x + FRAME / 2, 17.0), (x + FRAME / 2, 19.0))
        self.arrow("world", (ASKED + 5.7, 3.6), (ASKED + 5.7, 12.9))
        self.box("language", ASKED, 13.1, 11.4, 3.6, "question", GREY)
        self.arrow("language", (ASKED + 5.7, 17.0), (ASKED + 5.7, 19.0))
        for (x, width), (word, _) in zip(self.places(), ANSWER):
            self.box("answer", x, 13.1, width, 3.6, word, {"<evi>": ORANGE, "</evi>": RED}.get(word, "#dddddd"))
            self.arrow("language", (x + width / 2, 17.0), (x + width / 2, 19.0))
        (first, _), (end, _), (text, _), *_, (last, width) = self.places()
        for start, stop, name in ((first, text - 0.8, "grounding stage"), (text, last + width, "answer stage")):
            self.ax.plot([start, stop], [11.6, 11.6], color=self.ink("answer", "#777777"), lw=0.9)
            self.text("answer", (start + stop) / 2, 10.0, name)

    def model(self) -> None:
        """The language model over all tokens, and the small part of it that is trained."""
        self.box("language", LEFT, 19.2, END - LEFT, 5.4, "", "#d8e6f0")
        self.text("language", 43, 21.9, "language model (frozen)", size=10)
        self.box("adapter", END - 17, 20.1, 15.8, 3.6, "+ LoRA (trained)", GREEN)

    def comparison(self) -> None:
        """The heads, the curve with its interval, and the way of what was seen there back into the token."""
        (evi, width), _, (word, short), (again, _), *_ = self.places()
        for k in range(len(CURVE)):
            self.arrow("similarity", (LEFT + FRAME * (k + 0.5), 24.8), (LEFT + FRAME * (k + 0.5), 27.4))
        self.box("similarity", LEFT, 27.6, FRAME * len(CURVE), 3.8, r"frame head:  $f_1 \ldots f_8$", BLUE)
        first, second = ASKED + 9.6, word + short / 2  # the states before each `<evi>`, which predict it
        for x in (first, second):
            self.arrow("similarity", (x, 24.8), (x, 27.4))
        self.box("similarity", first - 6, 27.6, second - first + 12, 3.8, "evidence head:  $g$ and $g'$", ORANGE)
        self.arrow("similarity", (first - 3, 31.7), (LEFT + FRAME * len(CURVE) + 0.8, 38.5))
        self.text("similarity", ASKED - 1.0, 42.2, "similarity\n" + r"$z = g\,f^{\top}/\sqrt{D}$", ha="left")
        self.curve()
        start, stop = LEFT + FRAME * INSIDE[0], LEFT + FRAME * (INSIDE[-1] + 1)
        middle, mentions = (start + stop) / 2 + 1, (evi + width / 2, again + width / 2)
        self.ax.plot([start + 0.3, stop - 0.3], [25.6, 25.6], color=self.ink("semantics", GREEN), lw=3)
        self.ax.plot([middle, middle, mentions[1]], [25.6, 18.0, 18.0], color=self.ink("semantics", GREEN), lw=2)
        for x in mentions:
            self.arrow("semantics", (x, 18.0), (x, 16.9), GREEN, 2)
        self.text("semantics", LEFT + FRAME * len(CURVE) - 0.2, 18.0, " mean state ", color=GREEN, ha="right", size=8,
                  bbox={"fc": "white", "ec": "none", "pad": 1}, zorder=5)

    def curve(self) -> None:
        """One bar for each frame; those in the interval that the 60 % rule reads are darker."""
        base, height, end = 33.4, 9.0, LEFT + FRAME * len(CURVE)
        for k, value in enumerate(CURVE):
            color = ORANGE if k in INSIDE else "#f3d9a4"
            self.ax.add_patch(Rectangle((LEFT + FRAME * k + 0.25, base), FRAME - 0.5, height * value, lw=0,
                                        fc=self.ink("similarity", color)))
        top, dark = base + 0.6 * height, self.ink("similarity", "#333333")
        self.ax.plot([LEFT, end], [top, top], color=dark, lw=0.9, ls="--")
        self.ax.plot([LEFT, end], [base, base], color=dark, lw=0.9)
        self.text("similarity", end - 0.3, top + 1.2, "60 % of the peak", ha="right", size=7.5)
        start, stop = LEFT + FRAME * INSIDE[0], LEFT + FRAME * (INSIDE[-1] + 1)
        self.ax.plot([start, stop], [base + height + 1.2] * 2, color=self.ink("similarity", RED), lw=3.5,
                     solid_capstyle="butt")
        self.text("similarity", stop + 0.8, base + height + 1.2, "the interval", ha="left", color=RED)

    def losses(self) -> None:
        """What is trained for, and what is measured in the end."""
        first, second = ASKED + 9.6, self.places()[2][0] + self.places()[2][1] / 2
        self.box("grounding", LEFT, 48.2, FRAME * len(CURVE), 4.2, "grounding loss:  $z$ against targets", RED)
        self.arrow("grounding", (LEFT + 4, 45.0), (LEFT + 4, 48.0), RED)
        for x in (first + 4, second):
            self.arrow("consistency", (x, 31.7), (x, 37.0), PINK)
        self.box("consistency", first + 0.6, 37.2, second - first + 3.2, 4.2, "consistency loss:  $|g - g'|$", PINK)
        self.box("language", END - 19, 37.2, 19, 4.2, "answer loss:  next token", GREY)
        self.arrow("language", (END - 10, 24.8), (END - 10, 37.0), GREY)
        self.box("preference", ASKED - 0.5, 48.2, 34.5, 4.2, "preference loss:  chosen over rejected", "#8a6d1a")
        self.box("score", END - 19, 48.2, 19, 4.2, "score:  IoU, F1, words", GREEN)

    def places(self) -> list[tuple[float, float]]:
        """Where each token of the answer begins, and its width."""
        widths = [width for _, width in ANSWER]
        starts = np.cumsum([SAID, *(width + 0.6 for width in widths)])
        return [(float(x), width) for x, width in zip(starts, widths)]

    def ink(self, part: str, color: str) -> str:
        return color if part in self.lit else "#e6e6e6"

    def box(self, part: str, x: float, y: float, width: float, height: float, words: str, color: str) -> None:
        lit = part in self.lit
        self.ax.add_patch(FancyBboxPatch((x + 0.3, y + 0.3), width - 0.6, height - 0.6, lw=0.9,
                                         boxstyle="round,pad=0.3,rounding_size=0.7", fc=color if lit else "#f7f7f7",
                                         ec=color if lit else "#cfcfcf"))
        self.ax.text(x + width / 2, y + height / 2, words, ha="center", va="center", size=8.5,
                     color=ink_on(color) if lit else "#a5a5a5")

    def text(self, part: str, x: float, y: float, words: str, color: str = "#222222", size: float = 8.5,
             ha: str = "center", **style) -> None:
        self.ax.text(x, y, words, ha=ha, va="center", size=size, color=color if part in self.lit else "#b0b0b0",
                     **style)

    def arrow(self, part: str, start: tuple, end: tuple, color: str = "#555555", width: float = 1.0) -> None:
        self.ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=7, lw=width, shrinkA=0,
                                          shrinkB=0, color=self.ink(part, color)))
