"""An answer cut into clauses, so that one event can be added, removed or reworded and the others stay as they are.

Here an answer is plain text in which one character, its *symbol*, stands for each mention of an event. A clause
describes one event ("In <0> she cuts bread.") or lists several ("It happens in <0>, <1>.").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Piece = str | int  # of an answer: text, or the number of an event

FIRST = 0xF0000  # a plane of Unicode for private use: no annotation contains its characters
SYMBOL, TEXT = "[\U000F0000-\U000FFFFD]", "[^\U000F0000-\U000FFFFD]*"
SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s)|(?<=\n)")
CLAUSE_END = re.compile(r"(?<=[,;])(?=\s)")
LIST = re.compile(rf"{TEXT}{SYMBOL}(?:[\s,;]*(?:and|then|&)?[\s,;]*{SYMBOL})+{TEXT}")


def symbol(event: int) -> str:
    return chr(FIRST + event)


def cut(answer: Sequence[Piece]) -> list[str]:
    """Sentences. One about several events is cut at its commas, if each part is then about at most one event."""
    clauses: list[str] = []
    text = "".join(piece if isinstance(piece, str) else symbol(piece) for piece in answer)
    for sentence in filter(None, SENTENCE_END.split(text)):
        parts = [""]
        for part in CLAUSE_END.split(sentence):
            if parts[-1] and mentions(part):
                parts.append(part)
            else:
                parts[-1] += part  # words without an event belong to the part before them
        separable = len(mentions(sentence)) > 1 and not LIST.fullmatch(sentence)
        clauses += parts if separable and all(len(mentions(part)) < 2 for part in parts) else [sentence]
    return clauses


def join(clauses: Sequence[str]) -> tuple[Piece, ...]:
    """The inverse of `cut`; a comma that is left at the end of the answer becomes its full stop."""
    text = re.sub(r"[,;]\s*$", ".", "".join(clauses)).lstrip()
    return tuple(ord(piece) - FIRST if mentions(piece) else piece for piece in re.split(f"({SYMBOL})", text) if piece)


def mentions(clause: str) -> list[str]:
    """The symbols in a clause, in their order."""
    return re.findall(SYMBOL, clause)


def words(clause: str) -> str:
    """The text of a clause without its events and without punctuation at its ends."""
    return " ".join(re.sub(SYMBOL, " ", clause).split()).strip(" ,.;:!?")


def spaced(clause: str, like: str = " ") -> str:
    """The clause with a blank in front of it if `like` begins with one, else without a blank."""
    return (" " if like[0].isspace() else "") + clause.lstrip()
