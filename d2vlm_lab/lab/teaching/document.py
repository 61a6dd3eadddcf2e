"""Markdown with formulas and figures -> one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from html import escape

import mistune
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image
from mistune.plugins.math import math
from mistune.plugins.table import table

SIZE = 10  # points of a formula's letters, in which its height is measured


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def figure_html(figure: Figure, caption: str) -> str:
    """The figure inside the page, sharp enough for a projector."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=200)
    return f'<img class="figure" alt="{escape(caption)}" src="{data_url("image/png", picture.getvalue())}">'


def formula_html(source: str, block: bool) -> str:
    """A formula as a picture made of curves, as tall as its letters, on the line of the text around it."""
    image = io.BytesIO()
    with rc_context({"mathtext.fontset": "dejavusans", "svg.fonttype": "path", "savefig.dpi": 72}):
        depth = math_to_image(f"${source}$", image, FontProperties(size=SIZE), dpi=72, format="svg")
    height = float(image.getvalue().split(b'height="')[1].split(b"pt")[0])
    style = f"height:{height / SIZE:.3f}em;vertical-align:{-depth / SIZE:.3f}em"
    address = data_url("image/svg+xml", image.getvalue())
    picture = f'<img class="math" alt="{escape(source)}" style="{style}" src="{address}">'
    return f'<div class="formula">{picture}</div>\n' if block else picture


class Renderer(mistune.HTMLRenderer):
    """Formulas become pictures, and an image called `figure:NAME` becomes the figure of this name."""

    def __init__(self, draw: Callable[[str], Figure]):
        super().__init__(escape=False)
        self.draw = draw

    def image(self, text: str, url: str, title: str | None = None) -> str:
        kind, _, name = url.partition("figure:")
        return super().image(text, url, title) if kind else figure_html(self.draw(name), text)


def to_html(text: str, draw: Callable[[str], Figure]) -> str:
    renderer = Renderer(draw)
    markdown = mistune.create_markdown(renderer=renderer, plugins=[math, table])
    renderer.register("inline_math", lambda _, source: formula_html(source, False))
    renderer.register("block_math", lambda _, source: formula_html(" ".join(source.split()), True))
    return markdown(text)
