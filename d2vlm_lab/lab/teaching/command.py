"""`d2vlm-lab handouts DIR`: the slides and the handout of notebooks/teaching, each as one file to show or to print."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ...config import ROOT, resolve
from ...errors import LabError
from ...files import atomic_path, write_text
from ...reader import read_text
from .. import lesson
from .document import to_html
from .figures import Figures

SOURCES = ROOT / "notebooks" / "teaching"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
PATIENCE = 120  # seconds for printing a page
BOTH = """
* { box-sizing: border-box } body { margin: 0; font-family: "DejaVu Sans", Verdana, sans-serif; color: #222 }
img.figure { display: block; margin: .4em auto; max-width: 100% }
.formula { text-align: center; margin: .5em 0; font-size: 1.2em }
table { border-collapse: collapse; margin: .5em 0 } td, th { border-bottom: 1px solid #ccc; padding: .15em .5em;
text-align: left; vertical-align: top } code { background: #f1f1f1; padding: 0 .2em } a { color: #0072B2 }
"""
SLIDES = BOTH + """
html { scroll-snap-type: y mandatory } section { height: 100vh; padding: 4vh 6vw; scroll-snap-align: start;
display: flex; flex-direction: column; font-size: 3.1vh; line-height: 1.45; position: relative; overflow: hidden }
h1 { font-size: 2em; margin: 0 0 .4em; color: #0072B2 } section.first { justify-content: center }
section > p:has(img.figure) { flex: 1; min-height: 0; margin: 0; display: flex; justify-content: center }
img.figure { max-height: 100%; object-fit: contain; margin: 0 } footer { position: absolute; right: 2vw; bottom: 1.5vh;
font-size: .6em; color: #888 } ul, ol { margin: .2em 0; padding-left: 1.2em }
@page { size: 32cm 18cm; margin: 0 } @media print { section { width: 32cm; height: 18cm; padding: 1cm 1.6cm;
font-size: 15.5pt; break-after: page } }
"""
HANDOUT = BOTH + """
@page { size: A4; margin: 13mm 15mm } body { font-size: 8.8pt; line-height: 1.36; max-width: 180mm; margin: 0 auto }
h1 { font-size: 15pt; margin: 0 0 1mm; color: #0072B2 } h2 { font-size: 10.5pt; margin: 2.6mm 0 .8mm; color: #0072B2 }
p, ul, ol { margin: .9mm 0 } ul, ol { padding-left: 5mm } table { font-size: 8.2pt; width: 100% }
"""
KEYS = """
const slides = [...document.querySelectorAll("section")];
const here = () => slides.findIndex(s => s.getBoundingClientRect().bottom > innerHeight / 2);
const go = k => slides[Math.max(0, Math.min(slides.length - 1, k))].scrollIntoView();
addEventListener("keydown", e => { const step = {ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1,
  ArrowUp: -1, PageUp: -1}[e.key]; if (step) { e.preventDefault(); go(here() + step); } });
"""


def configure(parser) -> None:
    parser.add_argument("out", help="folder for the files")
    parser.add_argument("--world", default="data/world-walkthrough", help="world of the figures; made if it is missing")
    parser.add_argument("--videos", type=int, default=400, help="size of that world")
    parser.add_argument("--sources", default=str(SOURCES), help="folder that holds slides.md and handout.md")


def run(args) -> None:
    out, sources = Path(args.out), Path(args.sources)
    if os.path.lexists(out) and not os.path.isdir(out):
        raise LabError(f"{out} is not a folder; choose another name")
    texts = {name: read_text(sources / f"{name}.md") for name in ("slides", "handout")}
    figures = Figures(lesson.setup(resolve(args.world), args.videos))
    pages = {"slides": slides(texts["slides"], figures),
             "handout": handout(texts["handout"], figures)}
    for name, page in pages.items():
        write_text(out / f"{name}.html", page)
        print(out / f"{name}.html")
    for name in pages:
        try:
            print(printed(out / f"{name}.html"))
        except LabError as error:
            print(f"there is no {name}.pdf, because {error}; open {name}.html in a browser and print it into a file")


def slides(text: str, figures: Figures) -> str:
    """One section for each slide; slides are separated by lines of `---`."""
    parts = [part.strip() for part in text.split("\n---\n")]
    sections = [f'<section class="{"first" if k == 0 else ""}">{to_html(part, figures.draw)}'
                f"<footer>{k + 1} / {len(parts)}</footer></section>" for k, part in enumerate(parts)]
    return document("D2VLM: when before what", SLIDES, "\n".join(sections) + f"<script>{KEYS}</script>")


def handout(text: str, figures: Figures) -> str:
    return document("D2VLM on two pages", HANDOUT, to_html(text, figures.draw))


def document(title: str, style: str, body: str) -> str:
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{style}</style></head><body>\n{body}\n</body></html>\n")


def printed(page: Path) -> Path:
    """The page as a PDF beside it, printed by a browser without a window."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise LabError(f"no {BROWSERS[0]} or Chrome is installed")
    no_sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, as in a container, it refuses to have one
    with atomic_path(page.with_suffix(".pdf")) as unfinished, tempfile.TemporaryDirectory() as profile:
        words = [browser, "--headless", *no_sandbox, "--disable-gpu", f"--user-data-dir={profile}",
                 "--no-pdf-header-footer", f"--print-to-pdf={unfinished.resolve()}", page.resolve().as_uri()]
        try:
            status = subprocess.run(words, capture_output=True, timeout=PATIENCE).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LabError(f"{browser} did not do it ({getattr(error, 'strerror', f'after {PATIENCE} s')})") from None
        if status or not unfinished.exists():
            raise LabError(f"{browser} printed nothing and ended with status {status}")
    return page.with_suffix(".pdf")
