"""Times inside the text of public annotations, turned into `<evi>` and the intervals that these stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...ideas.evidence import EVIDENCE, Interval

NUMBER = r"\d+(?:\.\d+)?"
TIME = rf"(?:<vid>|<evi>|{NUMBER})"
SPAN = re.compile(rf"({TIME})(?:\s*(?:-|–|to|and)\s*({TIME}))?(\s*(?:seconds\b|s\b))?")


def mark_times(text: str, times: Sequence[float]) -> tuple[str, tuple[Interval, ...]]:
    """`text` with its times as `<evi>`, and their intervals; `times` are those that the annotation lists, in order.

    A time is a `<vid>` token, or a number that is the next one listed, as far as its decimals go; two joined by
    `-`, `to` or `and` are one interval, one alone is an instant. An `<evi>` takes two of the list. Any other number
    is text and stays.
    """
    left, spans = list(times), []

    def take(match: re.Match) -> str:
        if match[1] == EVIDENCE:
            if len(left) < 2:
                raise ValueError(f"{text.count(EVIDENCE)} {EVIDENCE} in {text[:60]!r} need two times each, "
                                 f"found {len(times)}")
            spans.append((left.pop(0), left.pop(0)))
            return match[0]
        n = 1 + (match[2] is not None)
        if len(left) < n or not all(_is(word, time) for word, time in zip(match.groups()[:n], left)):
            if "<vid>" in match[0]:
                raise ValueError(f"{text.count('<vid>')} <vid> in {text[:60]!r}, but {len(times)} times")
            return match[0]
        spans.append((left[0], left[n - 1]))
        del left[:n]
        return EVIDENCE

    return SPAN.sub(take, text) if times or "<" in text else text, tuple(spans)


def _is(word: str, time: float) -> bool:
    if word in ("<vid>", EVIDENCE):
        return word == "<vid>"
    decimals = len(word.partition(".")[2])
    return abs(float(word) - time) <= 0.51 * 10 ** -decimals
