"""Rejected answers that a model gave itself: sampled, and kept where a scorer finds them wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from ...data.batch import Clip
from ...data.pairs import PreferencePair, what_is_wrong
from ...data.sample import Sample
from ...ideas.evidence import Event, GroundedAnswer, overlap
from ...ideas.rejected import Recipe, Rejected
from ...judging.predict import predict
from ...model.d2vlm import D2VLM
from ...model.decoding import Decoding

CHUNK = 256  # samples that are answered before the next ones are read


def sampled_preferences(model: D2VLM, samples: Iterable[Sample], read: Callable[[Sample], Clip], recipe: Recipe,
                        decoding: Decoding, tries: int = 4) -> Iterator[PreferencePair]:
    """Each sample with up to `recipe.per_sample` different wrong answers; one without any is left out."""
    samples = iter(samples)
    while chunk := list(islice(samples, CHUNK)):
        rejected: dict[str, list[Rejected]] = {sample.id: [] for sample in chunk}
        for attempt in range(tries):
            for prediction in predict(model, chunk, read, replace(decoding, seed=decoding.seed + attempt)):
                known = rejected[prediction.sample.id]
                wrong = as_rejected(prediction.sample, prediction.generated.answer, recipe.tolerance)
                if (wrong is not None and prediction.generated.finished and wrong.factor in recipe.factors
                        and len(known) < recipe.per_sample
                        and all((wrong.events, wrong.answer) != (old.events, old.answer) for old in known)):
                    known.append(wrong)
        yield from (PreferencePair(sample, tuple(rejected[sample.id])) for sample in chunk if rejected[sample.id])


def as_rejected(sample: Sample, answer: GroundedAnswer, tolerance: float = 0.5) -> Rejected | None:
    """A generated answer with the factor that is wrong about it; None where it is right, or has no event to score.

    Where several factors are wrong, the kind names them all and the factor is the first, in the order of `FACTORS` but
    with *which* before *when*: with another number of events, their times cannot be compared one by one.
    """
    intervals = answer.grounded or tuple(mention.interval for mention in answer.references)
    if None in intervals or any(mention.event is None for mention in answer.references if answer.grounded):
        return None  # it refers to an event that it never grounded
    nearest = [min(sample.events, key=lambda event: -overlap(event.interval, interval), default=Event(*interval))
               for interval in intervals]
    events = tuple(Event(*sorted(interval), caption=event.caption) for interval, event in zip(intervals, nearest))
    numbers = iter(range(len(intervals)))
    pieces = tuple(piece if isinstance(piece, str) else (next(numbers) if piece.event is None else piece.event)
                   for piece in answer.pieces)
    wrong = what_is_wrong(sample, events, pieces, tolerance)
    if not wrong:
        return None
    touched, strength = 0, 1.0
    if wrong[0] == "when":
        overlaps = [overlap(event.interval, true.interval) for event, true in zip(events, sample.events)]
        strength = 1 - min(overlaps)
        touched = overlaps.index(min(overlaps))
    return Rejected(events, pieces, f"sampled {'+'.join(wrong)}", wrong[0], strength, touched)
