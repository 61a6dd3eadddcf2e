"""How an answer should be read: evidence before `</evi>`, after it the answer; every common way to write a time."""

from __future__ import annotations

import math
import re

from ...ideas.evidence import END, Interval
from .parse import Reading

TIME = r"(?:(?:\d+:)?\d+:\d\d(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
UNIT = r"(?:\s*(?:seconds?|secs?|s)\b)?"
BOUND = r"(?<![\w.:])"  # a time starts a word of its own
SPAN = re.compile(rf"{BOUND}({TIME}){UNIT}(?:\s*[-–—]\s*|\s+to\s+)({TIME})(?![\d:]|\.\d|\.\.\d){UNIT}", re.I)
FROM = re.compile(rf"\b(?:start|begin|from)\w*\D{{0,20}}?{BOUND}({TIME}){UNIT}", re.I)
UNTIL = re.compile(rf"\b(?:end|finish|stop|until)\w*\D{{0,20}}?{BOUND}({TIME}){UNIT}", re.I)
NUMBER = re.compile(rf"{BOUND}{TIME}")
HEAD_BEFORE = re.compile(r"(?:^|[\n.,;:!?*)\]-])\s*$")
HEAD_AFTER = re.compile(r"\s*[,:]")
TRIM = " \t\n,.;:-*"


def split_answer(text: str) -> tuple[str, str]:
    """What is grounded first, and the answer; all of the text is the answer where no `</evi>` was written."""
    parts = re.split(END, text, flags=re.I)
    return (parts[0] if len(parts) > 1 else ""), parts[-1]


def read_intervals(text: str) -> Reading:
    evidence, answer = split_answer(text)
    return Reading(_intervals(answer), _intervals(evidence))


def read_point(text: str) -> tuple[float | None, float | None]:
    """One moment of the answer and of its evidence: the middle of the first interval, else the first number."""
    return tuple(_point(part) for part in reversed(split_answer(text)))


def read_events(text: str) -> Reading:
    """Each caption follows its own times. A span inside a sentence ("2-3 minutes") belongs to the caption."""
    evidence, answer = split_answer(text)
    heads = [head for head in find_spans(answer) if _opens_an_event(answer, head)]
    ends = [head[1] for head in heads[1:]] + [len(answer)]
    captions = [re.sub(r"^\W*description:", "", answer[head[2]:end], flags=re.I).strip(TRIM)
                for head, end in zip(heads, ends)]
    return Reading(tuple(head[0] for head in heads), _intervals(evidence), tuple(captions))


def _intervals(text: str) -> tuple[Interval, ...]:
    return tuple(span for span, _, _ in find_spans(text))


def find_spans(text: str) -> list[tuple[Interval, int, int]]:
    """Intervals with where in the text they are written: "a - b", "a to b", else "starts at a ... ends at b"."""
    found = [((match[1], match[2]), match.start(), match.end()) for match in SPAN.finditer(text)]
    if not found:
        found = [((a[1], b[1]), a.start(), b.end()) for a, b in zip(FROM.finditer(text), UNTIL.finditer(text))]
    spans = [(tuple(sorted(map(_seconds, times))), start, end) for times, start, end in found]
    return [span for span in spans if math.isfinite(span[0][1])]


def _opens_an_event(text: str, head: tuple[Interval, int, int]) -> bool:
    _, start, end = head
    return bool(HEAD_BEFORE.search(text[:start]) or HEAD_AFTER.match(text, end)
                or text[start:end].rstrip().endswith("s"))


def _point(text: str) -> float | None:
    if spans := _intervals(text):
        return sum(spans[0]) / 2
    number = NUMBER.search(text)
    time = _seconds(number.group()) if number else math.inf
    return time if math.isfinite(time) else None


def _seconds(text: str) -> float:
    """`90.5`, `1:30.5` or `0:01:30.5`."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total
