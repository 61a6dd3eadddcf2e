"""The executed notebook of a run as a page that any browser reads; what could run there is shown as text."""

from __future__ import annotations

import functools
import re
from html import escape
from pathlib import Path

import bleach
from bleach.css_sanitizer import CSSSanitizer

from ...config import ROOT
from ...files import atomic_path
from ..show.document import document
from .read import Run

TAGS = {"a", "b", "blockquote", "br", "code", "details", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i",
        "img", "li", "ol", "p", "pre", "span", "strong", "style", "summary", "table", "tbody", "td", "th", "thead",
        "tr", "ul"}
ATTRIBUTES = {"*": ["class", "id", "style", "title"], "a": ["href"], "img": ["src", "alt"]}


@functools.cache
def exporter():
    """One for all pages: it compiles its templates only once."""
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="basic")


def write_notebook_page(run: Run, out: Path) -> Path:
    """The page in `out`; one that is newer than the notebook stays as it is."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", run.variant)
    page = out / f"{name}-seed{run.seed}-{run.id}.html"
    if page.is_file() and page.stat().st_mtime >= run.notebook.stat().st_mtime:
        return page
    body, _ = exporter().from_filename(str(run.notebook))
    body = bleach.clean(body, TAGS, ATTRIBUTES, {"http", "https", "mailto", "data"}, css_sanitizer=CSSSanitizer())
    body = body.replace(f"{ROOT}/", "")  # a traceback's paths mean something inside the project only
    head = (f'<p><a href="../index.html">back to the study</a></p><p class="note">Run {escape(run.id)}: '
            f'{escape(run.variant)}, seed {run.seed}.</p>')
    with atomic_path(page) as partial:
        partial.write_text(document(f"{run.variant}, seed {run.seed}", f'{head}<div class="notebook">{body}</div>'),
                           encoding="utf-8")
    return page
