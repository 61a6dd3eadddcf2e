"""From the files of finished runs to tables, figures and pages; nothing is run."""

from .command import configure, run
from .figures import draw_comparison, draw_differences, draw_side_by_side
from .page import write_index, write_report
from .read import read_results
from .tables import Tables, conclusion, conclusions, find_tables, label, make_tables
from .text import variants_table

__all__ = ["Tables", "conclusion", "conclusions", "configure", "draw_comparison", "draw_differences",
           "draw_side_by_side", "find_tables", "label", "make_tables", "read_results", "run", "variants_table",
           "write_index", "write_report"]
