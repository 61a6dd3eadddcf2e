"""An answer taken apart at its events: sentences that tell one event each, or lists that only point at several."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Piece = str | int  # text, or the index of an event
Part = list[Piece]

SENTENCE = re.compile(r"(?<=[.!?])(?=\s)|(?<=\n)")
CLAUSE = re.compile(r"(?<=[,;])(?=\s)")
BARE = re.compile(r"[\s,;]*(?:and|then|&)?[\s,;]*")


def cut(pieces: Sequence[Piece]) -> list[Part]:
    """Sentences; one that refers to several events, with words between them, is cut at its commas where that helps."""
    parts = []
    for sentence in _cut_at(SENTENCE, list(pieces)):
        clauses = _cut_at(CLAUSE, sentence) if len(references(sentence)) > 1 and not is_list(sentence) else []
        parts += clauses if clauses and all(len(references(clause)) < 2 for clause in clauses) else [sentence]
    return parts


def join(parts: Sequence[Part]) -> tuple[Piece, ...]:
    """The inverse of `cut`: neighbouring texts are one piece; a comma left over at the end becomes the full stop."""
    joined: Part = []
    for piece in (piece for part in parts for piece in part):
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    if joined and isinstance(joined[-1], str):
        joined[-1] = re.sub(r"[,;]\s*$", ".", joined[-1])
    if joined and isinstance(joined[0], str):
        joined[0] = joined[0].lstrip()
    return tuple(piece for piece in joined if piece != "")


def references(part: Sequence[Piece]) -> list[int]:
    return [piece for piece in part if not isinstance(piece, str)]


def is_list(part: Sequence[Piece]) -> bool:
    """Several events with nothing but commas between them."""
    where = [i for i, piece in enumerate(part) if not isinstance(piece, str)]
    between = [piece for piece in part[where[0]:where[-1]] if isinstance(piece, str)] if where else []
    return len(where) > 1 and all(BARE.fullmatch(text) for text in between)


def part_of(parts: Sequence[Part], event: int) -> int | None:
    """The one part that mentions the event, if it is one and can be handled: about this event alone, or a list."""
    found = [i for i, part in enumerate(parts) if event in references(part)]
    whole = len(found) == 1 and references(parts[found[0]]).count(event) == 1
    return found[0] if whole and (len(references(parts[found[0]])) == 1 or is_list(parts[found[0]])) else None


def words(part: Sequence[Piece]) -> str:
    """What a part says, references and outer punctuation aside."""
    return " ".join("".join(piece if isinstance(piece, str) else " " for piece in part).split()).strip(" ,.;:!?")


def renumber(parts: Sequence[Part], number: Callable[[int], int]) -> list[Part]:
    return [[piece if isinstance(piece, str) else number(piece) for piece in part] for part in parts]


def without(parts: Sequence[Part], event: int) -> list[Part] | None:
    """The parts with no mention of the event; the references that remain keep their numbers."""
    if (at := part_of(parts, event)) is None:
        return None
    part = parts[at]
    if len(references(part)) == 1:
        return [*parts[:at], *parts[at + 1:]]
    i = part.index(event)
    first = references(part)[0] == event
    gone = slice(i, i + 2) if first else slice(i - 1, i + 1)  # with the comma on its inner side
    return [*parts[:at], [*part[:gone.start], *part[gone.stop:]], *parts[at + 1:]]


def beside(parts: Sequence[Part], event: int, new: int, told: Part | None, after: bool = True) -> list[Part] | None:
    """The parts with one more event next to `event`: as a part of its own where `told`, else in a list with it."""
    if (at := part_of(parts, event)) is None:
        return None
    part = parts[at]
    if told is not None:
        own = [new if piece == event else piece for piece in told]
        pair = [part, _spaced(own)] if after else [own, _spaced(part)]
        return [*parts[:at], *pair, *parts[at + 1:]]
    i = part.index(event)
    listed = [event, ", ", new] if after else [new, ", ", event]
    return [*parts[:at], [*part[:i], *listed, *part[i + 1:]], *parts[at + 1:]]


def _cut_at(border: re.Pattern, pieces: Part) -> list[Part]:
    parts: list[Part] = [[]]
    for piece in pieces:
        fragments = border.split(piece) if isinstance(piece, str) else [piece]
        for k, fragment in enumerate(fragments):
            if k and parts[-1]:
                parts.append([])
            if fragment != "":
                parts[-1].append(fragment)
    merged: list[Part] = []
    for part in parts:  # words that refer to nothing belong to what precedes them
        if merged and not references(part) and border is CLAUSE:
            merged[-1] += part
        elif part:
            merged.append(part)
    return merged


def _spaced(part: Part) -> Part:
    """With a blank in front, so that it can follow another part."""
    return part if isinstance(part[0], str) and part[0][:1].isspace() else [" ", *part]
