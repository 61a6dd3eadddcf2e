"""How the published scorers read an answer, slips included; how it should be read is in `reading.py`.

There are two families: *plain* reads the whole text; *split* takes the evidence from before a delimiter and the answer
from after it. A function raises ValueError where the published script stops with an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ...ideas.evidence import END, Interval
from .reading import IN_BRACKETS, LETTERS, Choice, Reading

NUMBER = r"\d+(?:\.+\d*)?"
WHOLE = r"(?<!\d)(?>\d+\.*\d*)"  # the same, but a part of a number cannot match, so that no time is lost in trying
RANGE = re.compile(rf"({WHOLE})\s*-\s*({NUMBER})")
TO = re.compile(rf"({WHOLE})\s* to \s*({NUMBER})")
LONE = re.compile(r"\b(?:\d+\.\d+|\d+)\b")
CLOCK = re.compile(rf"{WHOLE}:{NUMBER}")
SIGNED = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")
START_TIME = re.compile(rf"start(?:ing)? time: ({NUMBER})")
END_TIME = re.compile(rf"end(?:ing)? time: ({NUMBER})")
SENTENCE_TIMES = re.compile(rf"start time {NUMBER}, end time {NUMBER}")
RADIUS = 20  # seconds before and after an event if only one time is given


def malformed_numbers_fail(read: Callable[[str], object], nothing: object = Reading()) -> Callable[[str], object]:
    """The same reader, but if the script stops, as at "3..5 - 9", the answer is read as nothing."""
    def reading(text: str):
        try:
            return read(text)
        except ValueError:
            return nothing
    return reading


# Intervals

def plain_intervals(text: str) -> Reading:
    """"a - b", else "a to b", else the first numbers of the parts that mention a start or an end, two by two."""
    return Reading(_ordered(_times(text.lower())))


def split_intervals(text: str, delimiter: str = END, forgiven: str = ".") -> Reading:
    """The first part is evidence, as written; the last part is the answer, where "a - b" may end in dots."""
    parts = text.lower().split(delimiter.lower())
    if len(parts) < 2:
        return Reading()
    return Reading(_ordered(_times(parts[-1], forgiven)), tuple(_floats(RANGE.findall(parts[0]))))


def plain_point(text: str) -> tuple[float | None, float | None]:
    """The first number, signed, decimal or not; there is no evidence."""
    match = SIGNED.search(text)
    return (float(match.group()) if match else None), None


def split_point(text: str) -> tuple[float | None, float | None]:
    """The middle of the first interval of the last part, and of the first interval of the first part."""
    parts = text.split(END)
    if len(parts) < 2:
        return None, None
    evidence, answer = plain_intervals(parts[0]).intervals, plain_intervals(parts[-1]).intervals
    return _middle(answer), _middle(evidence)


# Events with captions

def plain_events(text: str) -> Reading:
    """Captions are the texts between the times, paired from the front; else one event in some other form."""
    try:
        times, captions = _paragraph(text.lower())
    except ValueError:
        return Reading()
    if not times:
        times, captions = _one_event(text)
    return Reading(_ordered(times), captions=tuple(captions))


def split_events(text: str) -> Reading:
    """As `plain_events`, but on the second part, with runs of dots as blanks; evidence comes from the first part."""
    parts = text.split(END)
    if len(parts) < 2:
        return Reading()
    before, answer = (re.sub(r"\.{2,}", " ", part.lower()) for part in parts[:2])
    times, captions = _paragraph(answer)
    evidence = tuple(_floats(RANGE.findall(before)))
    if not times:
        times, captions = _one_event(text)
    return Reading(_ordered(times), evidence, tuple(captions))


def loose_time(text: str) -> Interval:
    """"a - b"; mm:ss once or twice; one number or two. A single time means the forty seconds around it."""
    if spans := RANGE.findall(text):
        start, end = spans[0]
    elif text.count(":") == 1:
        start, end = _around(_clock(CLOCK.findall(text)[0]))
    elif text.count(":") == 2:
        start, end = map(_clock, CLOCK.findall(text))
    else:
        numbers = re.findall(rf"{NUMBER}(?!\.)", text)
        start, end = _around(float(numbers[0])) if len(numbers) == 1 else numbers
    return round(float(start), 2), round(float(end), 2)


# Choices: text, the options, and how many letters count as options

def letter_in_brackets_anywhere(text: str, options: Sequence[str], n: int) -> Choice:
    """The first "(x)" of the whole answer, including evidence; then a letter at its start."""
    bracket = IN_BRACKETS.search(text)
    opening = letter_at_the_start(text.lower(), options, n)
    letters = (_index(bracket[1], n), *opening.letters) if bracket else opening.letters
    return Choice(letters, opening.rest, bool(bracket) or opening.formed)


def letter_after_the_delimiter(text: str, options: Sequence[str], n: int) -> Choice:
    """A blank after the delimiter hides "Best Option:", and a later "(x)" is never seen."""
    return letter_at_the_start(text.split(END)[-1].lower(), options, n)


def letter_after_the_delimiter_with_case(text: str, options: Sequence[str], n: int) -> Choice:
    return letter_at_the_start(text.split(END)[-1], options, n)


def letter_at_the_start(text: str, options: Sequence[str], n: int) -> Choice:
    """"A man walks" is read as option A."""
    if text.lower().startswith("best option:"):
        text = text[len("best option:"):]
    text = text.lstrip().lstrip("(").lstrip()
    formed = len(text) == 1 or text[1:2] in tuple("., )")
    return Choice((_index(text[0], n),) if formed else (), text, formed)


def _index(letter: str, n: int) -> int | None:
    index = LETTERS.find(letter.lower())
    return index if 0 <= index < n else None


def _times(text: str, forgiven: str = "") -> list[Interval]:
    ranges = [(start.rstrip(forgiven), end.rstrip(forgiven)) for start, end in RANGE.findall(text)]
    return _floats(ranges) or _floats(TO.findall(text)) or _beside_keywords(text)


def _floats(pairs: list[tuple[str, str]]) -> list[Interval]:
    return [(float(start), float(end)) for start, end in pairs]


def _ordered(pairs: list[Interval]) -> tuple[Interval, ...]:
    return tuple((min(pair), max(pair)) for pair in pairs)


def _middle(intervals: tuple[Interval, ...]) -> float | None:
    return sum(intervals[0]) / 2 if intervals else None


def _beside_keywords(text: str) -> list[Interval]:
    pieces = [piece for piece in re.split(r"[!?\n]", text) if re.search("start|end|happen", piece)]
    firsts = [float(match.group()) for piece in pieces if (match := LONE.search(piece))]
    return list(zip(firsts[::2], firsts[1::2]))


def _paragraph(text: str) -> tuple[list[Interval], list[str]]:
    """ValueError where the scripts fail: on malformed numbers and on "start time 3, end time 9"."""
    times, pieces = _floats(RANGE.findall(text)), []
    if times:
        rest = text
        for match in RANGE.finditer(text):
            rest = rest.replace(match.group(), "\n")
        pieces = rest.replace("seconds", "").split("\n")
    elif (starts := START_TIME.findall(text)) and (ends := END_TIME.findall(text)):
        times = _floats(list(zip(starts, ends)))
        pieces = re.findall(r"description: (.*)", text) or re.findall(r"\*\s*(.*)", text)
    elif SENTENCE_TIMES.search(text):
        raise ValueError("times that are written as a sentence are not read")
    captions = [piece.strip().strip(", ").rstrip() for piece in pieces if len(piece) > 5]
    return times[:len(captions)], captions[:len(times)]


def _one_event(text: str) -> tuple[list[Interval], list[str]]:
    """The first line, or sentence, that holds a time before the word "seconds"; the caption follows that word."""
    by_line = "\n" in text
    pieces = text.split("\n") if by_line else [sentence + "." for sentence in text.split(".")]
    for piece in pieces:
        if len(piece) > (7 if by_line else 8):  # the added dot does not count
            parts = [part.strip(",") for part in piece.split("seconds")]
            try:
                return [loose_time(parts[0])], [parts[-1].strip()]
            except (ValueError, IndexError):
                continue
    return [], []


def _clock(text: str) -> int:
    minutes, seconds = text.split(":")
    return int(minutes) * 60 + int(seconds)


def _around(time: float) -> Interval:
    return (time - RADIUS, time + RADIUS) if time > RADIUS else (time, time + 2 * RADIUS)
