"""Every figure that more than one page uses, in one style."""

from ...lazy import lazy

__getattr__, __all__ = lazy(__name__, {
    "bars": ["draw_bars", "draw_layers", "draw_panels"],
    "colors": ["COLORS", "ink_on"],
    "curves": ["draw_confusion", "draw_losses", "draw_scores", "draw_seeds", "seed_interval"],
    "film": ["Film", "draw_film"],
    "grounding": ["draw_curve", "draw_curves", "draw_push", "draw_targets", "draw_timeline", "frame_edges"],
    "method": ["PARTS", "draw_method"],
    "notebook": ["Slider", "show_source"],
    "preferences": ["draw_preferences"],
    "sequence": ["draw_decoding", "draw_mask", "draw_tokens"],
    "strips": ["Strip", "draw_strips"],
    "style": ["in_style", "new_figure", "use_style"]})
