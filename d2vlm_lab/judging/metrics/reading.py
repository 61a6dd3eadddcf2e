"""How an answer is read as it is meant: times, events and choices in every common way of writing them.

The text before `</evi>` is evidence, and the text after it is the answer. The published scorers read answers in other
ways, which are in `published_reading.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...ideas.evidence import END, Interval

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TIME = r"(?:(?:\d+:)?\d+:\d\d(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
UNIT = r"(?:\s*(?:seconds?|secs?|s)\b)?"
BOUND = r"(?<![\w.:])"  # a time starts a word
AT = r"(?:seconds?\s+)?"  # "from second 5 to second 10"
# What may not follow a time: the rest of "20,5", "1,300" or "3:60:20", but "5 - 9,12 - 20" is a list, and a colon opens
# a caption.
WHOLE = rf"(?!:?\d|\.\d|\.\.\d|,(?=\d)(?!{TIME}{UNIT}\s*(?:[-–—~]|to\b)))"
AFTER_COMMA = re.compile(r"\d,$")  # and the 5 of "12,5" is not a time
SPAN = re.compile(rf"{BOUND}({TIME}){UNIT}(?:\s*[-–—~]\s*|\s+to\s+{AT})({TIME}){WHOLE}{UNIT}|"
                  rf"\bbetween\s+{AT}({TIME}){UNIT}\s+and\s+{AT}({TIME}){WHOLE}{UNIT}|"
                  rf"\[\s*({TIME}){UNIT}\s*,\s*({TIME}){UNIT}\s*\]", re.I)
FROM = re.compile(rf"\b(?:start|begin|from)\w*\D{{0,20}}?{BOUND}({TIME}){UNIT}", re.I)
UNTIL = re.compile(rf"\b(?:end|finish|stop|until|till)\w*\D{{0,20}}?{BOUND}({TIME}){UNIT}", re.I)
NUMBER = re.compile(rf"{BOUND}{TIME}")
HEAD_BEFORE = re.compile(r"(?:^|[\n.,;:!?*)\]-])\s*$")
BEFORE = 100  # characters before an interval in which `HEAD_BEFORE` is looked for
HEAD_AFTER = re.compile(r"\s*[,:]")
TRIM = " \t\n,.;:-*"
PREAMBLE = re.compile(r"\s*(?:(?:so|thus|therefore|hence)?[\s,]*(?:the\s+)?(?:(?:best|correct|right)\s+)?"
                      r"(?:option|answer|choice)\b(?:\s+is\b)?[\s:]*)*", re.I)
MARKS = re.compile(r"[*`\[\]]|(?<!\w)_+|_+(?!\w)|\\boxed(?=\{)|[{}]")  # "**B**", "[B]", "\\boxed{B}"
LEADING = re.compile(r"\(?\s*([a-z])(?:[ \t]*\n|\s*[).,:]|\s*$)", re.I)
AT_THE_END = re.compile(r"(?<![\w'’])([A-Z])\W*$")  # a capital, as in "hard to see, but C"
SPACED = re.compile(r"([a-z])\s", re.I)
IN_BRACKETS = re.compile(r"\(([a-z])\)", re.I)
# "I think B"; it must be a capital, so that words of a sentence do not count
SAID = re.compile(r"\b(?i:answer|option|choice|think|choose|pick|is|be|it's)[\s:]+([A-Z])(?=[.,:;]|\s*$)")


@dataclass(frozen=True)
class Reading:
    """When something happens according to an answer, how it is described, and on what evidence.

    Without intervals, the answer could not be read.
    """

    intervals: tuple[Interval, ...] = ()
    evidence: tuple[Interval, ...] = ()
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The option that an answer names.

    `letters` are indices of options in the order in which they are found, None for a letter that is no option. `rest`
    is the text that can be compared with the options if no letter decides. `formed` says whether something was found
    that looks like a letter, whether or not it is an option.
    """

    letters: tuple[int | None, ...] = ()
    rest: str = ""
    formed: bool = False


def split_answer(text: str) -> tuple[str, str]:
    """(evidence, answer); all of the text is the answer if no `</evi>` was written."""
    parts = re.split(END, text, flags=re.I)
    return (parts[0] if len(parts) > 1 else ""), parts[-1]


def read_intervals(text: str) -> Reading:
    evidence, answer = split_answer(text)
    return Reading(_intervals(answer), _intervals(evidence))


def read_point(text: str) -> tuple[float | None, float | None]:
    """One moment of the answer and one of its evidence: the middle of the first interval, else the first number."""
    evidence, answer = split_answer(text)
    return _point(answer), _point(evidence)


def read_events(text: str) -> Reading:
    """Each caption follows its own times. A span inside a sentence ("2-3 minutes") belongs to the caption."""
    evidence, answer = split_answer(text)
    heads = [head for head in find_spans(answer) if _opens_an_event(answer, head)]
    ends = [head[1] for head in heads[1:]] + [len(answer)]
    captions = [re.sub(r"^\W*description:", "", answer[head[2]:end], flags=re.I).strip(TRIM)
                for head, end in zip(heads, ends)]
    return Reading(tuple(in_order(head[0]) for head in heads), _intervals(evidence), tuple(captions))


def find_spans(text: str) -> list[tuple[Interval, int, int]]:
    """The two times of each interval as written, and where they stand in the text: "a - b", "a to b", "between a and
    b", "[a, b]", else "starts at a ... ends at b".
    """
    found: list[tuple[tuple[str, str], int, int]] = []
    for match in SPAN.finditer(text):
        start, end = (time for time in match.groups() if time)
        follows = bool(found) and found[-1][2] == match.start() - 1
        if follows or not AFTER_COMMA.search(text[max(0, match.start() - 2):match.start()]):
            found.append(((start, end), match.start(), match.end()))
    if not found:
        found = [((a[1], b[1]), a.start(), b.end()) for a, b in zip(FROM.finditer(text), UNTIL.finditer(text))]
    spans = [((_seconds(a), _seconds(b)), start, end) for (a, b), start, end in found]
    return [span for span in spans if all(map(math.isfinite, span[0]))]


def read_choice(text: str, options: Sequence[str]) -> Choice:
    """At most one letter: the letter that the answer names, or that of the only option whose words it contains.

    The "A" of "A man walks" does not count as a letter.
    """
    answer = MARKS.sub("", split_answer(text)[1])
    preamble = PREAMBLE.match(answer)
    rest = answer[preamble.end() if preamble else 0:].strip()
    letter = _letter(rest, [plain(option) for option in options])
    index = LETTERS.find(letter.lower()) if letter else -1
    return Choice((index,), rest, True) if 0 <= index < len(options) else Choice((), rest)


def _intervals(text: str) -> tuple[Interval, ...]:
    return tuple(in_order(times) for times, _, _ in find_spans(text))


def in_order(times: Interval) -> Interval:
    return min(times), max(times)


def _opens_an_event(text: str, head: tuple[Interval, int, int]) -> bool:
    _, start, end = head
    return bool(HEAD_BEFORE.search(text[max(0, start - BEFORE):start]) or HEAD_AFTER.match(text, end)
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


def _letter(text: str, options: list[str]) -> str | None:
    if match := LEADING.match(text) or IN_BRACKETS.search(text) or SAID.search(text):
        return match[1]
    mentioned = [i for i, option in enumerate(options) if option and f" {option} " in f" {plain(text)} "]
    if len(mentioned) == 1:
        return LETTERS[mentioned[0]]
    if (match := SPACED.match(text)) and match[1].lower() != "a":
        return match[1]
    return match[1] if (match := AT_THE_END.search(text)) else None


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
