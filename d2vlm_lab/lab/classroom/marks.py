"""Plain sentences as HTML: what stands between backquotes is code, and what stands between asterisks is stressed."""

from __future__ import annotations

import re
from html import escape


def marked(text: str) -> str:
    parts = escape(text, quote=False).split("`")
    stressed = [re.sub(r"\*([^\s*][^*]*)\*", r"<em>\1</em>", part) for part in parts[::2]]
    parts[::2] = stressed
    parts[1::2] = [f"<code>{part}</code>" for part in parts[1::2]]
    return "".join(parts)
