"""How the published scorers of single moments read an answer: its first pair of times, found by different rules.

`timelens` is what TimeLens-Bench publishes, in the form that lmms-eval 0.7.3 has; `lmms_charades` is what lmms-eval
itself does on Charades-STA. Neither knows `</evi>`: of an answer that grounds first, both read what it grounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .reading import Reading

LONE = r"(?<!\d)(?>\d+(?:\.\d+)?)"  # a number, never a part of a longer one, so that no time is lost in trying
CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?"
CLOCK_RANGE = re.compile(rf"\b({CLOCK})\s*[–-]\s*({CLOCK})\b")
RANGE = re.compile(rf"({LONE})\s*[–-]\s*(\d+(?:\.\d+)?)")
RANGE_IN_SECONDS = re.compile(rf"({LONE})(?>\s*s?\s*)[–-]\s*(\d+(?:\.\d+)?)\s*s?")
ONE_CLOCK, ONE_NUMBER = re.compile(rf"\b({CLOCK})\b"), re.compile(r"\b(\d+(?:\.\d+)?)\b")
EXACT_CLOCK = re.compile(r"\b(\d{1,2}:\d{2}:\d{2}(?:\.\d+)?|\d{1,2}:\d{2}(?:\.\d+)?)\b")
DOTTED = r"(?<!\d)(?>\d+\.?\d*)"
DOTTED_RANGE = re.compile(rf"({DOTTED})\s*-\s*(\d+\.?\d*)")
DOTTED_TO = re.compile(rf"({DOTTED})\s+to\s+(\d+\.?\d*)")
ONE_DOTTED = re.compile(r"\b\d+\.?\d*\b")
SPEAKS_OF_TIME = re.compile("start|end|happen")


def timelens(text: str) -> Reading:
    """The first two clock times, else the first "a - b", else the first "a to b", else the first two numbers."""
    text = text.lower()
    rules = (lambda: _in_twos(EXACT_CLOCK.findall(text)), lambda: DOTTED_RANGE.findall(text),
             lambda: DOTTED_TO.findall(text), lambda: _in_twos(ONE_DOTTED.findall(text)))
    return Reading(tuple(map(_seconds, _found_by(rules)[:1])))


def lmms_charades(text: str) -> Reading:
    """The first pair, earlier time first, of the sentences that speak of start, end or happening, if there are any.

    The letters "to" become a hyphen wherever they stand. A sentence ends at an exclamation or question mark or a line
    end, not at a dot.
    """
    text = text.lower().replace("a specific example is : 20.8 - 30.0 seconds", "").replace("to", "-")
    sentences = re.split(r"[!?\n]", text)
    sentences = [sentence for sentence in sentences if SPEAKS_OF_TIME.search(sentence)] or sentences
    rules = (lambda: _first(CLOCK_RANGE, sentences), lambda: _first(RANGE, sentences),
             lambda: _in_twos([time for sentence in sentences for time in ONE_CLOCK.findall(sentence)]),
             lambda: _in_twos([found[0] for sentence in sentences if (found := ONE_NUMBER.findall(sentence))]),
             lambda: _first(RANGE_IN_SECONDS, sentences))
    return Reading(tuple(tuple(sorted(_seconds(pair))) for pair in _found_by(rules)[:1]))


def _found_by(rules: Sequence[Callable[[], list]]) -> list:
    """What the first successful rule finds."""
    return next((pairs for rule in rules if (pairs := rule())), [])


def _first(form: re.Pattern, sentences: Sequence[str]) -> list:
    """All matches of the form in the first sentence that has any."""
    return next((found for sentence in sentences if (found := form.findall(sentence))), [])


def _in_twos(times: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(times[::2], times[1::2]))


def _seconds(pair: Sequence[str]) -> tuple[float, float]:
    """Numbers or clock times as seconds."""
    first, second = (sum(float(part) * 60 ** place for place, part in enumerate(reversed(time.split(":"))))
                     for time in pair)
    return first, second
