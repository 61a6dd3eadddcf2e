"""Where rejected answers come from: a preference file, or the samples of a run, made wrong while they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from ..config import RunConfig, resolve
from ..ideas.rejected import Recipe, Rejected, Words, rejected_answers
from ..settings import override
from .datasets import fpo_annotations
from .datasets.records import read_records
from .groups import Rejects
from .pairs import PreferencePair, read_preferences, with_answer
from .sample import Sample
from .skips import Skip
from .world import load as load_world


@dataclass(frozen=True)
class PreferenceData:
    """What a run trains on; without preferences, the samples alone."""

    samples: Sequence[Sample]
    rejects: Rejects | None = None  # rejected answers of these samples
    held_out_rejects: Rejects | None = None  # rejected answers of validation samples
    bad: tuple[Skip, ...] = ()  # pairs of a preference file that cannot be used


def preference_data(config: RunConfig, samples: Sequence[Sample]) -> PreferenceData:
    """The training samples with rejected answers, or those of a preference file instead."""
    settings = config.preference
    if settings.form == "off":
        return PreferenceData(samples)
    fresh = synthesized(config)
    if not settings.file:
        return PreferenceData(samples, fresh, fresh)
    bad: list[Skip] = []
    pairs = {f"{pair.chosen.id}#{n}": pair  # numbered, since a file may hold several pairs of a sample
             for n, pair in enumerate(read_file(
                 settings.file, lambda where, why: bad.append(Skip(where, "", "preference", why))))}

    return PreferenceData([replace(pair.chosen, id=name) for name, pair in pairs.items()],
                          Recorded(pairs, settings.factors, settings.rejects, config.seed), fresh, tuple(bad))


@dataclass(frozen=True)
class Recorded:
    """Rejected answers from a preference file, always the same ones for a sample."""

    pairs: Mapping[str, PreferencePair]  # by the sample's id
    factors: tuple[str, ...]
    largest: int
    seed: int

    def __call__(self, sample: Sample) -> list[tuple[Sample, str]]:
        rejected = [r for r in self.pairs[sample.id].rejected if r.factor in self.factors]
        drawn = Random(f"{self.seed} {sample.id}").sample(rejected, min(self.largest, len(rejected)))
        return _as_samples(sample, drawn)


@dataclass(frozen=True)
class Synthesized:
    """Rejected answers that are made when they are asked for, always the same ones for a sample."""

    recipe: Recipe
    distort: Words | None

    def __call__(self, sample: Sample) -> list[tuple[Sample, str]]:
        if not sample.events:
            return []
        return _as_samples(sample, rejected_answers(sample.events, sample.answer, sample.duration, self.recipe,
                                                    self.distort, sample.id))


def synthesized(config: RunConfig) -> Rejects:
    """Rejected answers as the settings of a run want them."""
    settings = config.preference
    recipe = Recipe(per_sample=settings.rejects, factors=settings.factors, seed=config.seed, grid=1 / config.data.fps)
    recipe = override(recipe, settings.recipe, "preference.recipe")
    return Synthesized(recipe, None if config.data.train else Words(load_world(resolve(config.data.world)).facts))


def read_file(path: str, on_bad: Callable[[str, str], None]) -> list[PreferencePair]:
    """The pairs of a preference file, of this project or of the authors."""
    file = resolve(path)
    first = next((record for record in read_records(file, go_on=True) if isinstance(record, dict)), {})
    read = fpo_annotations.read if fpo_annotations.is_preference(first) else read_preferences
    return list(read(file, on_bad))


def _as_samples(sample: Sample, rejected: Sequence[Rejected]) -> list[tuple[Sample, str]]:
    return [(with_answer(sample, wrong), wrong.factor) for wrong in rejected]
