"""Rejected answers of a model's own: sampled, and kept where a scorer finds them wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ...data.batch import Clip
from ...data.pairs import PreferencePair, what_is_wrong
from ...data.sample import Sample
from ...ideas.evidence import Event, GroundedAnswer
from ...ideas.grounding import overlap
from ...ideas.rejected import Recipe, Rejected
from ...judging.predict import predict
from ...model.d2vlm import D2VLM
from ...model.decoding import Decoding

CHUNK = 256  # samples decoded before the next are read


def sampled_preferences(model: D2VLM, samples: Iterable[Sample], read: Callable[[Sample], Clip], recipe: Recipe,
                        decoding: Decoding, tries: int = 4) -> Iterator[PreferencePair]:
    """Each sample with up to `recipe.per_sample` different wrong answers of `tries`; none, and it is left out."""
    chunk: list[Sample] = []
    for sample in samples:
        chunk.append(sample)
        if len(chunk) == CHUNK:
            yield from _chunk(model, chunk, read, recipe, decoding, tries)
            chunk = []
    if chunk:
        yield from _chunk(model, chunk, read, recipe, decoding, tries)


def _chunk(model: D2VLM, samples: list[Sample], read, recipe: Recipe, decoding: Decoding,
           tries: int) -> Iterator[PreferencePair]:
    found: dict[str, list[Rejected]] = {sample.id: [] for sample in samples}
    for attempt in range(tries):
        for prediction in predict(model, samples, read, replace(decoding, seed=decoding.seed + attempt)):
            mine = found[prediction.sample.id]
            rejected = as_rejected(prediction.sample, prediction.generated.answer, recipe.tolerance)
            if (prediction.generated.finished and rejected is not None and len(mine) < recipe.per_sample
                    and rejected.factor in recipe.factors
                    and all((rejected.events, rejected.answer) != (old.events, old.answer) for old in mine)):
                mine.append(rejected)
    yield from (PreferencePair(sample, tuple(found[sample.id])) for sample in samples if found[sample.id])


def as_rejected(sample: Sample, answer: GroundedAnswer, tolerance: float = 0.5) -> Rejected | None:
    """A generated answer labelled with the factor that is wrong; None where it is right, or not one to learn from.

    Where several factors are wrong, the kind names them all and the factor is the first, in the order of `FACTORS`
    with *which* before *when*: with another number of events, their times cannot be compared one by one.
    """
    spans = answer.grounded or tuple(ref.interval for ref in answer.references)
    if None in spans or any(ref.event is None for ref in answer.references if answer.grounded):
        return None  # it refers to what it never grounded: there is no event to score
    own = [min(sample.events, key=lambda e: -overlap(e.interval, span), default=Event(*span)) for span in spans]
    events = tuple(Event(*sorted(span), caption=event.caption) for span, event in zip(spans, own))
    count = iter(range(len(spans)))
    pieces = tuple(piece if isinstance(piece, str) else (next(count) if piece.event is None else piece.event)
                   for piece in answer.pieces)
    wrong = what_is_wrong(sample, events, pieces, tolerance)
    if not wrong:
        return None
    if wrong[0] == "when":
        touched = min(range(len(events)), key=lambda k: overlap(events[k].interval, sample.events[k].interval))
        strength = 1 - overlap(events[touched].interval, sample.events[touched].interval)
    else:
        touched, strength = 0, 1.0
    return Rejected(events, pieces, f"sampled {'+'.join(wrong)}", wrong[0], strength, touched)
