"""Times in the text of public annotations become `<evi>` tokens and the intervals that these stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...ideas.evidence import EVIDENCE, Interval

NUMBER = r"\d+(?:\.\d+)?"
TIME = rf"(?:<vid>|<evi>|{NUMBER})"
SPAN = re.compile(rf"({TIME})(?:\s*(?:-|–|to|and)\s*({TIME}))?(\s*(?:seconds\b|s\b))?")


def pieces_of(text: str) -> tuple[str | int, ...]:
    """A text whose k-th `<evi>` stands for the k-th event, as the pieces of a `Sample.answer`."""
    first, *parts = text.split(EVIDENCE)
    pieces = [first, *(piece for k, part in enumerate(parts) for piece in (k, part))]
    return tuple(piece for piece in pieces if piece != "")


def mark_times(text: str, times: Sequence[float]) -> tuple[str, tuple[Interval, ...]]:
    """`text` with its times as `<evi>`, and their intervals; `times` are those that the annotation lists, in order.

    A time in the text is a `<vid>` token, or a number that equals the next one listed, up to its own decimals. Two of
    them joined by `-`, `to` or `and` are an interval, and one alone is an instant. An `<evi>` stands for two listed
    times. Any other number stays text.
    """
    left, spans = list(times), []

    def replaced(match: re.Match) -> str:
        if match[1] == EVIDENCE:
            if len(left) < 2:
                raise ValueError(f"{text.count(EVIDENCE)} {EVIDENCE} in {text[:60]!r} need two times each, "
                                 f"found {len(times)}")
            spans.append((left.pop(0), left.pop(0)))
            return match[0]
        words = [word for word in (match[1], match[2]) if word]
        if len(left) < len(words) or not all(map(_is_time, words, left)):
            if "<vid>" in match[0]:
                raise ValueError(f"{text.count('<vid>')} <vid> in {text[:60]!r}, but {len(times)} times")
            return match[0]
        spans.append((left[0], left[len(words) - 1]))
        del left[:len(words)]
        return EVIDENCE

    return SPAN.sub(replaced, text), tuple(spans)


def _is_time(word: str, time: float) -> bool:
    if word in ("<vid>", EVIDENCE):
        return word == "<vid>"
    decimals = len(word.partition(".")[2])
    return abs(float(word) - time) <= 0.51 * 10 ** -decimals
