"""The language of grounded answers: first which events, `<evi><evi></evi>`, then a text that refers to them.

The k-th `<evi>` before `</evi>` and the k-th after it are the two mentions of event k: *grounded* and *referenced*.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

EVIDENCE, END = "<evi>", "</evi>"
STYLES = ("interleaved", "factorized", "coupled", "digits")

Interval = tuple[float, float]


@dataclass(frozen=True)
class Event:
    """Something that happens from `start` to `end`, in seconds; `annotator` tells several opinions apart."""

    start: float
    end: float
    caption: str = ""
    annotator: int = 0

    @property
    def interval(self) -> Interval:
        return (self.start, self.end)


@dataclass(frozen=True)
class Reference:
    """A mention of evidence inside a text: which grounded event (None: one never grounded) and where it points."""

    event: int | None
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
    """The answer that training shows for `events` and a text whose integers refer to them.

    interleaved: ground, then refer. factorized: ground, then text without references. coupled: only the
    references inside the text. digits: no evidence token at all, times written as numbers.
    """
    if style not in STYLES:
        raise ValueError(f"unknown answer style {style!r}: use one of {', '.join(STYLES)}")
    used = [piece for piece in pieces if not isinstance(piece, str)]
    if unknown := [index for index in used if not 0 <= index < len(events)]:
        raise ValueError(f"the answer refers to event {unknown[0]}, but there are {len(events)} events")
    if style == "digits":
        return GroundedAnswer(pieces=_merge([
            piece if isinstance(piece, str) else seconds(events[piece].interval) for piece in pieces]))
    body = [piece if isinstance(piece, str) else
            Reference(None if style == "coupled" else piece, events[piece].interval) for piece in pieces]
    if style == "coupled" or not events:
        return GroundedAnswer(pieces=_merge(body))
    if style == "factorized":
        body = [piece for piece in body if isinstance(piece, str)]
    return GroundedAnswer(tuple(event.interval for event in events), _merge(body), end_marker)


def seconds(interval: Interval) -> str:
    """An interval as text, one decimal: `12.0 - 20.5`."""
    return f"{interval[0]:.1f} - {interval[1]:.1f}"


def write(answer: GroundedAnswer) -> str:
    """The answer as the string a tokenizer sees. Its intervals travel beside it, as `answer.intervals`.

    A blank separates `</evi>` from the text that follows; `parse` takes it away again, and reads text without it too.
    """
    for piece in answer.pieces:
        if isinstance(piece, str) and (EVIDENCE in piece or END in piece):
            raise ValueError(f"answer text {piece!r} holds a literal evidence token; refer to an event instead")
    text = "".join(piece if isinstance(piece, str) else EVIDENCE for piece in answer.pieces)
    head = EVIDENCE * len(answer.grounded) + (END if answer.closed else "")
    return f"{head} {text}" if head and text else head + text


def parse(text: str, intervals: Sequence[Interval | None] = (), style: str = "interleaved") -> GroundedAnswer:
    """Read back any generated text; the n-th `<evi>` gets the n-th interval, or None where there are too few.

    Without `</evi>` only the `<evi>` that open the text side by side count as grounded, and in the coupled style not
    even these. References beyond the grounded events are kept, with event None.
    """
    closed = END in text
    head, tail = text.split(END, 1) if closed else ("", text) if style == "coupled" else _split_leading(text)
    n_grounded = head.count(EVIDENCE)
    tail = tail.removeprefix(" ") if n_grounded or closed else tail
    where = iter([*intervals, *[None] * (text.count(EVIDENCE))])
    grounded = tuple(next(where) for _ in range(n_grounded))
    pieces: list[str | Reference] = []
    for part in re.split(f"({EVIDENCE}|{END})", tail):
        if part == EVIDENCE:
            k = sum(isinstance(piece, Reference) for piece in pieces)
            pieces.append(Reference(k if k < n_grounded else None, next(where)))
        elif part and part != END:
            pieces.append(part)
    return GroundedAnswer(grounded, tuple(pieces), closed)


def render(answer: GroundedAnswer) -> str:
    """The answer for people and for scorers: every `<evi>` as its seconds, `</evi>` kept as the delimiter."""
    def times(interval: Interval | None) -> str:
        return seconds(interval) if interval is not None else "? - ?"

    text = "".join(piece if isinstance(piece, str) else times(piece.interval) for piece in answer.pieces)
    head = " ".join([*map(times, answer.grounded), *([END] if answer.closed else [])])
    return f"{head} {text}".strip()


def _split_leading(text: str) -> tuple[str, str]:
    head = re.match(rf"\s*((?:{EVIDENCE})*)", text)
    return (head.group(1), text[head.end():]) if head.group(1) else ("", text)


def _merge(pieces: Sequence[str | Reference]) -> tuple[str | Reference, ...]:
    """Neighbouring strings joined and empty ones dropped, so that equal answers compare equal."""
    merged: list[str | Reference] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece != "":
            merged.append(piece)
    return tuple(merged)
