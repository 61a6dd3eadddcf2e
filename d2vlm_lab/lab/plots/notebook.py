"""What a notebook's page shows beside figures: sliders, and functions of the library from their own source."""

from __future__ import annotations

import inspect
import io
import textwrap
from collections.abc import Callable

from IPython.display import display
from ipywidgets import FloatSlider, interactive
from matplotlib.figure import Figure
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

PAGE = "color: #222; background: #f8f8f8; padding: 0.3em 0.4em"
LINES = ("font-size: var(--jp-code-font-size, 13px); white-space: pre; overflow-x: auto; word-break: normal; "
         "color: inherit; background: none")


class Slider:
    """`Slider(draw, name, low, high, value)` as the last line of a cell; `draw(number)` returns a figure."""

    def __init__(self, draw: Callable[[float], Figure], name: str, low: float, high: float, value: float):
        self.draw, self.settings = draw, {"description": name, "min": low, "max": high, "value": value, "step": 0.05}

    def _repr_mimebundle_(self, **_):
        """Both forms at once: a page picks the widget if it can show one."""
        picture = io.BytesIO()
        self.draw(self.settings["value"]).savefig(picture, format="png")
        bundle = {"image/png": picture.getvalue(), "text/plain": f"a slider for {self.settings['description']}"}
        slider = FloatSlider(continuous_update=False, **self.settings)
        self.widget = interactive(lambda number: display(self.draw(number)), number=slider)
        return self.widget._repr_mimebundle_() | bundle


class Source:
    """Python code as a page shows it: a line wider than the page scrolls, so that no word is broken."""

    def __init__(self, code: str):
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_html_(self) -> str:
        style = HtmlFormatter(noclasses=True, nobackground=True, cssstyles=PAGE, prestyles=LINES)
        return highlight(self.code, PythonLexer(), style)

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def show_source(*things) -> Source:
    """The source of functions, methods or classes, highlighted, in the order given; the last line of a cell."""
    return Source("\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in things))
