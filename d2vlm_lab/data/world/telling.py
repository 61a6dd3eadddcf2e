"""What long captions say about an event, taken from where its thing really is: how, where, and after or before what.

To know each part, one has to look at something else: a single frame, all frames of the event, its first and last frame,
another event.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .phrases import LEVELS, PACES, SIDES, counted
from .scene import Scene, SceneEvent


def details(scene: Scene, event: SceneEvent, events: Sequence[SceneEvent], n: int) -> str:
    """The first `n` parts, with a blank before each; `events` are the events that the caption may refer to."""
    parts = (manner(event), whereabouts(scene, event), relation(scene, event, events))
    return "".join(f" {part}" for part in parts[:n] if part)


def manner(event: SceneEvent) -> str:
    """How an event happens: how fast, how often, how far, or into what."""
    frames = event.last - event.first + 1
    if event.action == "changes color":
        return f"to {event.into}"
    if event.action == "blinks":
        return counted((frames + 1) // 2, "time")  # dark on every other frame
    speed = next((word for word, pace in PACES.items() if pace == event.pace), "")
    if event.action != "spins":
        return speed
    turns = max(1, round(0.5 * event.pace * frames / (np.pi / 2)))
    return f"{speed} by {counted(turns, 'quarter turn')}".strip()


def whereabouts(scene: Scene, event: SceneEvent) -> str:
    """From where to where a thing moves, or where it is at the end of the event."""
    before = max(event.first - 1, 0)
    (old_side, old_level), (side, level) = (place(scene, event.thing, k) for k in (before, event.last))
    if event.action in ("moves left", "moves right"):
        return f"from the {old_side} to the {side}"
    if event.action in ("moves up", "moves down"):
        return f"from the {old_level} to the {level}"
    words = [f"at the {level}"] if level != "middle" else []
    words += [f"on the {side}"] if side != "middle" else []
    return " ".join(words) or "in the middle"


def relation(scene: Scene, event: SceneEvent, events: Sequence[SceneEvent]) -> str:
    """After which event it comes, or before which for the first event; nothing for the only event."""
    k = events.index(event)
    if len(events) < 2:
        return ""
    return f"before {scene.caption(events[1])}" if k == 0 else f"after {scene.caption(events[k - 1])}"


def place(scene: Scene, thing: int, frame: int) -> tuple[str, str]:
    """The third of the picture, across and down, in which the middle of a thing is."""
    across, down = (min(max(int(3 * at / scene.size), 0), 2) for at in scene.seen_at(thing, frame))
    return SIDES[across], LEVELS[down]
