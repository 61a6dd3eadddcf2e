"""Conversations about a video, as vision-language models are fine-tuned on: Qwen3-VL's `conversations` or `messages`.

A question and the answer that follows it are one sample. The times of an answer are read from JSON
(`[{"start": "00:03.00", "end": "00:07.50", "description": "..."}]`, or `[[3.0, 7.5]]`), else from its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ...errors import LabError
from ...judging.metrics.reading import find_spans, read_events
from ...reader import parse_json
from ...shapes import shown
from .draft import Captioned, Draft, Problem, described, draft, each_once, moments, seconds_of, spoiled

FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
MARKERS = re.compile(r"<(?:video|image)>\s*")
START, END = ("start", "start_time"), ("end", "end_time")
CAPTION = ("description", "caption", "event", "label")
LAYOUT = ('Write {"video": "a.mp4", "conversations": [{"from": "human", "value": "<video>When ...?"}, {"from": "gpt", '
          '"value": "..."}]}.')
# What shows that two numbers are times; "starts with 2 men and ends with 3" is not one of them.
AS_TIME = re.compile(r"\d[.:]\d|\d\s*s(?:ec|\b)|\[|between|second|(?:start|begin)\w* at", re.IGNORECASE)
SPEAKERS = {"human": "asks", "user": "asks", "gpt": "answers", "assistant": "answers"}


def drafts(place: str, value: dict) -> Iterator[Draft]:
    """The samples of one conversation."""
    name = "conversations" if "conversations" in value else "messages"
    turns = value.get(name)
    try:
        said = [_turn(turn, f"{name}[{k}]") for k, turn in enumerate(turns)] if isinstance(turns, list) else []
    except LabError as error:
        yield spoiled(place, "", error, LAYOUT)
        return
    said = [(k, *turn) for k, turn in enumerate(said) if turn is not None]
    if not said or [who for _, who, _ in said] != ["asks", "answers"] * (len(said) // 2):
        yield spoiled(place, name, "questions and answers must take turns, and a question begins", LAYOUT)
        return
    video = _video(value, turns)
    if video is None:
        yield spoiled(place, "video", "no single video is named", LAYOUT)
        return
    for (_, _, question), (k, _, answer) in zip(said[::2], said[1::2]):
        yield _answered(place, f"{name}[{k}]", video, question, answer.strip(), value.get("duration"))


def _turn(turn: object, name: str) -> tuple[str, str] | None:
    """Who speaks and what; None for what is said to the model beforehand."""
    if not isinstance(turn, dict):
        raise LabError(f"{name}: expected an object, found {shown(turn)}")
    who, said = (next((turn[key] for key in keys if key in turn), None) for keys in (("from", "role"),
                                                                                   ("value", "content")))
    if who == "system":
        return None
    if isinstance(said, list):
        said = "\n".join(part["text"] for part in said if isinstance(part, dict) and isinstance(part.get("text"), str))
    if not isinstance(who, str) or who not in SPEAKERS or not isinstance(said, str):
        raise LabError(f"{name}: expected a speaker ({', '.join(SPEAKERS)}) and a text, found {shown(turn)}")
    return SPEAKERS[who], MARKERS.sub("", said).strip()


def _video(value: dict, turns: list) -> str | None:
    """The video of the conversation: beside it, or inside the first message."""
    parts = [part for turn in turns for part in _several(turn.get("content")) if isinstance(part, dict)]
    named = [value.get("video"), *_several(value.get("videos")), *(part.get("video") for part in parts)]
    found = list(dict.fromkeys(name for name in named if isinstance(name, str)))
    return found[0].removeprefix("file://") if len(found) == 1 else None


def _several(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _answered(place: str, name: str, video: str, question: str, answer: str, duration: object) -> Draft:
    try:
        captions = _from_json(place, name, answer)
    except LabError as error:
        return spoiled(place, name, error, 'Write times as numbers of seconds, or as text such as "00:07.50".')
    if captions is None:
        return _in_words(place, name, video, question, answer, duration)
    captions, repeated = each_once(sorted(captions, key=lambda caption: (caption.start, caption.end)))
    notes = [note for each in repeated for note in each.problems]
    if len(captions) > 1 and any(caption.text for caption in captions):
        notes += [Problem(place, name, f"the event from {caption.start:g} s to {caption.end:g} s has no description",
                          "Write what happens then, or leave the event out.", True)
                  for caption in captions if not caption.text]
        made = draft(video, "dvc", question, captions, described(captions), "qwen", place, duration)
    else:
        made = moments(video, question, captions, "qwen", place, duration)
    return replace(made, problems=tuple(notes))


def _in_words(place: str, name: str, video: str, question: str, answer: str, duration: object) -> Draft:
    """The times in a text become references to the events that they are."""
    spans, events = find_spans(answer), read_events(answer)
    texts = events.captions if len(events.captions) == len(spans) and all(events.captions) else [""] * len(spans)
    captions = [Captioned(*span, text, place, name) for (span, _, _), text in zip(spans, texts)]
    pieces, cut = [], 0
    for k, (_, start, end) in enumerate(spans):
        pieces += [answer[cut:start], k]
        cut = end
    pieces = [piece for piece in [*pieces, answer[cut:]] if piece != ""]
    task = {0: "qa", 1: "tvg"}.get(len(spans), "dvc" if any(texts) else "tal")
    made = draft(video, task, question, captions, pieces, "qwen", place, duration)
    if not spans:
        note = Problem(place, name, "no times are found in this answer", "It is kept as an answer without evidence.",
                       True)
        return replace(made, problems=(note,), origins={"answer": (place, name)})
    doubtful = (answer[start:end] for span, start, end in spans if span not in events.intervals)
    return replace(made, problems=tuple(Problem(place, name, f"{shown(words)} is read as times", "Check that they are.",
                                                True) for words in doubtful if not AS_TIME.search(words)))


def _from_json(place: str, name: str, answer: str) -> list[Captioned] | None:
    """The intervals of an answer in JSON; None if it is none."""
    fenced = FENCE.search(answer)
    text = fenced[1] if fenced else answer
    try:
        value = parse_json(text)
    except LabError:
        if fenced:
            raise
        return None
    found = value if isinstance(value, list) and not (value and type(value[0]) in (int, float)) else [value]
    if not all(isinstance(one, (dict, list)) for one in found) or not found:
        return None
    return [_interval(one, place, name) for one in found]


def _interval(one: dict | list, place: str, name: str) -> Captioned:
    if isinstance(one, list):
        start, end, text = (*one, "") if len(one) == 2 else (None, None, "")
    else:
        start, end, text = (next((one[key] for key in keys if key in one), None) for keys in (START, END, CAPTION))
    return Captioned(seconds_of(start), seconds_of(end), " ".join(str(text or "").split()), place, name)
