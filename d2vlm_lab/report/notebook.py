"""The executed notebook of a run as a page that any browser reads."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from ..sample import atomic_path
from .read import Run
from .style import document


def page_name(run: Run) -> str:
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', run.variant)}-seed{run.seed}-{run.id}.html"


def write_notebook_page(run: Run, out: Path, back: str = "../index.html") -> Path:
    """The page in `out`; one that is newer than the notebook stays as it is."""
    page = out / page_name(run)
    if page.is_file() and page.stat().st_mtime >= run.notebook.stat().st_mtime:
        return page
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(run.notebook, as_version=4)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    head = (f'<p><a href="{escape(back)}">back to the study</a></p><p class="note">Run {escape(run.id)}: '
            f'{escape(run.variant)}, seed {run.seed}.</p>')
    with atomic_path(page) as partial:
        partial.write_text(document(f"{run.variant}, seed {run.seed}", f'{head}<div class="notebook">{body}</div>'),
                           encoding="utf-8")
    return page
