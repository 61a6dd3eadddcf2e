"""The annotation files that are read, each by a function from its entries to drafts of samples.

The layouts were taken from public code: TimeLens-Bench and TimeLens-100K from TencentARC/TimeLens, the conversations of
Qwen3-VL from the fine-tuning guide and the example of event localization in QwenLM/Qwen3-VL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from json.decoder import scanstring
from pathlib import Path

from ...errors import LabError
from ...reader import parse_json, read_lines, read_text
from ...shapes import fit, shown
from . import conversations, tables
from .draft import Captioned, Draft, sorted_out, spoiled

BETWEEN = re.compile(r"[\s,:]*")
LAYOUTS = ("samples", "qwen", "timelens", "activitynet", "csv", "vtt", "srt")
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".vtt": "vtt", ".srt": "srt"}
OF_A_RECORD = {"id", "video", "question", "video_path", "conversations", "messages"}  # an object that is one sample
PAIR = "Write [start, end] in seconds from the start of the video."
Entry = tuple[int, str | None, object]  # line, key in an object, value; the value is a LabError if it is not JSON


def drafts(path: Path, layout: str | None, task: str, video: str | None,
           find: Callable[[str], str] = str) -> Iterator[Draft]:
    """Everything in a file; `video` is that of a file that names none, and `find` completes the name of a video."""
    empty = True
    for each in _drafts(path, layout, task, video, find):
        empty = empty and each.record is None and bool(each.problems) and all(note.is_note for note in each.problems)
        yield each
    if empty:
        raise LabError(f"{path}: there is nothing in this file")


def _drafts(path: Path, layout: str | None, task: str, video: str | None,
            find: Callable[[str], str]) -> Iterator[Draft]:
    known = layout or SUFFIXES.get(path.suffix.lower())
    if known == "csv":
        yield from tables.csv_drafts(path, task, video, find)
    elif known in ("vtt", "srt"):
        yield from tables.subtitle_drafts(path, task, video or path.stem, known)
    else:
        found = list(entries(path))
        yield from _each(path, found, known or layout_of(path, found), task)


def _each(path: Path, found: Sequence[Entry], layout: str, task: str) -> Iterator[Draft]:
    for line, key, value in found:
        place = f"{path}: line {line}"
        if isinstance(value, LabError):
            yield spoiled(place, "", value, "Correct this line; each line is one JSON object.")
        elif layout == "samples":
            yield Draft(place, value)
        elif not isinstance(value, dict):
            yield spoiled(place, key or "", f"expected an object, found {shown(value)}",
                          f"Write it as the layout {layout} has it, or name the right one with --format.")
        elif layout == "qwen":
            yield from conversations.drafts(place, value)
        elif layout == "timelens" and "events" in value:
            yield from _timelens_line(place, value, task)
        elif layout == "timelens":
            yield from _parallel(place, key, value, ("spans", "queries"), task, "timelens")
        else:
            yield from _parallel(place, key, value, ("timestamps", "sentences"), task, "activitynet")


def entries(path: Path) -> Iterator[Entry]:
    """The objects of a JSON Lines file or of a JSON list, or the members of one JSON object, with their lines."""
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        text = read_text(path)
        try:
            whole = parse_json(text, object, str(path))
        except LabError:
            if not _is_lines(text):
                raise
        else:
            if not isinstance(whole, (dict, list)):
                raise LabError(f"{path}: expected JSON Lines, or a JSON list or object, found {shown(whole)}")
            one = isinstance(whole, dict) and not OF_A_RECORD.isdisjoint(whole)
            yield from [(1, None, whole)] if one else _members(text)
            return
    bad: list[Entry] = []

    def on_bad(line: int, message: str) -> None:
        bad.append((line, None, LabError(message.removeprefix(f"{path}: line {line}: "))))

    for line, value in read_lines(path, object, on_bad):
        yield from bad
        bad.clear()
        yield line, None, value
    yield from bad


def _is_lines(text: str) -> bool:
    """Whether there are several lines, and the first of them is an object of its own."""
    first, _, rest = text.strip().partition("\n")
    try:
        return bool(rest) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _members(text: str) -> Iterator[Entry]:
    """The members of the one list or object in a text that is known to be JSON."""
    decoder, at = json.JSONDecoder(), BETWEEN.match(text).end()
    has_keys, line, counted, at = text[at] == "{", 1, 0, at + 1
    while text[at := BETWEEN.match(text, at).end()] not in "]}":
        line, counted = line + text.count("\n", counted, at), at
        key = None
        if has_keys:
            key, at = scanstring(text, at + 1)
            at = BETWEEN.match(text, at).end()
        value, at = decoder.raw_decode(text, at)
        yield line, key, value


def layout_of(path: Path, found: Sequence[Entry]) -> str:
    """The layout of a JSON file by the fields of its first object."""
    first = next((value for _, _, value in found if isinstance(value, dict)), {})
    if "conversations" in first and "tgt" in first:
        raise LabError(f"{path}: these are annotations of E.T. Instruct; use them as they are, with "
                       "data.format=et_instruct")
    for layout, names in (("samples", ("question", "task")), ("qwen", ("conversations", "messages")),
                          ("timelens", ("spans", "queries", "video_path")),
                          ("activitynet", ("timestamps", "sentences"))):
        if any(name in first for name in names):
            return layout
    return "samples"


def _parallel(place: str, video: str | None, value: dict, names: tuple[str, str], task: str,
              source: str) -> Iterator[Draft]:
    """An object with a list of intervals, and a list of as many texts. Its key is the name of the video."""
    intervals, texts = (value.get(name) for name in names)
    lists = isinstance(intervals, list) and isinstance(texts, list)
    if not lists or len(intervals) != len(texts) or not video:
        sizes = f"{len(intervals)} and {len(texts)} entries" if lists else "what is no list, or is missing"
        yield spoiled(place, " and ".join(names), f"expected two lists of equal length under the name of the video, "
                      f"found {sizes}", f'Write {{"VIDEO": {{"duration": 30.0, "{names[0]}": [[3.0, 7.5]], '
                      f'"{names[1]}": ["what happens then"]}}}}.')
        return
    read = [_captioned(place, f"{names[0]}[{k}]", span, f"{names[1]}[{k}]", text)
            for k, (span, text) in enumerate(zip(intervals, texts))]
    yield from sorted_out(place, video, read, task, source, value.get("duration"))


def _captioned(place: str, name: str, span: object, text_name: str, text: object) -> Captioned | Draft:
    try:
        start, end = fit(span, tuple[float, float])
    except LabError as error:
        return spoiled(place, name, error, PAIR, text if isinstance(text, str) else "")
    if not isinstance(text, str) or not text.strip():
        return spoiled(place, text_name, f"expected a text that is not empty, found {shown(text)}",
                       "Write in words what happens in this interval.")
    return Captioned(start, end, " ".join(text.split()), place, name)


def _timelens_line(place: str, value: dict, task: str) -> Iterator[Draft]:
    """A line of TimeLens-100K: a video with events, each with its query and its interval or intervals."""
    events, read = value.get("events"), []
    if not isinstance(events, list) or not isinstance(value.get("video_path"), str):
        yield spoiled(place, "events and video_path", "expected a list and a text", 'Write {"video_path": "a.mp4", '
                      '"duration": 30.0, "events": [{"query": "what happens", "span": [[3.0, 7.5]]}]}.')
        return
    for k, event in enumerate(events):
        span = event.get("span") if isinstance(event, dict) else None
        several = span if isinstance(span, list) and span and isinstance(span[0], list) else [span]
        for one in several:
            text = event.get("query") if isinstance(event, dict) else None
            read.append(_captioned(place, f"events[{k}].span", one, f"events[{k}].query", text))
    yield from sorted_out(place, value["video_path"], read, task, "timelens", value.get("duration"))

