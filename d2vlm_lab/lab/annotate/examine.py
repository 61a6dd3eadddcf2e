"""From a draft to a sample, or to everything that is wrong with it."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ...data.sample import UNKNOWN, EventRecord, Record, Sample, as_sample, brief, problems
from ...data.video import VideoError, length
from ...errors import LabError
from ...files import unsafe_path
from ...shapes import LARGEST, below, fit, hints_of, shown, suggest
from .draft import Draft, Problem

ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")  # of videos that a layout names without one
TIMES = "Times are seconds from the start of the video; a frame number is divided by the frame rate."
OVERLAP = 0.5  # seconds by which an event may pass the ends of its video, as in training
REMEDIES = {
    "id": "Give each sample an id of its own.",
    "video": "Write the path of the video inside the folder of videos, such as kitchen/a.mp4.",
    "duration": "Write how many seconds the video lasts; `annotate convert --videos DIR` fills it in.",
    "task": 'Write a word that groups your questions, such as "tvg" for when something happens.',
    "source": 'Write a word for where the question comes from, such as "own".',
    "question": "Write the question as text; each <evi> in it stands for one interval of question_intervals.",
    "events": 'Write a list of events, such as {"start": 3.0, "end": 7.5, "caption": "the man climbs"}.',
    "answer": 'Write a list of texts and of numbers of events, counted from 0: ["It happens in ", 0, "."].',
    "question_intervals": "Write a list of [start, end] in seconds, one for each <evi> of the question.",
    "options": "Write a list of texts, or of [start, end] in seconds.",
    "correct": "Write the number of the right option, counted from 0.",
}
# What stands in for a field that cannot be read, and which fields cannot be examined then.
NEUTRAL = {"id": "?", "video": "?", "duration": UNKNOWN, "task": "?", "source": "?", "question": "?"}
FOLLOWS = {"question": ("question_intervals",), "question_intervals": ("question",), "options": ("correct",),
           "events": ("answer", "events")}
Found = tuple[str, Problem]  # with the field of the record that it is about


@dataclass(frozen=True)
class Item:
    """One sample of a file with what is wrong with it; without a sample, where not even its fields could be read."""

    sample: Sample | None
    problems: tuple[Problem, ...] = ()

    @property
    def lost(self) -> bool:
        """Whether something in the file cannot be used."""
        return any(not problem.is_note for problem in self.problems)

    @property
    def usable(self) -> bool:
        return self.sample is not None and not self.lost


class Videos:
    """The folder of the videos, each of which is opened once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.known: dict[str, float | VideoError] = {}

    def find(self, name: str) -> str:
        """A path as the annotation should have it: inside the folder, and with the ending of the file that is there."""
        if os.path.isabs(name) and Path(name).is_relative_to(self.folder.absolute()):
            name = Path(name).relative_to(self.folder.absolute()).as_posix()
        if unsafe_path(name) or os.path.exists(self.folder / name):
            return name
        return next((name + ending for ending in ENDINGS if os.path.exists(self.folder / (name + ending))), name)

    def seconds(self, name: str) -> float:
        """How long a video lasts; a VideoError where it is missing or cannot be read to its end."""
        if name not in self.known:
            try:
                self.known[name] = length(self.folder / name)
            except VideoError as error:
                self.known[name] = error
        found = self.known[name]
        if isinstance(found, VideoError):
            raise found
        return found


def examine(drafts: Iterable[Draft], videos: Videos | None = None, complete: bool = False) -> Iterator[Item]:
    """The items of drafts, in their order. With `complete`, a duration that is missing is taken from the video."""
    seen: dict[str, str] = {}
    for draft in drafts:
        item = examined(draft, videos, complete or bool(draft.origins))
        if item.sample is not None and item.sample.id in seen:
            twice = f"the id {brief(item.sample.id)} was there before, in {seen[item.sample.id]}"
            item = replace(item, problems=(*item.problems, _problem(draft, "id", twice)))
        elif item.sample is not None:
            seen[item.sample.id] = draft.place
        yield item


def examined(draft: Draft, videos: Videos | None, complete: bool) -> Item:
    if not isinstance(draft.record, dict):
        if draft.problems:
            return Item(None, draft.problems)
        return Item(None, (Problem(draft.place, "", f"expected an object, found {shown(draft.record)}",
                                   "Write one JSON object for each question."),))
    record = _completed(draft.record, videos) if complete else draft.record
    wrong = dict(misfits(record))
    sample = as_sample(readable(record, wrong) if wrong else record)
    found = _wrong(draft, sample)
    if videos is not None and "video" not in wrong:
        found += _with_video(draft, sample, videos)
    if sample.duration == UNKNOWN and not any(name == "video" for name, _ in found):
        found.append(("duration", _problem(draft, "duration", "it is not known")))
    hidden = {other for name in wrong for other in FOLLOWS.get(name, ())} | {_root(name) for name in wrong} - {"events"}
    kept = [_problem(draft, name, message) for name, message in wrong.items()]
    kept += [problem for name, problem in found if name not in wrong and _root(name) not in hidden]
    return Item(None if wrong else sample, (*draft.problems, *kept))


def readable(record: dict, wrong: Collection[str]) -> dict:
    """A record of the fields that can be read, so that they are examined although others cannot."""
    roots = {_root(name) for name in wrong}
    kept = {name: value for name, value in record.items() if name in Record.__annotations__ and name not in roots}
    if "events" in roots and isinstance(record.get("events"), list):
        bad = {match[1] for name in wrong if (match := re.match(r"events\[(\d+)\]", name))}
        kept["events"] = [{"start": 0.0, "end": 0.0} if str(k) in bad else event
                          for k, event in enumerate(record["events"])]
    return NEUTRAL | kept


def _completed(record: dict, videos: Videos | None) -> dict:
    """The record with the path and the duration of its video, as far as the folder of the videos says them."""
    name = record.get("video")
    if videos is None or not isinstance(name, str):
        return record
    record = {**record, "video": videos.find(name)}
    if record.get("duration") in (None, UNKNOWN):
        record["duration"] = UNKNOWN  # and it stays so where the video is the problem, which is reported
        if not unsafe_path(record["video"]):
            with suppress(VideoError):
                record["duration"] = round(videos.seconds(record["video"]), 3)
    return record


def misfits(record: dict) -> Iterator[tuple[str, str]]:
    """Every field of a record that is missing, unknown or of another type, and what is wrong with it."""
    yield from _misfits(record, Record, "")
    duration = record.get("duration", 0.0)
    if type(duration) not in (int, float) or type(duration) is int and abs(duration) > LARGEST:
        yield "duration", f"expected a number of seconds, found {shown(duration)}"


def _misfits(value: object, shape, path: str) -> Iterator[tuple[str, str]]:
    if typing.is_typeddict(shape) and isinstance(value, dict):
        hints = hints_of(shape)
        for name in value:
            if name not in hints:
                yield f"{path}{'.' if path else ''}{brief(name)}", f"there is no such field{suggest(name, hints)}"
        for name, kind in hints.items():
            optional = typing.get_origin(kind) is typing.NotRequired
            if name in value:
                yield from _misfits(value[name], typing.get_args(kind)[0] if optional else kind, below(path, name))
            elif not optional:
                yield below(path, name), "the field is missing"
    elif typing.get_origin(shape) is list and isinstance(value, list):
        for k, one in enumerate(value):
            yield from _misfits(one, typing.get_args(shape)[0], f"{path}[{k}]")
    else:
        try:
            fit(value, shape)
        except LabError as error:
            yield path, str(error)


def _wrong(draft: Draft, sample: Sample) -> list[Found]:
    """What training would refuse, and what it would not learn in the way that was meant."""
    found = [(name, _problem(draft, name, message, _remedy(name, sample)))
             for name, message in problems(sample, OVERLAP)]
    if not sample.answer:
        return [*found, ("answer", _problem(draft, "answer", "it is missing, and training learns from answers"))]
    for k in sorted(set(range(len(sample.events))) - set(sample.answer)):
        found.append(_note(draft, f"events[{k}]", "the answer does not mention this event",
                           f"Put the number {k} into the answer, or leave the event out."))
    return found


def _with_video(draft: Draft, sample: Sample, videos: Videos) -> list[Found]:
    """What the video itself says against the sample."""
    if unsafe_path(sample.video):
        return []
    try:
        seconds = videos.seconds(sample.video)
    except VideoError as error:
        remedy = f"Put the video into {videos.folder}, or correct its path."
        return [("video", _problem(draft, "video", str(error), remedy))]
    if sample.duration == UNKNOWN or abs(sample.duration - seconds) <= max(1.0, 0.02 * seconds):
        return []
    late = [_note(draft, f"events[{k}]", f"event {k + 1} ends at {event.end:g} s, after the end of the video itself at "
                  f"{seconds:g} s", TIMES) for k, event in enumerate(sample.events)
            if seconds + OVERLAP < event.end <= sample.duration + OVERLAP]
    return [_note(draft, "duration", f"the file says {sample.duration:g} s, the video lasts {seconds:g} s",
                  "Check that this is the right video, and that times are in seconds."), *late]


def _note(draft: Draft, name: str, message: str, remedy: str) -> Found:
    return name, replace(_problem(draft, name, message, remedy), is_note=True)


def _remedy(name: str, sample: Sample) -> str | None:
    """What to do about a wrong interval, from its numbers; None where the usual words say it."""
    match = re.fullmatch(r"events\[(\d+)\]", name)
    if not match:
        return None
    start, end = sample.events[int(match[1])].interval
    if start > end:
        return "Swap the two times, or correct one of them."
    if sample.duration < end and end / 1000 <= sample.duration < UNKNOWN and end > 1000:
        return "These look like milliseconds: divide them by 1,000."
    return TIMES


def _problem(draft: Draft, name: str, message: str, remedy: str | None = None) -> Problem:
    place, own_name = draft.origin(name)
    if message == "the field is missing" and draft.origins and name == "duration":
        remedy = "--videos DIR takes it from the video."
    root = _root(name)
    if root == "events" and name.rsplit(".", 1)[-1] in EventRecord.__annotations__:
        remedy = remedy or TIMES
    return Problem(place, own_name, message, remedy or REMEDIES.get(root, "Remove it, or correct its name."))


def _root(name: str) -> str:
    """The field of a record that a path such as `events[2].start` leads into."""
    return re.split(r"[.\[]", name)[0]
