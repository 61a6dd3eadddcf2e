"""A function of the library shown from its own source, so that a page never holds a second copy of it."""

from __future__ import annotations

import inspect
import textwrap

PAGE = "color: #222; background: #f8f8f8; padding: 0.3em 0.4em"
LINES = ("font-size: var(--jp-code-font-size, 13px); white-space: pre; overflow-x: auto; word-break: normal; "
         "color: inherit; background: none")


class Source:
    """Python code as a page shows it: a line wider than the page scrolls, so that no word is broken."""

    def __init__(self, code: str):
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        style = HtmlFormatter(noclasses=True, nobackground=True, cssstyles=PAGE, prestyles=LINES)
        return highlight(self.code, PythonLexer(), style)

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def show_source(*things) -> Source:
    """The source of functions, methods or classes, highlighted, in the order given; the last line of a cell."""
    return Source("\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in things))
