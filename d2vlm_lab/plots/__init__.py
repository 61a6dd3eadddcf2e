"""Every picture that more than one page uses, in one style."""

from .preferences import draw_preferences
from .source import show_source
from .strips import Strip, draw_strip, draw_strips
from .style import COLORS, STYLE, in_style, ink_on, new_figure, use_style

__all__ = ["COLORS", "STYLE", "Strip", "draw_preferences", "draw_strip", "draw_strips", "in_style", "ink_on",
           "new_figure", "show_source", "use_style"]
