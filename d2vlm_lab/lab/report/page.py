"""A study on one page, and a page over all studies; both from files only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path

from ...config import ROOT
from ...files import atomic_path
from . import sections as part
from .markdown import readme
from .notebook import write_notebook_page
from .read import Results, Run, read_results
from .style import document
from .tables import DEMONSTRATION, Tables, conclusion, make_tables, read_tables, write_tables

COMMITTED = ROOT / "experiments" / "results"
PAGES, FIGURES = "runs", "figures"


def write_report(folder: Path, out: Path | None = None, committed: Path = COMMITTED) -> Path:
    """Tables, figures and the page of the study in `folder`, under `out` (default: beside it); the page's path.

    `committed` is where earlier reports are kept: a demonstration is shown beside the one found there.
    """
    folder = Path(folder)
    results = read_results(folder)
    out = (Path(out) if out else folder.parent / "report") / results.name
    out.mkdir(parents=True, exist_ok=True)
    tables = make_tables(results)
    write_tables(tables, out)
    link = _linker(results, out)
    shutil.rmtree(out / FIGURES, ignore_errors=True)
    earlier = read_tables(committed / results.name) if (committed / results.name).resolve() != out.resolve() else None
    body = "\n".join([
        part.header(results, tables), part.failures(results, link), part.main_table(tables, results, link),
        part.difference_table(tables, results, link),
        part.committed_table(earlier, tables, os.path.relpath(committed / results.name, out)),
        part.comparisons(tables, out / FIGURES), part.training(results, out / FIGURES),
        part.disagreeing(results, link), part.cost_table(results, link), part.variation(results),
        part.provenance(results, link)])
    with atomic_path(out / "index.html") as partial:
        partial.write_text(document(f"{results.name}: {results.study['question']}", body), encoding="utf-8")
    with atomic_path(out / "README.md") as partial:
        partial.write_text(readme(tables), encoding="utf-8")
    write_index(out.parent)
    return out / "index.html"


def write_index(out: Path) -> Path:
    """The page over all studies that have a report in `out`."""
    rows = []
    for path in sorted(out.glob("*/study.json")):
        tables = read_tables(path.parent)
        first = tables.metrics[0] if tables.metrics else None
        told = escape(conclusion(tables, first)) if first else "No run has finished yet."
        label = DEMONSTRATION if len(tables.seeds) == 1 else f"{len(tables.seeds)} seeds"
        rows.append(f'<h2><a href="{escape(path.parent.name)}/index.html">{escape(tables.study["name"])}</a></h2>'
                    f'<p class="question">{escape(tables.study["question"])}</p>'
                    f'<p class="result{" demo" if len(tables.seeds) == 1 else ""}">{told}</p>'
                    f'<p class="note">{_progress(tables)}; {label}.</p>')
    body = ("<h1>Studies</h1><p>Each page is made from the files of its runs; every number on it leads to the notebook "
            "that made it.</p>") + "\n".join(rows or ["<p>No study has a report here yet.</p>"])
    with atomic_path(out / "index.html") as partial:
        partial.write_text(document("Studies", body), encoding="utf-8")
    return out / "index.html"


def _progress(tables: Tables) -> str:
    planned, done = len(tables.study["runs"]), tables.runs.run.nunique()
    profile = tables.study.get("profile", "")
    return f"{done} of {planned} runs finished{f', profile {escape(profile)}' if profile else ''}"


def _linker(results: Results, out: Path) -> Callable[[Run], str]:
    """From a run to the page of its notebook, made now; pages of runs that no longer count are removed."""
    pages = {run.id: write_notebook_page(run, out / PAGES) for run in results.runs if run.notebook}
    for old in set((out / PAGES).glob("*.html")) - set(pages.values()):
        old.unlink()
    return lambda run: f"{PAGES}/{pages[run.id].name}" if run.id in pages else ""


