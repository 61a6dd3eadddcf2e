"""Where events overlap, whose interval is found? The asked one's, or that of a rival that happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..data.world.scene import Scene
from ..ideas.evidence import Interval
from .catalogue import ROLES
from .metrics.temporal import temporal_iou
from .predict import Prediction


@dataclass(frozen=True)
class Duel:
    """One question about one event: where the event stands among the others, and what was found."""

    role: str  # inner: it lies within a rival, outer: a rival lies within it, crossing: they overlap in part
    found: bool  # the asked interval, to at least a half
    captured: bool  # what was found overlaps a rival more than the asked one


def duels(predictions: Sequence[Prediction], scenes: Sequence[Scene]) -> Iterator[Duel]:
    """Of the questions with one true event; the scene knows of the others."""
    by_video = {scene.video: scene for scene in scenes}
    for p in predictions:
        scene = by_video.get(p.sample.video)
        if scene is None or len(p.sample.events) != 1:
            continue
        asked = p.sample.events[0].interval
        others = [span for span in (scene.interval(event) for event in scene.events) if span != asked]
        rivals = [span for span in others if min(span[1], asked[1]) > max(span[0], asked[0])]
        own = _best(p.intervals, [asked])
        yield Duel(role(asked, rivals), own >= 0.5, _best(p.intervals, rivals) > own)


def role(asked: Interval, rivals: Sequence[Interval]) -> str:
    if not rivals:
        return "alone"
    if any(a <= asked[0] and asked[1] <= b for a, b in rivals):
        return "inner"
    return "outer" if any(asked[0] <= a and b <= asked[1] for a, b in rivals) else "crossing"


def rival_scores(predictions: Sequence[Prediction], scenes: Sequence[Scene]) -> dict[str, float]:
    """Share found and share captured by a rival, for each role; nothing where no events overlap."""
    found = list(duels(predictions, scenes))
    if all(duel.role == "alone" for duel in found):
        return {}
    scores = {}
    for name in ROLES:
        if mine := [duel for duel in found if duel.role == name]:
            scores |= {f"{name}_found": _share([duel.found for duel in mine]), f"{name}_questions": len(mine)}
            if name != "alone":
                scores[f"{name}_captured"] = _share([duel.captured for duel in mine])
    return scores


def _best(found: Sequence[Interval], spans: Sequence[Interval]) -> float:
    overlap = temporal_iou(found, spans)
    return float(overlap.max()) if overlap.size else 0.0


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 4)
