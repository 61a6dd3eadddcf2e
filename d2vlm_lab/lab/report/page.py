"""A study on one page, the executed notebook of each run, and a page over all studies; from files only."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from pathlib import Path

import mistune

from ...errors import LabError
from ...files import atomic_path, write_text
from ..show.card import cards_html
from ..show.document import document
from .examples import examples
from .figures import draw_comparison, draw_training, svg
from .join import read_joined
from .map import draw_map, has_map, maps, write_map
from .notebook import NOTHING_RUNS, notebook_html
from .read import KEPT, Results, Run, read_results
from .tables import DEMONSTRATION, Tables, find_tables, make_tables, write_tables
from .text import background, findings, found_before, in_short

ALL = "[all studies](../index.html)\n\n"
DISAGREE = """## Where variants disagree

The questions on which the overlap with the truth differs most between variants, on one seed. They were selected for
that, so they are not typical."""


class Renderer(mistune.HTMLRenderer):
    """HTML of a text in `folder`: tags that stand in the text are shown as text, its figures travel inside the page."""

    def __init__(self, folder: Path):
        super().__init__(escape=True)
        self.folder = folder

    def image(self, text: str, url: str, title: str | None = None) -> str:
        figure = self.folder / "figures" / Path(url).name
        if not figure.is_file():
            return mistune.escape(text)
        data = base64.b64encode(figure.read_bytes()).decode()
        return super().image(text, "", title).replace('src=""', f'src="data:image/svg+xml;base64,{data}"')


def render(text: str, folder: Path) -> str:
    return mistune.create_markdown(renderer=Renderer(folder), plugins=["table"])(text)


def write_report(folder: Path, out: Path | None = None, kept: Path = KEPT, more: Sequence[Path] = ()) -> Path:
    """Tables, figures and the page of the study in `folder`, under `out` (default: beside it); the page's path.

    `folder` holds runs, or a report that is kept, and so do `more`, which have further runs of the same study. `kept`
    is where kept reports are: a demonstration is shown beside the one there.
    """
    results = read_joined([folder, *more])
    name, tables = results.study["name"], make_tables(results)
    out = (Path(out) if out else results.folder.parent / "report") / name
    if out.resolve() in {Path(source).resolve() for source in (folder, *more)}:
        raise LabError(f"{out}: the report would replace the files that it is made from; choose another --out")
    write_tables(tables, out)
    write_map(tables, out)
    pages, figures = _notebooks(results, out / "runs"), _figures(results, tables, out / "figures")
    earlier = find_tables(name, [kept])
    before = ""
    if earlier and len(earlier.seeds) > len(tables.seeds):
        before = found_before(earlier, tables, os.path.relpath(kept / name, out))
    cards = examples(results, pages)
    answers = render(DISAGREE, out) + cards_html(cards) if cards else ""
    body = (render(ALL + findings(results, tables, figures, pages) + before, out) + answers
            + render(background(results, tables, pages), out))
    write_text(out / "index.html", document(f"{name}: {results.study['question']}", body))
    write_text(out / "README.md", findings(results, tables, figures) + "\n" + background(results, tables))
    write_index(out.parent)
    return out / "index.html"


def write_index(out: Path) -> Path:
    """The page over all studies that have a report in `out`."""
    parts = ["# Studies", "Each page is made from the files of its runs; every number on it leads to the notebook that "
             "made it, where that is still there."]
    for path in sorted(out.glob("*/study.json")):
        tables = make_tables(read_results(path.parent))
        parts += [f"## [{tables.study['name']}](<{path.parent.name}/index.html>)", f"**{tables.study['question']}**",
                  in_short(tables, tables.metrics[0]) if tables.metrics else "No run has finished yet.",
                  _progress(tables)]
    write_text(out / "index.html", document("Studies", render("\n\n".join(parts), out)))
    return out / "index.html"


def write_notebook_page(run: Run, out: Path) -> Path:
    """The executed notebook of a run in `out`; a page that is newer than the notebook stays as it is."""
    page = out / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', run.variant)[:60]}-seed{run.seed}-{run.id}.html"
    if not page.is_file() or page.stat().st_mtime < run.notebook.stat().st_mtime:
        head = f"[back to the study](../index.html)\n\nRun {run.id}: {run.variant}, seed {run.seed}."
        write_text(page, document(f"{run.variant}, seed {run.seed}", f'{render(head, out)}<div class="notebook">'
                                  f"{notebook_html(run.notebook)}</div>", NOTHING_RUNS))
    return page


def _progress(tables: Tables) -> str:
    profile, seeds = tables.study.get("profile"), len(tables.seeds)
    return (f"{tables.runs.run.nunique()} of {len(tables.study['runs'])} runs finished"
            f"{f', profile {profile}' if profile else ''}; {DEMONSTRATION if seeds == 1 else f'{seeds} seeds'}.")


def _notebooks(results: Results, out: Path) -> dict[str, str]:
    """From the id of each run to the page of its notebook, made now; pages of runs that no longer count are removed."""
    pages = {run.id: write_notebook_page(run, out) for run in (*results.shared, *results.runs) if run.notebook}
    for old in set(out.glob("*.html")) - set(pages.values()):
        old.unlink()
    return {run: f"{out.name}/{page.name}" for run, page in pages.items()}


def _figures(results: Results, tables: Tables, out: Path) -> list[str]:
    """A figure for each metric, and how training went; of a kept report, whose histories are gone, the one it has."""
    drawings = ({metric: svg(draw_map(tables, metric)) for metric in maps(tables)}
                or {metric: svg(draw_comparison(tables, metric)) for metric in tables.metrics})
    kept = results.folder / "figures" / "training.svg"
    if not has_map(tables) and (training := draw_training(results)):  # a map has too many runs for one figure of lines
        drawings["training"] = svg(training)
    elif kept.is_file():
        drawings["training"] = kept.read_bytes()
    for name, drawing in drawings.items():
        with atomic_path(out / f"{name}.svg") as partial:
            partial.write_bytes(drawing)
    for old in set(out.glob("*.svg")) - {out / f"{name}.svg" for name in drawings}:
        old.unlink()
    return list(drawings)
