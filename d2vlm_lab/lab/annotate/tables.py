"""Intervals in lines of text: CSV with the columns start, end and caption, and subtitles in WebVTT or SubRip."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ...data.sample import brief
from ...errors import LabError
from ...reader import read_text
from ...shapes import shown
from .draft import Captioned, Draft, Problem, each_once, incomplete, moments, questions, seconds_of, sorted_out, spoiled

NEEDED = ("start", "end", "caption")
KNOWN = (*NEEDED, "video", "question", "duration")
TIMES = "Write seconds, such as 7.5, or a time such as 00:07.50, counted from the start of the video."
CUE = re.compile(r"\s*(\S+)\s+-->\s+(\S+)(?:\s.*)?")
TAG = re.compile(r"</?[\w.:]+[^>]*>")
WITHOUT_CUE = ("WEBVTT", "NOTE", "STYLE", "REGION")  # how a block begins that holds no subtitle


def csv_drafts(path: Path, task: str, video: str | None, find: Callable[[str], str] = str) -> Iterator[Draft]:
    """A row is an event. Rows with a question of their own are grouped by it, the others by their video."""
    table = _table(path, video)
    if unknown := [name for name in table.fieldnames if name not in KNOWN]:
        yield Draft(f"{path}: line 1", None, (Problem(f"{path}: line 1", brief(unknown[0]), "this column is not read",
                                                      f"Columns that are read: {', '.join(KNOWN)}.", True),))
    asked: dict[tuple[str, str], list[Captioned]] = {}  # video and question -> events
    bad: dict[tuple[str, str], list[Draft]] = {}  # the events that cannot be used
    nowhere: list[Draft] = []  # rows that cannot be read, so that nobody knows which video they are about
    durations: dict[str, object] = {}
    for row in _rows(table, path):
        if isinstance(row, Draft):
            nowhere.append(row)
            yield row
            continue
        place, values = row
        name, question = find(values.get("video", "").strip() or video or ""), values.get("question", "").strip()
        event = _event(place, name, values)
        if isinstance(event, Draft):
            bad.setdefault((name, question), []).append(event)
            yield event
            continue
        asked.setdefault((name, question), []).append(event)
        yield from _contradiction(place, values.get("duration", "").strip(), name, durations)
    for (name, question), events in asked.items():
        lost, place, duration = bad.get((name, question), []), events[0].place, durations.get(name)
        if not question:
            yield from questions(name, events, task, "csv", place, duration, [*lost, *nowhere])
        elif lost:
            yield incomplete(place, f"moments of {shown(question)}")
        else:
            events, notes = each_once(events)
            yield from notes
            yield moments(name, question, events, "csv", place, duration)


def _contradiction(place: str, duration: str, video: str, durations: dict[str, object]) -> Iterator[Draft]:
    """Keep the first duration of a video; a note if a later row says another."""
    if duration and durations.setdefault(video, _number(duration)) != _number(duration):
        yield Draft(place, None, (Problem(place, "duration", f"an earlier row of this video says "
                                          f"{shown(durations[video])}, this one {shown(_number(duration))}",
                                          "The first is used. Correct one of them.", True),))


def _table(path: Path, video: str | None) -> csv.DictReader:
    """The rows, by the names in the first line, which is also where the separator is found."""
    text = read_text(path)
    first = text.partition("\n")[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), restval="",
                           strict=True)
    try:
        table.fieldnames = [name.strip().lower() for name in table.fieldnames or ()]
    except csv.Error as error:
        raise LabError(f"{path}: line 1: {error}; the first line names the columns {', '.join(NEEDED)}") from None
    needed = NEEDED if video else (*NEEDED, "video")
    if missing := [name for name in needed if name not in table.fieldnames]:
        raise LabError(f"{path}: line 1: no column {missing[0]!r}, found {shown(', '.join(table.fieldnames))}; the "
                       f"first line names the columns {', '.join(needed)}"
                       + ("" if video else ", or --video names the video"))
    return table


def _rows(table: csv.DictReader, path: Path) -> Iterator[tuple[str, dict] | Draft]:
    """The rows that are not empty, each with its place: its last line, or the first of one that cannot be read."""
    while True:
        first = table.reader.line_num + 1
        try:
            values = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            last = table.reader.line_num
            message = f"{error}; the row goes on to line {last}" if last > first else error
            yield spoiled(f"{path}: line {first}", "", message, "Check the quotation marks: those inside a caption are "
                          'written twice, and it is put into others: "he says ""jump"" and waves".')
            continue
        place = f"{path}: line {table.line_num}"
        if None in values:
            yield spoiled(place, "", f"{len(values[None])} more values than there are columns",
                          'Put a caption that holds the separator into quotation marks: "she sits, then stands".')
        elif any(value.strip() for value in values.values()):
            yield place, values


def _event(place: str, video: str, values: dict) -> Captioned | Draft:
    if not video:
        return spoiled(place, "video", "is empty", "Write the path of the video inside the folder of videos.")
    times = []
    for name in ("start", "end"):
        try:
            times.append(seconds_of(values[name]))
        except LabError as error:
            return spoiled(place, name, error, TIMES, values["caption"])
    if not values["caption"].strip() and not values.get("question", "").strip():
        return spoiled(place, "caption", "is empty", "Write in words what happens in this interval.")
    return Captioned(*times, " ".join(values["caption"].split()), place, "start and end")


def _number(text: str) -> object:
    """A duration; what cannot be read stays as it is, and is found later."""
    try:
        return seconds_of(text)
    except LabError:
        return text


def subtitle_drafts(path: Path, task: str, video: str, kind: str) -> Iterator[Draft]:
    """A subtitle is an event, and its text the caption."""
    read = [_subtitle(path, line, block) for line, block in _blocks(read_text(path))
            if not (kind == "vtt" and block[0].startswith(WITHOUT_CUE) and not any("-->" in text for text in block))]
    yield from sorted_out(f"{path}: line 1", video, read, task, kind)


def _subtitle(path: Path, line: int, block: list[str]) -> Captioned | Draft:
    at = next((k for k, text in enumerate(block) if "-->" in text), None)
    place = f"{path}: line {line + (at or 0)}"
    if at is None:
        return spoiled(place, "", f"expected a line such as 00:03.000 --> 00:07.500, found {shown(block[0])}",
                       "Separate subtitles by an empty line, and begin each with its times.")
    match, text = CUE.fullmatch(block[at]), html.unescape(TAG.sub("", " ".join(block[at + 1:])))
    try:
        if match is None:
            raise LabError(f"expected start --> end, found {shown(block[at])}")
        times = seconds_of(match[1]), seconds_of(match[2])
    except LabError as error:
        return spoiled(place, "times", error, "Write them as 00:03.000 --> 00:07.500.", text)
    if not text.strip():
        return spoiled(place, "text", "is empty", "Write below the times what happens in this interval.")
    return Captioned(*times, " ".join(text.split()), place, "times")


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines between empty ones, with the number of the first."""
    block: list[str] = []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []
