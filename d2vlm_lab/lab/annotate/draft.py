"""What is read from an annotation file: drafts of samples, each with the place that every field of it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from ...errors import LabError
from ...shapes import fit, shown

CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)")
TASKS = ("tvg", "dvc", "both")  # questions about when an event happens, about what happens when, or both kinds
MOMENT = "When does this happen in the video: {}?"
EVERYTHING = "Describe every event of the video, and when it happens."


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, where it is, and what to do about it."""

    place: str  # file and line
    field: str  # as the file calls it
    message: str
    remedy: str
    is_note: bool = False  # the sample can be used all the same

    def __str__(self) -> str:
        message = self.message.rstrip(".") + ("" if self.message.endswith("?") else ".")
        return ": ".join(filter(None, (self.place, self.field, self.is_note and "note", f"{message} {self.remedy}")))


@dataclass(frozen=True)
class Draft:
    """A record of the project's format, as far as it could be read. Anything in it may still be wrong."""

    place: str
    record: object = None
    problems: tuple[Problem, ...] = ()  # found while reading; without a record there is nothing more to find
    says: str = ""  # of an event that cannot be used: its words
    origins: dict[str, tuple[str, str]] = field(default_factory=dict)  # field of the record -> its place and name

    def origin(self, name: str) -> tuple[str, str]:
        """Where a field of the record came from: its place, and what the file calls it."""
        start, _, rest = name.partition("].")
        return self.origins.get(name) or self.origins.get(f"{start}]" if rest else name) or (self.place, name)


@dataclass(frozen=True)
class Captioned:
    """An interval of a video with a text."""

    start: float
    end: float
    text: str
    place: str
    field: str = ""


def spoiled(place: str, name: str, message: object, remedy: str, says: str = "") -> Draft:
    """A draft of which nothing can be used."""
    return Draft(place, None, (Problem(place, name, str(message), remedy),), says)


def incomplete(place: str, what: str) -> Draft:
    """Instead of a question whose answer would leave out what could not be read."""
    return spoiled(place, "", f"no question can ask for all {what}, because some cannot be used",
                   "Correct these first.")


def seconds_of(value: object) -> float:
    """A time as seconds: a number, or text such as `7.5`, `00:07.50`, `01:02:07,500` or `7.5s`."""
    if type(value) in (int, float):
        return fit(value, float)
    match = CLOCK.fullmatch(value.strip().removesuffix("s").strip()) if isinstance(value, str) else None
    if not match:
        raise LabError(f"expected a time, found {shown(value)}")
    hours, minutes, rest = (float((part or "0").replace(",", ".")) for part in match.groups())
    if match[2] and rest >= 60 or match[1] and minutes >= 60:
        raise LabError(f"expected fewer than 60 minutes and 60 seconds behind a colon, found {shown(value)}")
    return hours * 3600 + minutes * 60 + rest


def questions(video: str, captions: Sequence[Captioned], task: str, source: str, place: str,
              duration: object = None, bad: Sequence[Draft] = ()) -> Iterator[Draft]:
    """The drafts of one video: a question about each caption, one that asks for all of them, or both.

    A question is left out if its answer would need one of the `bad` events, which could not be read.
    """
    captions, notes = each_once(captions)
    yield from notes
    if task != "dvc":
        by_text: dict[str, list[Captioned]] = {}
        for caption in captions:
            by_text.setdefault(plain(caption.text), []).append(caption)
        lost = {plain(event.says) for event in bad}
        for text, same in by_text.items():  # what happens twice is one question with two answers
            if text in lost:
                yield incomplete(same[0].place, f"moments of {shown(same[0].text)}")
                continue
            question = MOMENT.format(same[0].text.strip().rstrip(".?"))
            yield moments(video, question, same, source, same[0].place, duration)
    if task != "tvg" and bad:
        yield incomplete(place, f"events of {shown(video)}")
    elif task != "tvg" and captions:
        ordered = sorted(captions, key=lambda caption: (caption.start, caption.end))
        yield draft(video, "dvc", EVERYTHING, ordered, described(ordered), source, place, duration)


def sorted_out(place: str, video: str, read: Sequence[Captioned | Draft], task: str, source: str,
               duration: object = None) -> Iterator[Draft]:
    """What could not be read, then the questions about the rest."""
    bad = [one for one in read if isinstance(one, Draft)]
    yield from bad
    captions = [one for one in read if isinstance(one, Captioned)]
    yield from questions(video, captions, task, source, place, duration, bad)


def plain(text: str) -> str:
    """A text as it is compared with others."""
    return text.strip(" .").casefold()


def each_once(captions: Sequence[Captioned]) -> tuple[list[Captioned], list[Draft]]:
    """The captions without those that repeat an earlier one, and a note about each of these."""
    kept: dict[tuple[float, float, str], Captioned] = {}
    notes = []
    for caption in captions:
        first = kept.setdefault((caption.start, caption.end, plain(caption.text)), caption)
        if first is not caption:
            note = Problem(caption.place, caption.field, f"the same times and the same words as in {first.place}",
                           "It is read once. Remove it, or correct it.", True)
            notes.append(Draft(caption.place, None, (note,)))
    return list(kept.values()), notes


def moments(video: str, question: str, captions: Sequence[Captioned], source: str, place: str,
            duration: object = None) -> Draft:
    """One question that is answered by all of these intervals."""
    ordered = sorted(captions, key=lambda caption: (caption.start, caption.end))
    task = "tvg" if len(ordered) == 1 else "tal"
    answer = ["It happens in ", *listed(len(ordered)), "."]
    return draft(video, task, question, ordered, answer, source, place, duration)


def listed(n: int) -> list[str | int]:
    """The events 0 to n - 1 in a sentence: `0, 1 and 2`."""
    return [piece for k in range(n) for piece in ([", " if k < n - 1 else " and "] if k else []) + [k]]


def described(captions: Sequence[Captioned]) -> list[str | int]:
    """The answer that gives the time of each event, and what happens then."""
    last = len(captions) - 1
    return [piece for k, caption in enumerate(captions) for piece in (k, said(caption.text) + " " * (k < last))]


def said(text: str) -> str:
    """What follows the time of an event in an answer, to the end of the sentence."""
    text = text.strip().rstrip(".")
    return f"{', ' if text else ''}{text}{'' if text.endswith(('?', '!')) else '.'}"


def draft(video: str, task: str, question: str, captions: Sequence[Captioned], answer: list[str | int], source: str,
          place: str, duration: object = None) -> Draft:
    events = [{"start": caption.start, "end": caption.end, "caption": caption.text} for caption in captions]
    record = {"video": video, "task": task, "source": source, "question": question, "events": events,
              "answer": answer} | ({} if duration is None else {"duration": duration})
    return Draft(place, record, origins={f"events[{k}]": (caption.place, caption.field)
                                         for k, caption in enumerate(captions)})


def with_ids(drafts: Iterable[Draft]) -> Iterator[Draft]:
    """The drafts themselves; those of a format without ids are counted for each video: `ladder-1`, `ladder-2`."""
    counts: dict[str, int] = {}
    taken = set()
    for each in drafts:
        if isinstance(each.record, dict) and "id" not in each.record and each.origins:
            video = PurePosixPath(str(each.record.get("video")))
            stem = str(video.with_suffix("")) if video.name else str(video)
            counts[stem] = counts.get(stem, 0) + 1
            while f"{stem}-{counts[stem]}" in taken:
                counts[stem] += 1
            each = replace(each, record={"id": f"{stem}-{counts[stem]}", **each.record})
        if isinstance(each.record, dict):
            taken.add(str(each.record.get("id")))
        yield each
