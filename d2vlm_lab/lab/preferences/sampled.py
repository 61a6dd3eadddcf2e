"""Rejected answers that a model gave itself: sampled, and kept where a scorer finds them wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ...data.batch import Clip
from ...data.pairs import OnBad, PreferencePair
from ...data.sample import Sample
from ...ideas.rejected import Recipe, Rejected
from ...judging.mechanisms import as_rejected
from ...judging.portions import Once, portions
from ...judging.predict import predict, with_problems
from ...model.d2vlm import D2VLM
from ...model.decoding import Decoding


def readable(samples: Iterable[Sample], read: Callable[[Sample], Clip], on_bad: OnBad) -> Iterator[Sample]:
    """The samples whose video can be read; each of the others is reported to `on_bad`."""
    for sample, problem in with_problems(samples, read):
        if problem:
            on_bad(sample.id, f"sample {sample.id}: {problem}")
        else:
            yield sample


def sampled_preferences(model: D2VLM, samples: Iterable[Sample], read: Callable[[Sample], Clip], recipe: Recipe,
                        decoding: Decoding, tries: int = 4,
                        on_bad: OnBad = lambda *_: None) -> Iterator[PreferencePair]:
    """Each sample with up to `recipe.per_sample` different wrong answers; one without any is reported to `on_bad`."""
    once = Once(read, model)
    asked = ((sample, {}) for sample in readable(samples, once, on_bad))
    for portion in portions(asked, once, once):
        chunk = [sample for sample, _ in portion]
        # By object: two samples of a file may have the same id.
        rejected: dict[int, list[Rejected]] = {id(sample): [] for sample in chunk}
        for attempt in range(tries):
            for prediction in predict(model, chunk, once, replace(decoding, seed=decoding.seed * tries + attempt)):
                known = rejected[id(prediction.sample)]
                wrong = as_rejected(prediction.sample, prediction.generated.answer, recipe.tolerance)
                if (wrong is not None and prediction.generated.finished and wrong.factor in recipe.factors
                        and len(known) < recipe.per_sample
                        and all((wrong.events, wrong.answer) != (old.events, old.answer) for old in known)):
                    known.append(wrong)
        for sample in chunk:
            if wrong := rejected[id(sample)]:
                yield PreferencePair(sample, tuple(wrong))
            else:
                on_bad(sample.id, f"sample {sample.id}: none of its {tries} sampled answers is finished and wrong in "
                                  f"{' or '.join(recipe.factors)}")
