"""The executed notebook of a run as a page that any browser reads."""

from __future__ import annotations

import functools
import re
from html import escape
from pathlib import Path

from ...config import ROOT
from ...files import atomic_path
from .read import Run
from .style import document


@functools.cache
def exporter():
    """One for all pages: it compiles its templates only once."""
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="basic")


def page_name(run: Run) -> str:
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', run.variant)}-seed{run.seed}-{run.id}.html"


def write_notebook_page(run: Run, out: Path, back: str = "../index.html") -> Path:
    """The page in `out`; one that is newer than the notebook stays as it is."""
    page = out / page_name(run)
    if page.is_file() and page.stat().st_mtime >= run.notebook.stat().st_mtime:
        return page
    body, _ = exporter().from_filename(str(run.notebook))
    body = body.replace(f"{ROOT}/", "")  # a traceback's paths mean something inside the project only
    head = (f'<p><a href="{escape(back)}">back to the study</a></p><p class="note">Run {escape(run.id)}: '
            f'{escape(run.variant)}, seed {run.seed}.</p>')
    with atomic_path(page) as partial:
        partial.write_text(document(f"{run.variant}, seed {run.seed}", f'{head}<div class="notebook">{body}</div>'),
                           encoding="utf-8")
    return page
