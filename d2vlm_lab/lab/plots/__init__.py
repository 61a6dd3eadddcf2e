"""Every figure that more than one page uses, in one style."""

from .bars import draw_bars, draw_layers, draw_panels
from .curves import draw_confusion, draw_losses, draw_scores, draw_seeds, seed_interval
from .grounding import draw_curve, draw_curves, draw_push, draw_targets, draw_timeline, frame_edges
from .method import PARTS, draw_method
from .notebook import Slider, show_source
from .preferences import draw_preferences
from .sequence import draw_decoding, draw_mask, draw_tokens
from .strips import Strip, draw_strips
from .style import COLORS, in_style, ink_on, new_figure, use_style

__all__ = ["COLORS", "PARTS", "Slider", "Strip", "draw_bars", "draw_confusion", "draw_curve", "draw_curves",
           "draw_decoding", "draw_layers", "draw_losses", "draw_mask", "draw_method", "draw_panels",
           "draw_preferences", "draw_push", "draw_scores", "draw_seeds", "draw_strips", "draw_targets",
           "draw_timeline", "draw_tokens", "frame_edges", "in_style", "ink_on", "new_figure", "seed_interval",
           "show_source", "use_style"]
