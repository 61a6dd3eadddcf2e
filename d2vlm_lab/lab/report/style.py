"""The look of the report's pages: one file each, legible on a phone and on paper."""

from __future__ import annotations

import base64
import io
from html import escape

from matplotlib.figure import Figure

from ..plots.style import in_style

CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 0 auto;
       padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .4rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
a { color: #00558a; } .note { color: #555; font-size: .9rem; } .question { font-size: 1.15rem; }
.result { border-left: 4px solid #0072B2; padding: .2rem .8rem; } .demo { border-color: #D55E00; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
thead th { border-bottom: 2px solid #888; } tbody th { font-weight: 600; white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; } .seeds { font-size: .8rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; flex: 1 1 22rem; max-width: 100%; }
img { max-width: 100%; height: auto; } code, pre { font-size: .85rem; } pre { overflow-x: auto; }
.failed { color: #8a2b00; } .example { break-inside: avoid; border-top: 1px solid #ddd; padding: .6rem 0; }
.row { display: grid; grid-template-columns: 9rem 1fr; gap: .1rem .6rem; align-items: center; font-size: .85rem; }
.bar { position: relative; height: .8rem; background: #eee; } .bar i { position: absolute; top: 0; bottom: 0;
       background: #0072B2; min-width: 2px; opacity: .85; } .truth .bar i { background: #009E73; }
.said { grid-column: 2; color: #444; overflow-wrap: anywhere; }
.notebook { font-size: .9rem; } .notebook pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.notebook table { display: block; overflow-x: auto; }
.notebook .input_area, .notebook .highlight { background: #f6f6f6; }
.notebook .anchor-link, .notebook .prompt, .notebook .jp-InputPrompt, .notebook .jp-OutputPrompt { display: none; }
@media (max-width: 40rem) { body { padding: .6rem; } .row { grid-template-columns: 1fr; } .said { grid-column: 1; } }
@media print { body { max-width: none; } a { color: inherit; } h2 { break-after: avoid; } }
"""


def document(title: str, body: str) -> str:
    """A whole HTML page that needs no other file."""
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{CSS}</style></head>\n'
            f"<body>\n{body}\n</body></html>\n")


def svg(figure: Figure) -> bytes:
    """The figure as a drawing that is the same whenever it is made from the same numbers."""
    import matplotlib

    out = io.BytesIO()
    with in_style(), matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def picture(drawing: bytes, alt: str, caption: str = "") -> str:
    """A drawing inside the page; `alt` says what it shows to those who cannot see it."""
    data = base64.b64encode(drawing).decode()
    below = f'<figcaption class="note">{caption}</figcaption>' if caption else ""
    return f'<figure><img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">{below}</figure>'
