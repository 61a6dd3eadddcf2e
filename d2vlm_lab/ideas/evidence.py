"""The language of grounded answers: first one `<evi>` for each event, then `</evi>`, then a text that refers to them.

The k-th `<evi>` before `</evi>` and the k-th after it are the two mentions of event k: *grounded* and *referenced*.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

EVIDENCE, END = "<evi>", "</evi>"
STYLES = ("interleaved", "factorized", "coupled", "digits", "time_tokens")
INSIDE = ("coupled", "time_tokens")  # styles that have `<evi>` only inside the text

Interval = tuple[float, float]


@dataclass(frozen=True)
class Event:
    """Something that happens from `start` to `end`, in seconds."""

    start: float
    end: float
    caption: str = ""
    annotator: int = 0  # who marked it, where several people did

    @property
    def interval(self) -> Interval:
        return (self.start, self.end)


@dataclass(frozen=True)
class Reference:
    """A mention inside a text."""

    event: int | None  # the grounded event that it refers to; None where there is no such event
    interval: Interval | None = None


@dataclass(frozen=True)
class GroundedAnswer:
    """The intervals of the grounding stage, then text pieces and references in reading order."""

    grounded: tuple[Interval | None, ...] = ()
    pieces: tuple[str | Reference, ...] = ()
    closed: bool = False  # whether `</evi>` was written

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Reference))

    @property
    def intervals(self) -> tuple[Interval | None, ...]:
        """One per `<evi>` in the order in which they are written."""
        return self.grounded + tuple(ref.interval for ref in self.references)


def compose(events: Sequence[Event], pieces: Sequence[str | int], style: str = "interleaved",
            end_marker: bool = True) -> GroundedAnswer:
    """The answer for `events` and a text whose integers refer to them, in one of five styles.

    interleaved: first the grounding, then the text with its references. factorized: the same without references.
    coupled: the text with its references alone. digits: no evidence tokens; the text says the times in numbers.
    time_tokens: as coupled, but each `<evi>` is followed by the symbols of its times, see `symbols.py`.
    """
    if style not in STYLES:
        raise ValueError(f"unknown answer style {style!r}: use one of {', '.join(STYLES)}")
    used = [piece for piece in pieces if not isinstance(piece, str)]
    if unknown := [index for index in used if not 0 <= index < len(events)]:
        raise ValueError(f"the answer refers to event {unknown[0]}, but there are {len(events)} events")

    def mention(k: int) -> str | Reference:
        if style == "digits":
            return seconds(events[k].interval)
        return "" if style == "factorized" else Reference(None if style in INSIDE else k, events[k].interval)

    text = _merge([piece if isinstance(piece, str) else mention(piece) for piece in pieces])
    if style in (*INSIDE, "digits") or not events:
        return GroundedAnswer(pieces=text)
    return GroundedAnswer(tuple(event.interval for event in events), text, end_marker)


def seconds(interval: Interval) -> str:
    """An interval as text, one decimal: `12.0 - 20.5`."""
    return f"{interval[0]:.1f} - {interval[1]:.1f}"


def in_seconds(text: str, intervals: Sequence[Interval]) -> str:
    """A text with numbers in place of its `<evi>`, one interval for each."""
    for interval in intervals:
        text = text.replace(EVIDENCE, seconds(interval), 1)
    return text


def overlap(a: Interval, b: Interval) -> float:
    """Intersection over union of two intervals in seconds; two equal instants overlap fully."""
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = a[1] - a[0] + b[1] - b[0] - both
    return both / union if union > 0 else float(a == b)


def write(answer: GroundedAnswer) -> str:
    """The answer as the string that is tokenized; its intervals are kept beside it, as `answer.intervals`.

    A blank follows the grounding; `parse` removes it again, and reads text without it too.
    """
    for piece in answer.pieces:
        if isinstance(piece, str) and (EVIDENCE in piece or END in piece):
            raise ValueError(f"answer text {piece!r} holds a literal evidence token; refer to an event instead")
    text = "".join(piece if isinstance(piece, str) else EVIDENCE for piece in answer.pieces)
    head = EVIDENCE * len(answer.grounded) + (END if answer.closed else "")
    return f"{head} {text}" if head and text else head + text


def parse(text: str, intervals: Sequence[Interval | None] = (), style: str = "interleaved") -> GroundedAnswer:
    """Read any generated text; the n-th `<evi>` gets the n-th interval, or None where there are too few.

    Without `</evi>`, only the `<evi>` at the very beginning of the text count as grounded, and none in the styles that
    have `<evi>` only inside the text. References beyond the grounded events are kept, with event None.
    """
    head, closed, tail = text.partition(END)
    if not closed:
        opening = None if style in INSIDE else re.match(rf"\s*(?:{EVIDENCE})+", text)
        head, tail = (opening[0], text[opening.end():]) if opening else ("", text)
    n_grounded = head.count(EVIDENCE)
    if n_grounded or closed:
        tail = tail.removeprefix(" ")
    interval = chain(intervals, repeat(None))
    grounded = tuple(next(interval) for _ in range(n_grounded))
    pieces: list[str | Reference] = []
    n_references = 0
    for part in re.split(f"({EVIDENCE}|{END})", tail):
        if part == EVIDENCE:
            pieces.append(Reference(n_references if n_references < n_grounded else None, next(interval)))
            n_references += 1
        elif part and part != END:
            pieces.append(part)
    return GroundedAnswer(grounded, tuple(pieces), bool(closed))


def render(answer: GroundedAnswer) -> str:
    """The answer for people and scorers: each `<evi>` as its seconds, `</evi>` kept between grounding and text."""
    def times(interval: Interval | None) -> str:
        return seconds(interval) if interval is not None else "? - ?"

    text = "".join(piece if isinstance(piece, str) else times(piece.interval) for piece in answer.pieces)
    head = " ".join([*map(times, answer.grounded), *([END] if answer.closed else [])])
    return f"{head} {text}".strip()


def _merge(pieces: Sequence[str | Reference]) -> tuple[str | Reference, ...]:
    """The pieces, but neighbouring texts are joined and empty ones dropped, so that equal answers compare equal."""
    merged: list[str | Reference] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece != "":
            merged.append(piece)
    return tuple(merged)
