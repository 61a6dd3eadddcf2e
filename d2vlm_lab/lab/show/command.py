"""`d2vlm-lab show PREDICTIONS`: a page that needs no other file, with answers from the worst to the best."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ...data.video import VideoError, read_frames_at
from ...errors import LabError
from ...files import atomic_path, unsafe_path
from ...ideas.evidence import END, Event, Interval
from ...judging.benchmarks import video_path
from ...judging.metrics.etbench import score_etbench
from ...judging.metrics.mvbench import is_right
from ...judging.metrics.reading import read_intervals
from ...judging.metrics.records import etbench_problem, read_files
from ...judging.metrics.videomme import read_letter
from ..plots.colors import TRUTH, event_color
from .card import ASKED, Answered, Card, cards_html, picture
from .document import document

FRAMES, SHORT = 8, 112  # shown of each video; pixels of their short side
FILTER = ("for (const a of document.querySelectorAll('.answer')) a.hidden = this.value && a.dataset.task != this.value")
KEY = "display:inline-block;width:1.4rem;height:.7rem;border-radius:3px;margin:0 .3rem 0 .8rem;background:"


def configure(parser) -> None:
    parser.add_argument("predictions", type=Path, help="folder of `evaluate`, or a file or folder of predictions")
    parser.add_argument("--out", type=Path, default=Path("answers.html"), help="the page")
    parser.add_argument("--limit", type=int, default=60, metavar="N", help="at most this many answers")
    parser.add_argument("--task", help="only answers to this task")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="where the videos are, if not where run.json says")


def run(args) -> None:
    cards, notes = read_cards(args.predictions, args.task)
    videos = args.videos or (Path(notes["videos"]) if "videos" in notes else None)
    if args.videos and not args.videos.is_dir():
        raise LabError(f"--videos is {args.videos}; there is no such folder")
    if videos is not None and not videos.is_dir():
        print(f"{videos} is gone; the page has no frames (name their folder with --videos)")
        videos = None
    shown = [with_frames(card, videos) for card in cards[:args.limit]]
    with atomic_path(args.out) as partial:
        partial.write_text(page(shown, len(cards), notes, args.predictions.name), encoding="utf-8")
    print(f"{args.out}: {len(shown)} of {len(cards)} answers, {args.out.stat().st_size / 2**20:.1f} MB")


def read_cards(path: Path, task: str | None = None) -> tuple[list[Card], dict]:
    """The answers of a file or a folder, worst first, and what `evaluate` noted about them."""
    folder = path if path.is_dir() else path.parent
    notes = next((json.loads((place / "run.json").read_text(encoding="utf-8")) for place in (folder, folder.parent)
                  if (place / "run.json").exists()), {})
    records = [record for _, record in read_files(path) if isinstance(record, dict)]
    threshold = _threshold(notes.get("method", {}))
    cards = [_card(record, score, threshold) for record, score in zip(records, rate(records))]
    if task is not None:
        known = sorted({card.task for card in cards})
        cards = [card for card in cards if card.task == task]
        if not cards:
            raise LabError(f"{path}: no answer to task {task!r}; there are {', '.join(known)}")
    return worst_first(cards), notes


def rate(records: Sequence[dict]) -> list[float]:
    """How right each answer is, 0 to 1, by the protocol `clean`; what cannot be scored has 0."""
    scores = [0.0] * len(records)
    timed: dict[int, dict] = {}
    for i, record in enumerate(records):
        if isinstance(record.get("pred"), str):
            scores[i] = float(bool(is_right(record["pred"], record["A"])))
        elif "question_id" in record:
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
    """`tgt` in any of its shapes: one pair, pairs, or pairs of several annotators; else the right option's interval."""
    target, options = record.get("tgt") or [], record.get("o") or []
    if not target and options and isinstance(options[record["p"]], list):
        target = options[record["p"]]
    if target and not isinstance(target[0], list):
        target = [target]
    if target and isinstance(target[0][0], list):
        target = [span for spans in target for span in spans]
    captions = record.get("g") or [""] * len(target)
    return tuple(Event(float(start), float(end), caption) for (start, end), caption in zip(target, captions))


def moment(card: Card) -> Interval:
    """The part of the video that frames are taken from: all intervals with a margin, at least a fifth of the video."""
    first, last = card.shown
    if not card.intervals:
        return card.shown
    starts, ends = zip(*card.intervals)
    low, high = (min(max(t, first), last) for t in (min(starts), max(ends)))
    margin = max(0.25 * (high - low), (0.2 * (last - first) - (high - low)) / 2)
    return max(first, low - margin), min(last, high + margin)


def small(frames: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) -> the same with a short side of `SHORT` pixels."""
    height, width = frames.shape[1:3]
    scale = SHORT / min(height, width)
    size = round(width * scale), round(height * scale)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames])


def with_frames(card: Card, videos: Path | None) -> Card:
    """The card with its pictures; where the video cannot be read, with the reason instead."""
    if videos is None or not card.video or unsafe_path(card.video):
        return card
    try:
        clip = read_frames_at(video_path(videos, card.video), np.linspace(*moment(card), FRAMES), small)
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
    text = record.get("pred", record.get("a"))
    text = text if isinstance(text, str) else ""
    reading = read_intervals(text)
    evidence = record.get("evidence") or []
    evidence = evidence[:len(reading.evidence) or None] if END in text else evidence
    curves = tuple(tuple(e["curve"]) for e in evidence)
    duration = record.get("duration")
    end = duration if isinstance(duration, (int, float)) else 1.0
    answer = Answered(text.strip(), reading.intervals, reading.evidence, curves,
                      tuple(map(threshold, curves)) if threshold else (), score)
    return Card(record.get("q", record.get("question", "")), (answer,), true_events(record), _right(record),
                _asked(record), tuple(record.get("shown", (0.0, float(end)))),
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
    if len(source) % 2 or any(isinstance(option, list) for option in options):
        return ()
    return tuple(zip(source[::2], source[1::2]))


def _threshold(method: dict) -> Callable | None:
    """What a frame must reach to belong to an event; none where the rule has no such number."""
    value = method.get("salience_value")
    if method.get("formulation", "sigmoid") == "boundary":
        return None
    return {"peak_share": lambda curve: max(curve) * (0.6 if value is None else value),
            "over_threshold": lambda curve: 0.5 if value is None else value}.get(method.get("salience", ""))
