"""Every figure that more than one page uses, in one style."""

from .curves import draw_confusion, draw_losses, draw_scores, draw_seeds, seed_interval
from .grounding import draw_curve, draw_targets, draw_timeline
from .notebook import Slider, show_source
from .preferences import draw_preferences
from .sequence import draw_mask, draw_tokens
from .strips import Strip, draw_strips
from .style import COLORS, in_style, ink_on, new_figure, use_style

__all__ = ["COLORS", "Slider", "Strip", "draw_confusion", "draw_curve", "draw_losses", "draw_mask",
           "draw_preferences", "draw_scores", "draw_seeds", "draw_strips", "draw_targets", "draw_timeline",
           "draw_tokens", "in_style", "ink_on", "new_figure", "seed_interval", "show_source", "use_style"]
