"""Does a model know when to say that nothing happened? Questions about what never happens, and about events."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import NAMED, RunConfig
from ..data.sample import Sample
from ..data.splits import Split, evenly_spaced
from .predict import Prediction
from .scores import rounded_mean


def questions_about_nothing(val: Split, config: RunConfig) -> list[Sample]:
    """Validation questions that name an event that does not happen, evenly spaced as for any other task."""
    asked = [s for s in val.samples if s.about_nothing and s.task in config.evaluation.tasks]
    return evenly_spaced(asked, config.evaluation.samples)


def refusal_scores(nothing: Sequence[Prediction], asked: Sequence[Prediction]) -> dict[str, float]:
    """How often an answer gives no interval when it should not give one, and when it should.

    F1 is that of refusing, as if there were as many questions about events as about nothing. Nothing is returned if one
    of the two kinds of questions is missing.
    """
    events = [p for p in asked if p.sample.task in NAMED and p.sample.events]
    if not nothing or not events:
        return {}
    rightly, wrongly = (rounded_mean([not p.intervals for p in some]) for some in (nothing, events))
    f1 = 2 * rightly / (1 + rightly + wrongly)
    return {"refused": rightly, "refused_wrongly": wrongly, "refusal_F1": round(f1, 4)}
