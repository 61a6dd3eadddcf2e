"""What can be had without looking: the scores that a model must beat before it has learned anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..sample import Sample
from .scene import Scene

TASKS = ("tvg", "gvq")  # questions that name one event
AT_ONCE = 1_000_000  # overlaps in memory: a video of 2,048 frames has two million spans


def baselines(train: Sequence[Sample], test: Sequence[Sample], scenes: Sequence[Scene]) -> dict:
    """mIoU and F1@0.5 on the test questions that name an event, in expectation where chance is involved."""
    named = [s for s in test if s.task in TASKS and len(s.events) == 1]
    truth = np.array([s.events[0].interval for s in named]).reshape(-1, 2)
    by_video = {scene.video: scene for scene in scenes}
    frames = max(scene.n_frames for scene in scenes) - 1
    step = 1 / scenes[0].fps
    spans = np.stack(np.triu_indices(frames + 1, 1), 1) * step  # every one there is
    seen = np.array([s.events[0].interval for s in train if s.task in TASKS and len(s.events) == 1]).reshape(-1, 2)
    parts = np.array_split(spans, len(spans) * len(seen) // AT_ONCE + 1)
    constant = spans[np.argmax(np.concatenate([iou(part, seen).sum(1) for part in parts]))]
    events = [np.array([by_video[s.video].interval(e) for e in by_video[s.video].events]) for s in named]
    return {
        "questions": len(named),
        "whole video": _score(iou(np.array([[0, frames * step]]), t[None]) for t in truth),
        "best constant interval": {"interval": constant.tolist(),
                                   **_score(iou(constant[None], t[None]) for t in truth)},
        "random span": _score(iou(spans, t[None]) for t in truth),
        "random event (knows all, not which)": _score(iou(e, t[None]) for e, t in zip(events, truth)),
    }


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 2) and (M, 2) intervals -> (N, M)."""
    both = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    both = both.clip(0)
    either = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - both
    return both / np.maximum(either, 1e-9)


def table(scores: dict) -> str:
    rows = [f"{'without looking':<38}  mIoU  F1@0.5   ({scores['questions']} test questions that name an event)"]
    rows += [f"{name:<38}{row['mIoU']:>6.2f}{row['F1@0.5']:>8.2f}"
             for name, row in scores.items() if name != "questions"]
    return "\n".join(rows)


def _score(overlaps: Iterable[np.ndarray]) -> dict[str, float]:
    """Mean over questions of the mean over the guesses that chance might make."""
    each = [(o.mean(), (o >= 0.5).mean()) for o in overlaps]
    overlap, found = np.mean(each, axis=0) if each else (0, 0)
    return {"mIoU": round(float(overlap), 4), "F1@0.5": round(float(found), 4)}
