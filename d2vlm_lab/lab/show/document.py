"""The frame of every page: one file that needs no other, legible on a phone and on paper."""

from __future__ import annotations

from html import escape

CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 0 auto;
       padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .4rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
a { color: #00558a; } .note { color: #555; font-size: .9rem; } .failed { color: #8a2b00; }
img { max-width: 100%; height: auto; } code, pre { font-size: .85rem; overflow-wrap: anywhere; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; } td:first-child { font-weight: 600; }
td em { display: block; font-style: normal; font-size: .8rem; }
.notebook { font-size: .9rem; } .notebook pre { white-space: pre-wrap; }
.notebook .input_area, .notebook .highlight { background: #f6f6f6; }
.notebook .anchor-link, .notebook .prompt { display: none; }
@media print { body { max-width: none; } a { color: inherit; } h2 { break-after: avoid; } }
"""


def document(title: str, body: str, policy: str = "") -> str:
    """The page; `policy` says what a browser may load and run in it, where it holds what others wrote."""
    rule = f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">' if policy else ""
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{rule}<meta name="viewport" '
            f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{CSS}</style></head>\n'
            f"<body>\n{body}\n</body></html>\n")
