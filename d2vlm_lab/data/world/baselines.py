"""What a model must beat before it can be said to have learned anything, and what it cannot beat.

This file scores guesses made without looking, choices among events that are known exactly, and the labels themselves,
which is what somebody reaches who answers as the training data do. Without noise on the labels, that is the oracle, 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ...config import NAMED
from ..sample import Sample
from .scene import Scene

MOST = 2048  # frames between which all spans are tried
AT_ONCE = 1_000_000  # overlaps in memory: a video of 2,048 frames has two million spans


def blind_scores(train: Sequence[Sample], test: Sequence[Sample], scenes: Sequence[Scene]) -> dict:
    """mIoU and F1@0.5 on the test questions that name an event, in expectation where chance is involved."""
    asked, learned = ([s for s in split if s.task in NAMED and len(s.events) == 1] for split in (test, train))
    truth, known = (np.array([s.events[0].interval for s in split]).reshape(-1, 2) for split in (asked, learned))
    scene_of = {scene.video: scene for scene in scenes}
    frames, step = max(scene.n_frames for scene in scenes), 1 / scenes[0].fps
    stride = -(-frames // MOST)  # in an hour of video, only spans between every few frames
    spans = np.stack(np.triu_indices(-(-frames // stride), 1), 1) * (stride * step)  # every span of a video
    parts = np.array_split(spans, len(spans) * len(known) // AT_ONCE + 1)
    best = spans[np.argmax(np.concatenate([iou(part, known).sum(1) for part in parts]))]
    events = [np.array([scene_of[s.video].interval(e) for e in scene_of[s.video].events]) for s in asked]
    alike = [_alike(scene_of[s.video], t) for s, t in zip(asked, truth)]
    return {
        "questions": len(asked),
        "whole video": _score(iou(np.array([[0, (frames - 1) * step]]), t[None]) for t in truth),
        "best constant interval": {"interval": best.tolist(), **_score(iou(best[None], t[None]) for t in truth)},
        "random span": _score(iou(spans, t[None]) for t in truth),
        "random event (knows all, not which)": _score(iou(e, t[None]) for e, t in zip(events, truth)),
        "right event, random time (knows what)": _score(iou(e, t[None]) for e, t in zip(alike, truth)),
        "training labels (oracle if exact)": _score(_labels(scenes)),
    }


def _alike(scene: Scene, asked: np.ndarray) -> np.ndarray:
    """The intervals of all events with the same caption as the event at this interval."""
    at = {scene.interval(e): scene.caption(e) for e in scene.events}
    return np.array([span for span, caption in at.items() if caption == at[tuple(asked.tolist())]])


def _labels(scenes: Sequence[Scene]) -> Iterator[np.ndarray]:
    """For each event of the training videos, how well the best label with its caption fits it; 0 without one."""
    for scene in (scene for scene in scenes if scene.split == "train"):
        labels = scene.events if scene.annotated is None else scene.annotated
        for event in scene.events:
            spans = np.array([scene.interval(e) for e in labels if scene.caption(e) == scene.caption(event)])
            fits = iou(spans.reshape(-1, 2), np.array([scene.interval(event)]))
            yield fits.max(0, initial=0)[None]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 2) and (M, 2) intervals -> (N, M)."""
    both = (np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])).clip(0)
    either = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - both
    return both / np.maximum(either, 1e-9)


def table(scores: dict) -> str:
    rows = [f"{'without looking':<38}  mIoU  F1@0.5   ({scores['questions']} test questions that name an event)"]
    rows += [f"{name:<38}{row['mIoU']:>6.2f}{row['F1@0.5']:>8.2f}"
             for name, row in scores.items() if name != "questions"]
    return "\n".join(rows)


def _score(overlaps: Iterable[np.ndarray]) -> dict[str, float]:
    """The mean over questions; for each question, the mean over all guesses that chance might make."""
    per_question = [(o.mean(), (o >= 0.5).mean()) for o in overlaps]
    overlap, share = np.mean(per_question, axis=0) if per_question else (0, 0)
    return {"mIoU": round(float(overlap), 4), "F1@0.5": round(float(share), 4)}
