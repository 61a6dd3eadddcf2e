"""Turns times in the text of public annotations into `<evi>` tokens and the intervals that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import le

from ...ideas.evidence import EVIDENCE, Interval

TOKEN = "<vid>"
LARGEST = 4 * 10**6  # largest product of the numbers in a text and the listed times that are compared


def _spans(time: str) -> re.Pattern:
    """One time, or two that are joined."""
    return re.compile(rf"({time})(?:\s*(?:-|–|to|and)\s*({time}))?(\s*(?:seconds\b|s\b))?")


TOKENS, NUMBERS = _spans(TOKEN), _spans(r"\d+(?:\.\d+)?")


def pieces_of(text: str) -> tuple[str | int, ...]:
    """A text whose k-th `<evi>` stands for the k-th event, as the pieces of a `Sample.answer`."""
    first, *parts = text.split(EVIDENCE)
    pieces = [first, *(piece for k, part in enumerate(parts) for piece in (k, part))]
    return tuple(piece for piece in pieces if piece != "")


def mark_times(text: str, times: Sequence[float], all_of_them: bool = False) -> tuple[str, tuple[Interval, ...]]:
    """`text` with its times as `<evi>`, and their intervals; `times` are those that the annotation lists, in order.

    Each `<evi>` of a text stands for two listed times. In other texts a time is a `<vid>` token, or, without such
    tokens, a number that equals a listed time. Two times joined by `-`, `to` or `and` are an interval, and one alone is
    an instant. Any other number stays text. With `all_of_them`, a listed time that the text lacks is an error.
    """
    needed, found = 2 * text.count(EVIDENCE), text.count(TOKEN)
    if needed > len(times):
        raise ValueError(f"{needed // 2} {EVIDENCE} in {text[:60]!r} need two times each, found {len(times)}")
    if needed:
        return text, tuple(zip(times[:needed:2], times[1:needed:2]))
    if found > len(times):
        raise ValueError(f"{found} {TOKEN} in {text[:60]!r}, but {len(times)} times")
    marked, done, left, spans = "", 0, iter(times), []
    for match in TOKENS.finditer(text) if found else _in_order(text, times):
        ends = [next(left) for _ in _words(match)]
        spans.append((ends[0], ends[-1]))
        marked += text[done:match.start()] + EVIDENCE
        done = match.end()
    if all_of_them and (rest := list(left)):
        raise ValueError(f"{len(times)} times are listed, but {text[:60]!r} has {len(times) - len(rest)} of them; the "
                         f"next would be {rest[0]:g}")
    return marked + text[done:], tuple(spans)


def _in_order(text: str, times: Sequence[float]) -> Sequence[re.Match]:
    """The numbers of a text that are its times: those that explain the most listed times, one after the other.

    Of several such choices the one with the most decimals is taken, then the one with the longest words, because a time
    is mostly written more exactly than a number of things, and with its unit.
    """
    matches = list(NUMBERS.finditer(text)) if times else []
    if len(matches) * len(times) > LARGEST:
        raise ValueError(f"{len(matches)} numbers in {text[:60]!r} are too many to find {len(times)} times among them")
    best: dict[int, tuple[int, int, tuple]] = {0: (0, 0, ())}  # by number of times explained: how well, by what
    for match in matches:
        words = _words(match)
        lows, highs = zip(*map(_range, words))
        decimals = sum(map(_decimals, words))
        for first in sorted(best, reverse=True):
            covered = times[first:first + len(words)]
            if len(covered) == len(words) and all(map(le, lows, covered)) and all(map(le, covered, highs)):
                after, (earlier, length, found) = first + len(words), best[first]
                value = earlier + decimals, length + len(match[0])
                if after not in best or value > best[after][:2]:
                    best[after] = (*value, (*found, match))
    return best[max(best)][2]


def _words(match: re.Match) -> list[str]:
    return [word for word in match.group(1, 2) if word]


def _decimals(word: str) -> int:
    return len(word.partition(".")[2])


def _range(word: str) -> tuple[float, float]:
    """The times that a number may stand for, given its decimals."""
    half = 0.51 * 10 ** -_decimals(word)
    return float(word) - half, float(word) + half
