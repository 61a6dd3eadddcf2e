"""A figure with a slider where a notebook is alive, and the same figure as a picture where it is only read."""

from __future__ import annotations

import io
from collections.abc import Callable

from matplotlib.figure import Figure


class Slider:
    """`Slider(draw, name, low, high, value)` as the last line of a cell; `draw(number)` returns a figure."""

    def __init__(self, draw: Callable[[float], Figure], name: str, low: float, high: float, value: float,
                 step: float = 0.05):
        self.draw, self.settings = draw, {"description": name, "min": low, "max": high, "value": value, "step": step}

    def _repr_mimebundle_(self, **_):
        """Both forms at once: a page picks the widget if it can show one."""
        picture = io.BytesIO()
        self.draw(self.settings["value"]).savefig(picture, format="png")
        bundle = {"image/png": picture.getvalue(), "text/plain": f"a slider for {self.settings['description']}"}
        try:
            from IPython.display import display
            from ipywidgets import FloatSlider, interactive
        except ImportError:
            return bundle
        slider = FloatSlider(continuous_update=False, **self.settings)
        self.widget = interactive(lambda number: display(self.draw(number)), number=slider)
        return self.widget._repr_mimebundle_() | bundle
