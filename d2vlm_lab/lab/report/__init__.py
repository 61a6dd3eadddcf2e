"""From the files of finished runs to tables, figures and pages; nothing is run."""

from .command import configure, run
from .figures import draw_comparison, draw_differences, draw_side_by_side
from .labels import label
from .markdown import variants_table
from .page import write_index, write_report
from .read import read_results
from .tables import Tables, conclusion, find_tables, make_tables, read_tables, told

__all__ = ["Tables", "conclusion", "configure", "draw_comparison", "draw_differences", "draw_side_by_side",
           "find_tables", "label", "make_tables", "read_results", "read_tables", "run", "told", "variants_table",
           "write_index", "write_report"]
