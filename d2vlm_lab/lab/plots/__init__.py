"""Every picture that more than one page uses, in one style."""

from .answers import draw_answer
from .attention import draw_mask
from .curves import draw_confusion, draw_losses, draw_scores, draw_seeds, read_history, seed_interval
from .grounding import draw_curve, draw_targets, draw_timeline
from .preferences import draw_preferences
from .slider import Slider
from .source import show_source
from .strips import Strip, draw_strip, draw_strips
from .style import COLORS, STYLE, in_style, ink_on, new_figure, use_style
from .tokens import draw_tokens

__all__ = ["COLORS", "STYLE", "Slider", "Strip", "draw_answer", "draw_confusion", "draw_curve", "draw_losses",
           "draw_mask", "draw_preferences", "draw_scores", "draw_seeds", "draw_strip", "draw_strips",
           "draw_targets", "draw_timeline", "draw_tokens", "in_style", "ink_on", "new_figure",
           "read_history", "seed_interval", "show_source", "use_style"]
