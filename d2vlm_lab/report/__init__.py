"""From the files of finished runs to tables, figures and pages; nothing is run."""

from .command import configure, run
from .figures import draw_comparison
from .labels import label
from .page import write_index, write_report
from .read import read_results
from .tables import Tables, conclusion, make_tables, read_tables

__all__ = ["Tables", "conclusion", "configure", "draw_comparison", "label", "make_tables", "read_results",
           "read_tables", "run", "write_index", "write_report"]
