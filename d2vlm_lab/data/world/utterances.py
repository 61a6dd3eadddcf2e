"""What a commentator of a video would say, and when: each event as soon as it has ended, in the layout of TGLG."""

from __future__ import annotations

from .scene import Scene

WORDS_PER_SECOND = 2.5  # of speech: 150 words a minute


def utterances(scene: Scene) -> list[dict]:
    """The captions of the events in the order of their ends; each waits until the commentator has said the last."""
    spoken, free = [], 0.0
    for event in sorted(scene.events, key=lambda event: (event.last, event.first, event.thing)):
        content = scene.caption(event)
        start = max(scene.interval(event)[1], free)
        free = round(start + len(content.split()) / WORDS_PER_SECOND, 6)
        spoken.append({"start": start, "end": free, "content": content, "eval": True})
    return spoken
