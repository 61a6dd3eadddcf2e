"""An executed notebook as part of a page. Whatever could run or load something in it is taken out or shown as text."""

from __future__ import annotations

import functools
import re
from html import escape
from pathlib import Path

import bleach
from bleach.css_sanitizer import CSSSanitizer

from ...config import ROOT
from ...errors import LabError
from ...reader import read_json

# All that a browser may do in such a page is to show pictures that are part of it.
NOTHING_RUNS = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
TAGS = {"a", "b", "blockquote", "br", "code", "details", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i",
        "img", "li", "ol", "p", "pre", "span", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"}
PLAIN = {"class", "id", "style", "title", "alt"}
PROTOCOLS = {"http", "https", "mailto", "data"}
PICTURE = re.compile(r"data:image/(png|jpeg|gif|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
STYLE = re.compile(r"<style\b[^>]*>.*?</style\s*>", re.DOTALL | re.IGNORECASE)
LINK = re.compile(r"(https?://|mailto:|#)")


def notebook_html(path: Path) -> str:
    """The cells of a notebook with their outputs; of one that is damaged, what is wrong with it."""
    try:
        read_json(path, dict)
        body, _ = exporter().from_filename(str(path))
    except LabError as error:
        return f"<p>This notebook cannot be shown: {escape(str(error))}</p>"
    except Exception as error:  # of many kinds, when fields are not what the format says
        return f"<p>This notebook cannot be shown: {escape(type(error).__name__)}: {escape(str(error)[:200])}</p>"
    return harmless(body).replace(f"{ROOT}/", "")  # a traceback's paths mean something inside the project only


def harmless(body: str) -> str:
    """HTML with the tags and attributes that text, tables and pictures need; other tags are shown as text."""
    return bleach.clean(STYLE.sub("", body), TAGS, allowed, PROTOCOLS, css_sanitizer=CSSSanitizer())


def allowed(tag: str, name: str, value: str) -> bool:
    """Whether an attribute may stay."""
    if name == "src":
        return tag == "img" and bool(PICTURE.fullmatch(value))
    if name == "href":
        return tag == "a" and bool(LINK.match(value))
    return name in PLAIN


@functools.cache
def exporter():
    """One for all pages: it compiles its templates only once."""
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="basic")
