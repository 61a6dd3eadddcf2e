"""If events overlap, which one does the model find: the event that the question asks about, or a rival?

A rival is another event of the video that happens, at least in part, at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.world.scene import Scene
from ..ideas.evidence import Interval
from .catalogue import ROLES
from .metrics.temporal import temporal_iou
from .predict import Prediction
from .scores import rounded_mean


@dataclass(frozen=True)
class Duel:
    """One question about one event: how the event lies among its rivals, and what was found."""

    role: str  # inner: it lies within a rival, outer: a rival lies within it, crossing: they overlap in part
    found: bool  # an interval of the answer overlaps the true one by at least a half
    captured: bool  # an interval of the answer overlaps a rival more than any overlaps the asked event


def duels(predictions: Sequence[Prediction], scenes: Sequence[Scene]) -> list[Duel]:
    """The duels in questions with one true event; the scene knows the other events of its video."""
    by_video = {scene.video: scene for scene in scenes}
    asked = [p for p in predictions if p.sample.video in by_video and len(p.sample.events) == 1]
    return [_duel(p, by_video[p.sample.video]) for p in asked]


def _duel(prediction: Prediction, scene: Scene) -> Duel:
    start, end = asked = prediction.sample.events[0].interval
    others = [span for span in map(scene.interval, scene.events) if span != asked]
    rivals = [span for span in others if min(span[1], end) > max(span[0], start)]
    overlap = _largest_overlap(prediction.intervals, [asked])
    return Duel(role(asked, rivals), overlap >= 0.5, _largest_overlap(prediction.intervals, rivals) > overlap)


def role(asked: Interval, rivals: Sequence[Interval]) -> str:
    if not rivals:
        return "alone"
    if any(a <= asked[0] and asked[1] <= b for a, b in rivals):
        return "inner"
    return "outer" if any(asked[0] <= a and b <= asked[1] for a, b in rivals) else "crossing"


def rival_scores(predictions: Sequence[Prediction], scenes: Sequence[Scene]) -> dict[str, float]:
    """Share found and share captured by a rival, for each role; empty if no events overlap."""
    all_duels = duels(predictions, scenes)
    if all(duel.role == "alone" for duel in all_duels):
        return {}
    scores = {}
    for name in ROLES:
        if group := [duel for duel in all_duels if duel.role == name]:
            scores |= {f"{name}_found": rounded_mean([duel.found for duel in group]), f"{name}_questions": len(group)}
            if name != "alone":
                scores[f"{name}_captured"] = rounded_mean([duel.captured for duel in group])
    return scores


def _largest_overlap(predicted: Sequence[Interval], spans: Sequence[Interval]) -> float:
    return float(temporal_iou(predicted, spans).max(initial=0))
