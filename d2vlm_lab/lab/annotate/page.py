"""A page of annotations: each video with its events on its frames and on a time line, so that mistakes are seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from urllib.parse import quote

from ...data.sample import UNKNOWN, Sample, brief
from ...files import unsafe_path
from ...ideas.evidence import Event, seconds
from ..plots.colors import TRUTH
from ..show.card import CSS, Answered, Card, card_html
from ..show.command import KEY, moment, with_frames
from ..show.document import document
from .draft import Problem
from .examine import Item

LISTED = 200  # most problems that are named above the videos


def page(items: Sequence[Item], found: Sequence[Problem], videos: Path | None, limit: int, name: str,
         beside: Path) -> str:
    """The first `limit` samples, those of a video together; what could not be read is listed above them."""
    by_video: dict[str, list[Item]] = {}
    for item in [item for item in items if item.sample is not None][:limit]:
        by_video.setdefault(item.sample.video, []).append(item)
    there = sum(item.sample is not None for item in items)
    lines = "".join(f"<li>{escape(str(problem))}</li>" for problem in found[:LISTED])
    more = f"<p>and {len(found) - LISTED:,} more</p>" if len(found) > LISTED else ""
    parts = [f"<style>{CSS}</style><h1>Annotations: {escape(name)}</h1>",
             f"<p>{min(limit, there):,} of {there:,} questions about {len(by_video):,} videos.</p>",
             f"<h2>{len(found):,} remarks</h2><ul>{lines}</ul>{more}" if found else "<p>Nothing is wrong.</p>",
             f'<p class="note"><span style="{KEY}{TRUTH}"></span>annotated events; frames inside one have a bar of the '
             "same colour. In the answer, each time has a colour of its own; click on it to play this part.</p>"]
    for video, shown in by_video.items():
        good = [item.sample for item in shown if item.usable]
        cards = [*([overview(video, good)] if len(good) > 1 else []), *map(question, shown)]
        cards = [with_frames(replace(card, player=address(videos, card, beside)), videos) for card in cards]
        parts += [f"<h2>{escape(brief(video))}</h2>", *map(card_html, cards)]
    return document(f"Annotations: {name}", "\n".join(parts))


def overview(video: str, samples: Sequence[Sample]) -> Card:
    """All events of a video, each once."""
    events = {event.interval: event for sample in samples for event in sample.events}
    events = [events[interval] for interval in sorted(events)]
    text = "; ".join(f"{seconds(event.interval)} {event.caption}".strip() for event in events)
    shown = Answered(text, tuple(_drawable(event).interval for event in events), name="events")
    return Card(f"All events of {len(samples)} questions", (shown,), tuple(map(_drawable, events)),
                shown=(0.0, max(sample.duration for sample in samples)), video=video)


def question(item: Item) -> Card:
    """A question with its answer, its events, and what is wrong with them."""
    sample = item.sample
    pieces = [piece if isinstance(piece, str) else seconds(sample.events[piece].interval)
              if 0 <= piece < len(sample.events) else f"[event {piece + 1} is missing]" for piece in sample.answer]
    spans = tuple(_drawable(sample.events[piece]).interval for piece in sample.answer
                  if isinstance(piece, int) and 0 <= piece < len(sample.events))
    end = sample.duration if 0 < sample.duration < UNKNOWN else 1.0
    right = f"option {sample.options[sample.correct]}" if sample.correct is not None and (
        0 <= sample.correct < len(sample.options)) else ""
    return Card(sample.question, (Answered("".join(pieces), spans),), tuple(map(_drawable, sample.events)), right,
                sample.question_intervals, (0.0, end), id=sample.id, task=sample.task, video=sample.video,
                note="; ".join(f"{problem.field}: {problem.message}. {problem.remedy}" for problem in item.problems))


def _drawable(event: Event) -> Event:
    """The event itself, or one that can be drawn where its ends are in the wrong order or before the video."""
    start, end = sorted((max(0.0, event.start), max(0.0, event.end)))
    return replace(event, start=start, end=end)


def address(videos: Path | None, card: Card, beside: Path) -> str:
    """Where the page finds the video of a card, at the first moment of interest; nowhere if it is not a file."""
    if videos is None or unsafe_path(card.video) or not os.path.isfile(videos / card.video):
        return ""
    return f"{quote(os.path.relpath(videos / card.video, beside.absolute().parent))}#t={moment(card)[0]:.2f}"
