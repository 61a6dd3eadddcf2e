"""`d2vlm-lab show PREDICTIONS`: a page that needs no other file, with answers from the worst to the best."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from PIL import Image

from ...data.sample import MOST_EVENTS, brief
from ...data.video import VideoError, read_frames_at
from ...errors import LabError
from ...files import check_outputs, unsafe_path, write_text
from ...ideas.evidence import END, Event, Interval
from ...judging.benchmarks import video_path
from ...judging.metrics.etbench import score_etbench
from ...judging.metrics.mvbench import is_right, mvbench_problem
from ...judging.metrics.reading import read_intervals
from ...judging.metrics.records import ANSWER, LATEST, etbench_problem, read_files
from ...judging.metrics.videomme import read_letter
from ...reader import read_json
from ...shapes import fit, refuse, shown
from ..plots.colors import TRUTH, event_color
from .card import ASKED, Answered, Card, cards_html, picture
from .document import document

SHOWN = 2000  # most answers on a page
Span = tuple[float, float]


class Evidence(TypedDict):
    curve: list[float]


class Shown(TypedDict):
    """What a page reads of a prediction; all of it may be missing."""

    a: NotRequired[str]
    pred: NotRequired[str]
    A: NotRequired[str]
    q: NotRequired[str]
    question: NotRequired[str]
    answer: NotRequired[str]
    task: NotRequired[str]
    task_type: NotRequired[str]
    video: NotRequired[str]
    error: NotRequired[str]
    duration: NotRequired[float | str]  # seconds; of Video-MME a word
    shown: NotRequired[Span]
    tgt: NotRequired[list[object] | None]  # one interval, intervals, or such a list of each annotator
    src: NotRequired[list[float] | None]
    g: NotRequired[list[str] | None]
    o: NotRequired[list[str | Span] | None]
    options: NotRequired[list[str]]
    p: NotRequired[int | None]
    evidence: NotRequired[list[Evidence] | None]


class Rule(TypedDict):
    salience: NotRequired[str]
    salience_value: NotRequired[float | None]
    formulation: NotRequired[str]


class Notes(TypedDict):
    """What a page reads of run.json."""

    videos: NotRequired[str]
    method: NotRequired[Rule]
    decoding: NotRequired[dict[str, object]]


FRAMES, SHORT, LONG = 8, 112, 1024  # shown of each video; pixels of their short side, and at most of the long one
FILTER = ("for (const a of document.querySelectorAll('.answer')) a.hidden = this.value && a.dataset.task != this.value")
KEY = "display:inline-block;width:1.4rem;height:.7rem;border-radius:3px;margin:0 .3rem 0 .8rem;background:"


def configure(parser) -> None:
    parser.add_argument("predictions", type=Path, help="folder of `evaluate`, or a file or folder of predictions")
    parser.add_argument("--out", type=Path, default=Path("answers.html"), help="the page")
    parser.add_argument("--limit", type=int, default=60, metavar="N", help="at most this many answers")
    parser.add_argument("--task", help="only answers to this task")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="where the videos are, if not where run.json says")


def run(args) -> None:
    if not 1 <= args.limit <= SHOWN:
        raise LabError(f"--limit is {args.limit}; a page can hold 1 to {SHOWN:,} answers")
    if os.path.isdir(args.out):
        raise LabError(f"--out is {args.out}, a folder; give the name of the page, such as {args.out / 'answers.html'}")
    check_outputs([args.out], [args.predictions, *args.predictions.glob("*.json*"),
                               args.predictions.parent / "run.json"])
    cards, notes, skipped = read_cards(args.predictions, args.task)
    videos = args.videos or (Path(notes["videos"]) if "videos" in notes else None)
    if args.videos and not os.path.isdir(args.videos):
        raise LabError(f"--videos is {brief(str(args.videos))}; there is no such folder")
    if videos is not None and not os.path.isdir(videos):
        print(f"{brief(str(videos))} is gone; the page has no frames (name their folder with --videos)")
        videos = None
    on_page = [with_frames(card, videos) for card in cards[:args.limit]]
    try:
        write_text(args.out, page(on_page, len(cards), notes, args.predictions.name))
    except OSError as error:
        raise LabError(f"--out is {brief(str(args.out))}; no page can be written there ({error.strerror})") from None
    print(f"{args.out}: {len(on_page)} of {len(cards)} answers, {args.out.stat().st_size / 2**20:.1f} MB")
    if skipped:
        print(f"{len(skipped)} predictions cannot be shown; the first: {skipped[0]}")


def read_cards(path: Path, task: str | None = None) -> tuple[list[Card], dict, list[str]]:
    """The answers of a file or a folder, worst first, what `evaluate` noted about them, and what cannot be shown."""
    folder = path if os.path.isdir(path) else path.parent
    notes = next((read_json(place / "run.json", Notes) for place in (folder, folder.parent)
                  if os.path.exists(place / "run.json")), {})
    records, skipped = [], []
    for where, record in read_files(path):
        try:
            records.append(_checked(fit(record, Shown, where), where))
        except LabError as error:
            skipped.append(str(error))
    if not records:
        raise LabError(skipped[0] if skipped else f"{path}: there is no prediction in this file")
    threshold = _threshold(notes.get("method", {}))
    cards = [_card(record, score, threshold) for record, score in zip(records, rate(records))]
    if task is not None:
        known = sorted({card.task for card in cards})
        cards = [card for card in cards if card.task == task]
        if not cards:
            raise LabError(f"{path}: no answer to task {task!r}; there are {', '.join(known)}")
    return worst_first(cards), notes, skipped


def _target(value: list, where: str) -> list[Interval]:
    """`tgt` in any of its shapes as intervals."""
    for shape in (Span, list[Span], list[list[Span]]):
        try:
            found = fit(value, shape)
        except LabError:
            continue
        if shape == Span:
            return [found]
        return found if shape == list[Span] else [span for spans in found for span in spans]
    refuse(where, "tgt", "expected [start, end], a list of these, or such a list of each annotator, "
                         f"found {shown(value)}")


def _checked(record: dict, where: str) -> dict:
    """The record itself, or an error where its parts do not fit each other."""
    options, right, target = record.get("o") or [], record.get("p"), _target(record.get("tgt") or [], where)
    texts = [value for value in record.values() if isinstance(value, str)]
    for holds, problem in (
            (right is None or not options or 0 <= right < len(options), f"p: there is no option {right}"),
            (all(len(text) <= ANSWER for text in texts), f"a text of more than {ANSWER:,} characters"),
            (all(len(each["curve"]) for each in record.get("evidence") or ()), "evidence: a curve without a value"),
            (len(target) <= MOST_EVENTS and len(record.get("evidence") or ()) <= MOST_EVENTS, "too many intervals"),
            (all(0 <= start <= end < LATEST for start, end in _spans(record)),
             "an interval must begin at 0 or later, before it ends")):
        if not holds:
            refuse(where, "", problem)
    return record


def _spans(record: dict) -> list[Interval]:
    """All intervals that a record gives as numbers."""
    options = [option for option in record.get("o") or () if not isinstance(option, str)]
    return [*_target(record.get("tgt") or [], ""), *options, record.get("shown", (0.0, 0.0)), *_asked(record),
            (0.0, _seconds(record))]


def _seconds(record: dict) -> float:
    """How long the video is, 1 where the record does not say."""
    duration = record.get("duration")
    return float(duration) if isinstance(duration, (int, float)) else 1.0


def rate(records: Sequence[dict]) -> list[float]:
    """How right each answer is, 0 to 1, by the protocol `clean`; what cannot be scored has 0."""
    scores = [0.0] * len(records)
    timed: dict[int, dict] = {}
    for i, record in enumerate(records):
        if "pred" in record:
            scores[i] = float(mvbench_problem(record) is None and bool(
                is_right(record["pred"], record["A"], record.get("candidates", ()))))
        elif "question_id" in record and "a" in record:
            scores[i] = float(read_letter(record["a"], record.get("options", ())) == record.get("answer"))
        elif etbench_problem(record) is None:
            timed[i] = {**record, "idx": i}
    for row in score_etbench(list(timed.values()), captions=False).rows:
        for i, score in zip(row.ids, row.scores):
            scores[i] = score
    return scores


def worst_first(cards: Sequence[Card]) -> list[Card]:
    """By score; equally bad ones take turns between tasks, so that none hides the others."""
    seen: Counter = Counter()
    keys = []
    for card in cards:
        score = card.answers[0].score
        keys.append((score, seen[card.task, score], card.task))
        seen[card.task, score] += 1
    return [card for _, card in sorted(zip(keys, cards), key=lambda pair: pair[0])]


def true_events(record: dict) -> tuple[Event, ...]:
    """The intervals in `tgt`, else that of the right option."""
    target, options = _target(record.get("tgt") or [], ""), record.get("o") or []
    right = options[record["p"]] if options and record.get("p") is not None else ""
    if not target and not isinstance(right, str):
        target = [right]
    captions = record.get("g") or [""] * len(target)
    return tuple(Event(float(start), float(end), caption) for (start, end), caption in zip(target, captions))


def moment(card: Card) -> Interval:
    """The part of the video that frames are taken from: all intervals with a margin.

    It is at least a fifth of the video, unless the margins were then far longer than what lies between them.
    """
    first, last = card.shown
    if not card.intervals:
        return card.shown
    starts, ends = zip(*card.intervals)
    low, high = (min(max(t, first), last) for t in (min(starts), max(ends)))
    length = high - low
    margin = max(0.25 * length, min((0.2 * (last - first) - length) / 2, 2 * length + 2))
    return max(first, low - margin), min(last, high + margin)


def seconds_shown(card: Card) -> np.ndarray:
    """When the frames are: evenly spaced, and in the middle of intervals that would have none."""
    even = np.linspace(*moment(card), FRAMES)
    missed = [(start + end) / 2 for start, end in card.intervals if not ((start <= even) & (even <= end)).any()]
    return np.sort(np.concatenate([even, missed[:FRAMES]]))


def small(frames: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) -> the same with a short side of `SHORT` pixels."""
    height, width = frames.shape[1:3]
    scale = min(SHORT / min(height, width), LONG / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames])


def with_frames(card: Card, videos: Path | None) -> Card:
    """The card with its pictures; where the video cannot be read, with the reason instead."""
    if videos is None or not card.video or unsafe_path(card.video):
        return card
    try:
        clip = read_frames_at(video_path(videos, card.video), seconds_shown(card), small)
    except VideoError as error:
        return replace(card, note=card.note or str(error))
    return replace(card, frames=tuple(zip(clip.timestamps.tolist(), map(picture, clip.frames))))


def page(cards: Sequence[Card], total: int, notes: dict, name: str) -> str:
    tasks = sorted({card.task for card in cards})
    choice = "".join(f"<option>{escape(task)}</option>" for task in tasks)
    pick = (f'<p><label>Task <select onchange="{escape(FILTER)}"><option value="">all</option>{choice}</select></label>'
            "</p>" if len(tasks) > 1 else "")
    mean = f"Their mean score is {np.mean([card.answers[0].score for card in cards]):.2f}." if cards else ""
    events = "".join(f'<span style="{KEY}{event_color(k)}"></span>' for k in range(3))
    return document(f"Answers: {name}", f"""<h1>Answers, worst first</h1>
<p>{len(cards):,} of {total:,} answers in <b>{escape(name)}</b>, each scored by itself under the protocol clean, from 0
to 1. {mean}</p>{_facts(notes)}
<p class="note"><span style="{KEY}{TRUTH}"></span>truth <span style="{KEY}{ASKED}"></span>asked about {events}events of
the answer, in the colour of their times in the text; the dashed line is the threshold of each curve</p>
{pick}{cards_html(cards)}""")


def _facts(notes: dict) -> str:
    known = [f"{key.replace('_', ' ')} {notes[key]}" for key in
             ("benchmark", "checkpoint", "annotations", "annotations_sha256", "prompt_sha256", "fps", "library")
             if key in notes]
    known += [f"decoding {', '.join(f'{k} {v}' for k, v in notes['decoding'].items())}"] if "decoding" in notes else []
    return f'<p class="note">{escape("; ".join(known))}</p>' if known else ""


def _card(record: dict, score: float, threshold: Callable | None) -> Card:
    text = record.get("pred", record.get("a", ""))
    reading = read_intervals(text)
    evidence = record.get("evidence") or []
    evidence = evidence[:len(reading.evidence) or None] if END in text else evidence
    curves = tuple(tuple(e["curve"]) for e in evidence)
    answer = Answered(text.strip(), reading.intervals, reading.evidence, curves,
                      tuple(map(threshold, curves)) if threshold else (), score)
    return Card(record.get("q", record.get("question", "")), (answer,), true_events(record), _right(record),
                _asked(record), tuple(record.get("shown", (0.0, _seconds(record)))),
                id=str(record.get("sample", record.get("idx", record.get("question_id", "?")))),
                task=str(record.get("task", record.get("task_type", ""))), video=record.get("video", ""),
                note=record.get("error", ""))


def _right(record: dict) -> str:
    options, right = record.get("o"), record.get("p")
    if options and right is not None:
        option = options[right]
        return f"({chr(65 + right)}) {option if isinstance(option, str) else f'{option[0]} - {option[1]}'}"
    return str(record.get("A", record.get("answer", "")))


def _asked(record: dict) -> tuple[Interval, ...]:
    """The intervals in `src`, unless these are the options."""
    source, options = record.get("src") or [], record.get("o") or []
    if len(source) % 2 or any(not isinstance(option, str) for option in options):
        return ()
    return tuple(zip(source[::2], source[1::2]))


def _threshold(method: dict) -> Callable | None:
    """What a frame must reach to belong to an event; none where the rule has no such number."""
    value = method.get("salience_value")
    if method.get("formulation", "sigmoid") in ("boundary", "cite", "bins"):
        return None
    return {"peak_share": lambda curve: max(curve) * (0.6 if value is None else value),
            "over_threshold": lambda curve: 0.5 if value is None else value}.get(method.get("salience", ""))
