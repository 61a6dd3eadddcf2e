"""Why an idea pays off or does not: what the words of an answer need, and how the answers of a model are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ..data.batch import Batch
from ..data.pairs import stutters, what_is_wrong
from ..data.sample import Sample
from ..ideas.evidence import END, EVIDENCE, Event, GroundedAnswer, overlap
from ..ideas.rejected import FACTORS, Rejected
from ..model.d2vlm import D2VLM, Output
from .predict import Prediction
from .scores import captions, rounded_mean, true_captions


@contextmanager
def with_method(model: D2VLM, **changes) -> Iterator[bool]:
    """A model that is read in another way than it was trained in; yields True if it is the same way."""
    method = model.method
    model.method = replace(method, **changes)
    try:
        yield model.method == method
    finally:
        model.method = method


@torch.no_grad()
def needs_of_words(model: D2VLM, batch: Batch, out: Output, words: Tensor) -> dict[str, float]:
    """How much the loss of the answers' words grows if they see no frame, and if `<evi>` carries what the model finds.

    Both are compared with words after true evidence, even for a model that was trained on the evidence that it finds.
    `out` is what the model makes of the batch as it is; `words` says which of its targets are words.
    """
    def loss(**changes) -> float:
        with with_method(model, **changes) as same:
            return float(-(out if same else model(batch)).log_p[words].mean())

    true, needs = loss(evidence_from="true"), {}
    if model.method.semantics != "off" or model.bins is not None:  # otherwise `<evi>` carries nothing
        needs["exposure_gap"] = loss(evidence_from="predicted") - true
    if model.method.answer_view != "evidence":  # otherwise its words never see a frame
        needs["blind_words"] = loss(evidence_from="true", answer_view="evidence") - true
    return needs


def are_words(model: D2VLM, targets: Tensor) -> Tensor:
    """Which tokens of an answer are not `<evi>` or `</evi>`, of which some styles have more than others."""
    marks = model.tokenizer.convert_tokens_to_ids([EVIDENCE, END])
    return ~torch.isin(targets, targets.new_tensor(marks))


def mistakes(predictions: Sequence[Prediction]) -> dict[str, float]:
    """The share of answers that are wrong in each factor of a rejected answer, and in any of them.

    Times and words can be compared one by one only if an answer has as many events as there are, so `when` and `what`
    are shares of these answers alone.
    """
    wrong = [_wrong(p) for p in predictions if p.sample.events]
    as_many = [factors for factors in wrong if not factors & {"which", "how"}]
    shares = {"any": [bool(factors) for factors in wrong]}
    for factor in FACTORS:
        shares[factor] = [factor in factors for factors in (as_many if factor in ("when", "what") else wrong)]
    return {f"mistakes_{name}": rounded_mean(values) for name, values in shares.items() if values}


def _wrong(prediction: Prediction) -> set[str]:
    """What is wrong in any style of answer: `how` if it repeats itself, else `which` if it has more events or fewer."""
    written, true = captions(prediction), true_captions(prediction.sample)
    repeats = len(written) > len(true) and max(Counter(written).values()) > max(Counter(true).values(), default=1)
    if repeats or any(text not in true and stutters(text) for text in written):
        return {"how"}
    if len(written) != len(true) or len(prediction.intervals) != len(prediction.truth):
        return {"which"}
    late = any(overlap(a, b) < 0.5 for a, b in zip(prediction.intervals, prediction.truth))
    return {factor for factor, found in (("when", late), ("what", written != true)) if found}


def _intervals(answer: GroundedAnswer) -> tuple | None:
    """What an answer grounds, else what it refers to; None if it refers to an event that it never grounded."""
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
    """A generated answer with the factor that is wrong; None if the answer is right, or has no event to score.

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
