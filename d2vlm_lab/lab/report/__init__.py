"""From the files of finished runs to tables, figures and pages; nothing is run."""

from ...lazy import lazy

__getattr__, __all__ = lazy(__name__, {
    "figures": ["draw_comparison", "draw_differences", "draw_side_by_side"],
    "page": ["write_index", "write_report"],
    "read": ["read_results"],
    "tables": ["Tables", "conclusion", "conclusions", "find_tables", "label", "make_tables"],
    "text": ["variants_table"]})
