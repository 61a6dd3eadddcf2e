"""A page's video player that jumps to the evidence: click a time, and exactly that stretch is played."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from html import escape
from itertools import count
from pathlib import Path

from ...ideas.evidence import Interval, seconds
from ..plots.answers import event_color
from ..plots.style import ink_on

TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg"}
INSIDE = 8 * 2**20  # bytes of a video that still travels inside the page
BUTTON = ("border:0;border-radius:4px;background:{color};color:{ink};padding:1px 7px;margin:1px;cursor:pointer;"
          "font:inherit")
PLAY = ("var v=this.closest('.d2vlm-player').querySelector('video'),end={end};v.currentTime={start};"
        "v.ontimeupdate=function(){{if(v.currentTime>=end){{v.pause();v.ontimeupdate=null}}}};v.play()")


def player(path: str | os.PathLike, pieces: Sequence[str | Interval], step: float = 0.0, width: int = 320) -> str:
    """HTML of a video over a line of text and intervals; each interval is a button that plays it.

    A frame stays for `step` seconds, so an interval ends when its last frame is gone. The k-th has its event's colour.
    """
    which = count()
    line = "".join(escape(piece) if isinstance(piece, str) else jump(piece, step, event_color(next(which)))
                   for piece in pieces)
    return (f'<div class="d2vlm-player"><video src="{source(path)}" width="{width}" controls muted playsinline '
            f'style="max-width:100%"></video>'
            f'<p style="margin:6px 0;font-size:15px;line-height:2">{line}</p></div>')


def jump(interval: Interval, step: float, color: str) -> str:
    """A button inside a player that plays one interval."""
    start, end = interval
    action = escape(PLAY.format(start=f"{start:.3f}", end=f"{end + step:.3f}"))
    style = BUTTON.format(color=color, ink=ink_on(color))
    return f'<button style="{style}" title="play this part" onclick="{action}">▶ {seconds(interval)} s</button>'


def source(path: str | os.PathLike) -> str:
    """Where a page finds the video: inside itself when small, else at its path from the working folder."""
    path = Path(path)
    if path.stat().st_size > INSIDE:
        return escape(Path(os.path.relpath(path)).as_posix())
    kind = TYPES.get(path.suffix.lower(), "video/mp4")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
