"""A function of the library shown from its own source, so that a page never holds a second copy of it."""

from __future__ import annotations

import inspect
import textwrap


def show_source(*things):
    """The source of functions, methods or classes, highlighted, in the order given; the last line of a cell."""
    from IPython.display import Markdown

    code = "\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in things)
    return Markdown(f"```python\n{code}\n```")
