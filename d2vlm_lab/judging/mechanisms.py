"""Why an idea pays or does not: what the words of an answer need, and in what the answers of a model are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from ..data.batch import Batch
from ..data.pairs import what_is_wrong
from ..data.sample import Sample
from ..ideas.evidence import Event, GroundedAnswer, overlap
from ..ideas.rejected import FACTORS, Rejected
from ..model.d2vlm import D2VLM
from .predict import Prediction


@contextmanager
def with_method(model: D2VLM, **changes) -> Iterator[None]:
    """A model that is read in another way than it was trained in."""
    method = model.method
    model.method = replace(method, **changes)
    try:
        yield
    finally:
        model.method = method


@torch.no_grad()
def needs_of_words(model: D2VLM, batch: Batch, loss: float) -> dict[str, float]:
    """How much `loss`, that of the answers' words, grows if they see no frame, and if `<evi>` is where it points."""
    def grows(**changes) -> float:
        with with_method(model, **changes):
            return float(model(batch).parts["answer"]) - loss

    return {"blind_words": grows(answer_view="evidence"), "exposure_gap": grows(evidence_from="predicted")}


def mistakes(predictions: Sequence[Prediction]) -> dict[str, float]:
    """The share of answers that are wrong in each factor of a rejected answer; several may be wrong in one."""
    asked = [p for p in predictions if p.sample.events]
    wrong = Counter(factor for p in asked for factor in _wrong(p))
    return {f"mistakes_{factor}": round(wrong[factor] / len(asked), 4) for factor in FACTORS} if asked else {}


def _wrong(prediction: Prediction) -> Sequence[str]:
    """An answer that cannot be read is wrong in how it is told."""
    answer = prediction.generated.answer
    if _intervals(answer) is None:
        return ["how"]
    return what_is_wrong(prediction.sample, *as_sample(prediction.sample, answer))


def _intervals(answer: GroundedAnswer) -> tuple | None:
    """What it grounds, or else what it refers to; None if it refers to an event that it never grounded."""
    intervals = answer.grounded or tuple(mention.interval for mention in answer.references)
    lost = None in intervals or any(mention.event is None for mention in answer.references if answer.grounded)
    return None if lost else intervals


def as_sample(sample: Sample, answer: GroundedAnswer) -> tuple[tuple[Event, ...], tuple[str | int, ...]]:
    """A generated answer as events and pieces; each event has the caption of the true one that it overlaps most."""
    intervals = _intervals(answer)
    nearest = [min(sample.events, key=lambda event: -overlap(event.interval, interval), default=Event(*interval))
               for interval in intervals]
    events = tuple(Event(*sorted(interval), caption=event.caption) for interval, event in zip(intervals, nearest))
    numbers = iter(range(len(intervals)))
    return events, tuple(piece if isinstance(piece, str) else (next(numbers) if piece.event is None else piece.event)
                         for piece in answer.pieces)


def as_rejected(sample: Sample, answer: GroundedAnswer, tolerance: float = 0.5) -> Rejected | None:
    """A generated answer with the factor that is wrong about it; None where it is right, or has no event to score.

    Where several factors are wrong, the kind names them all and the factor is the first, in the order of `FACTORS` but
    with *which* before *when*: with another number of events, their times cannot be compared one by one.
    """
    if _intervals(answer) is None:
        return None
    events, pieces = as_sample(sample, answer)
    wrong = what_is_wrong(sample, events, pieces, tolerance)
    if not wrong:
        return None
    touched, strength = 0, 1.0
    if wrong[0] == "when":
        overlaps = [overlap(event.interval, true.interval) for event, true in zip(events, sample.events)]
        strength = 1 - min(overlaps)
        touched = overlaps.index(min(overlaps))
    return Rejected(events, pieces, f"sampled {'+'.join(wrong)}", wrong[0], strength, touched)
