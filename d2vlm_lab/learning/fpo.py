"""The preference stage: chosen and rejected answers are texts of one video, their margin joins the losses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import torch
from torch import Tensor
from torch.func import functional_call

from ..config import Method, Preference, RunConfig, resolve
from ..data.batch import Batch
from ..data.datasets import fpo_annotations
from ..data.datasets.stream import stream_objects
from ..data.groups import Rejects
from ..data.pairs import PreferencePair, read_preferences, with_answer
from ..data.sample import Sample
from ..data.world import load as load_world
from ..data.world import world_facts
from ..ideas.grounding import frame_targets
from ..ideas.preference import LogProbability, dpo_loss, fpo_loss, grounding_log_probability, text_log_probability
from ..ideas.rejected import Recipe, Rejected, Words, rejected_answers
from ..model.d2vlm import D2VLM, Output
from ..settings import override


def log_probabilities(out: Output, batch: Batch, method: Method, average: bool = False) -> LogProbability:
    """Of each text of a batch, by its words and by its intervals, which are not rounded here."""
    events = batch.in_answer
    base = method.target_base if method.targets == "soft" else None
    targets = frame_targets(batch.interval[events], out.similarity.shape[-1], base)
    n = len(batch.ids)
    return LogProbability(
        text_log_probability(out.log_p, out.target_row, n, average),
        grounding_log_probability(out.similarity, targets, batch.row[events], n, out.frame_mask, average))


def factor_accuracy(total: Tensor, batch: Batch) -> dict[str, list[bool]]:
    """Per factor, whether each wrong answer is less likely than the true one; `total` has one number per text."""
    if not batch.factors:
        return {}
    right, found = (total[batch.preferred] > total).tolist(), defaultdict(list)
    for k in (~batch.supervised).nonzero().squeeze(1).tolist():
        found[batch.factors[k]].append(right[k])
    return dict(sorted(found.items()))


class Preferences:
    """Adds the preference term to a model's output. The reference is the policy at the time when this is made.

    That is the model with whatever it had learned till then, its adapter included: a copy of the tensors that
    are about to be trained, put in their places for one more pass.
    """

    def __init__(self, settings: Preference, model: D2VLM):
        self.settings = settings
        self.weights = (settings.text_weight, settings.grounding_weight if settings.form == "fpo" else 0.0)
        self.before: dict[str, Tensor] | None = None
        if settings.reference:
            self.before = {name: value.detach().clone() for name, value in model.named_parameters()
                           if value.requires_grad}

    def __call__(self, model: D2VLM, batch: Batch, out: Output) -> tuple[Output, dict[str, float]]:
        """The output with the term in its loss, and what to log: margin, accuracies, both log-probabilities."""
        settings = self.settings
        log_p = log_probabilities(out, batch, model.method, settings.average)
        rejected = (~batch.supervised).nonzero().squeeze(1)
        chosen = batch.preferred[rejected] if batch.preferred is not None else rejected
        if len(rejected):
            total, base = log_p.total(*self.weights), self.reference(model, batch)
            each = (fpo_loss(total[chosen], total[rejected], settings.beta) if base is None else
                    dpo_loss(total[chosen], total[rejected], base[chosen], base[rejected], settings.beta))
            term, notes = each.mean(), self.notes(batch, log_p, chosen, rejected, base)
        else:
            term, notes = out.logits.sum() * 0, {}
        parts = {name: settings.supervised * value for name, value in out.parts.items()}
        parts["preference"] = settings.weight * term
        return replace(out, loss=sum(parts.values()), parts=parts), notes

    @torch.no_grad()
    def reference(self, model: D2VLM, batch: Batch) -> Tensor | None:
        """(N,) factorized log-probabilities under the policy as it was; None where none was kept."""
        if self.before is None:
            return None
        training = model.training
        model.eval()
        try:
            out = functional_call(model, {k: v.to(model.device) for k, v in self.before.items()}, (batch,))
        finally:
            model.train(training)
        return log_probabilities(out, batch, model.method, self.settings.average).total(*self.weights)

    def notes(self, batch: Batch, log_p: LogProbability, chosen: Tensor, rejected: Tensor,
              base: Tensor | None) -> dict[str, float]:
        log_p = log_p.detach()
        total = log_p.total(*self.weights)
        margin = total[chosen] - total[rejected]
        notes = {"accuracy": float((margin > 0).float().mean()), "margin": float(margin.mean()),
                 "text_chosen": float(log_p.text[chosen].mean()), "text_rejected": float(log_p.text[rejected].mean()),
                 "grounding_chosen": float(log_p.grounding[chosen].mean()),
                 "grounding_rejected": float(log_p.grounding[rejected].mean())}
        if base is not None:
            notes["margin_moved"] = float((margin - base[chosen] + base[rejected]).mean())
        for factor, right in factor_accuracy(total, batch).items():
            notes[f"accuracy_{factor}"] = sum(right) / len(right)
        return notes


def preference_data(config: RunConfig, samples: Sequence[Sample]) -> tuple[
        Sequence[Sample], Rejects | None, Rejects | None, list[tuple[str, str]]]:
    """Samples to train on, their wrong answers, those of held-out samples, and what of the file cannot be used."""
    wish = config.preference
    if wish.form == "off":
        return samples, None, None, []
    fresh = synthesized(config)
    if not wish.file:
        return samples, fresh, fresh, []
    bad: list[tuple[str, str]] = []
    pairs = {f"{n}": pair for n, pair in enumerate(read_file(wish.file, lambda *what: bad.append(what)))}
    renamed = [replace(pair.chosen, id=f"{pair.chosen.id}#{n}") for n, pair in pairs.items()]

    def recorded(sample: Sample) -> list[tuple[Sample, str]]:
        wrong = [r for r in pairs[sample.id.rsplit("#", 1)[1]].rejected if r.factor in wish.factors]
        kept = Random(f"{config.seed} {sample.id}").sample(wrong, min(wish.rejects, len(wrong)))
        return _as_samples(sample, kept)

    return renamed, recorded, fresh, bad


def synthesized(config: RunConfig) -> Rejects:
    """Wrong answers made as they are asked for, always the same ones for a sample; none where it has no events."""
    wish = config.preference
    recipe = override(Recipe(per_sample=wish.rejects, factors=wish.factors, seed=config.seed, grid=1 / config.data.fps),
                      wish.recipe, "preference.recipe")
    distort = None if config.data.train else Words(world_facts(load_world(resolve(config.data.world))))

    def rejects(sample: Sample) -> list[tuple[Sample, str]]:
        if not sample.events:
            return []
        return _as_samples(sample, rejected_answers(sample.events, sample.answer, sample.duration, recipe, distort,
                                                    sample.id))

    return rejects


def read_file(path: str, on_bad: Callable[[str, str], None]) -> list[PreferencePair]:
    """Ours, or the authors'."""
    file = resolve(path)
    first = next(stream_objects(file), {})
    return list((fpo_annotations.read if fpo_annotations.is_preference(first) else read_preferences)(file, on_bad))


def _as_samples(sample: Sample, rejected: Sequence[Rejected]) -> list[tuple[Sample, str]]:
    return [(with_answer(sample, wrong), wrong.factor) for wrong in rejected]
