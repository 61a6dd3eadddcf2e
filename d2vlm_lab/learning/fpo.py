"""The preference stage: chosen and rejected answers are texts about one video; their difference joins the losses.

An answer's log-probability is the weighted sum of log p(text) and log p(grounding). The loss of a pair is

    -log sigmoid(beta * (log p(chosen) - log p(rejected)))                                      in the released code,
    -log sigmoid(beta * (log p(chosen) - log q(chosen) - log p(rejected) + log q(rejected)))    in the paper,

where p is the model and q the reference: the model as it was when this stage began.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call

from ..config import Method, Preference
from ..data.batch import Batch
from ..data.plan import plan_of
from ..ideas.grounding import frame_targets
from ..ideas.preference import LogProbability, dpo_loss, fpo_loss, grounding_log_probability, text_log_probability
from ..model.d2vlm import D2VLM, Output, evaluation


def log_probabilities(out: Output, batch: Batch, method: Method, average: bool = False) -> LogProbability:
    """The log-probability of each text of a batch, by its words and by its intervals, which are not rounded here.

    If the two ends of an interval are found separately, only the words count.
    """
    mention, n = plan_of(batch).mention, len(batch.ids)
    words = text_log_probability(out.log_p, out.target_row, n, average)
    if method.formulation in ("boundary", "bins"):
        return LogProbability(words, torch.zeros_like(words))
    targets = frame_targets(batch.interval[mention], out.similarity.shape[-1], method.base)
    return LogProbability(
        words, grounding_log_probability(out.similarity, targets, batch.row[mention], n, out.frame_mask, average))


def less_likely(total: Tensor, batch: Batch) -> dict[str, Tensor]:
    """(N,) log-probabilities -> for each factor, whether each rejected answer is less likely than its chosen one."""
    plan = plan_of(batch)
    right = total[plan.chosen] > total[plan.rejected]
    return {factor: right[wrong] for factor, wrong in plan.factors.items()}


class Reference:
    """A model as it was when this object was made.

    It is kept as a copy of the tensors that will be trained, which include an adapter that has learned something
    before. For a second pass, the copies are put in the place of the trained tensors.
    """

    def __init__(self, model: D2VLM):
        self.weights = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def __call__(self, model: D2VLM, batch: Batch) -> Output:
        self.weights = {name: value.to(model.device) for name, value in self.weights.items()}  # moved only once
        with evaluation(model):
            return functional_call(model, self.weights, (batch,))


class Preferences:
    """Adds the preference loss to a model's output. The reference is the model as it was when this object was made."""

    def __init__(self, settings: Preference, model: D2VLM):
        self.settings = settings
        self.weights = (settings.text_weight, settings.grounding_weight if settings.form == "fpo" else 0.0)
        self.before = Reference(model) if settings.reference else None

    def __call__(self, model: D2VLM, batch: Batch, out: Output) -> tuple[Output, dict[str, Tensor]]:
        """The output with the preference loss, and what to log: margin, accuracies, both log-probabilities."""
        settings, plan = self.settings, plan_of(batch)
        log_p = log_probabilities(out, batch, model.method, settings.average)
        chosen, rejected = plan.chosen, plan.rejected
        if len(rejected):
            total, reference = log_p.total(*self.weights), self.reference(model, batch)
            if reference is None:
                losses = fpo_loss(total[chosen], total[rejected], settings.beta)
            else:
                losses = dpo_loss(total[chosen], total[rejected], reference[chosen], reference[rejected], settings.beta)
            loss, notes = losses.mean(), self.notes(batch, log_p.detach(), chosen, rejected, reference)
        else:
            loss, notes = out.log_p.sum() * 0, {}
        parts = {name: settings.supervised * value for name, value in out.parts.items()}
        parts["preference"] = settings.weight * loss
        return replace(out, loss=sum(parts.values()), parts=parts), notes

    def reference(self, model: D2VLM, batch: Batch) -> Tensor | None:
        """(N,) log-probabilities under the reference; None where the settings want none."""
        if self.before is None:
            return None
        out = self.before(model, batch)
        return log_probabilities(out, batch, model.method, self.settings.average).total(*self.weights)

    def notes(self, batch: Batch, log_p: LogProbability, chosen: Tensor, rejected: Tensor,
              reference: Tensor | None) -> dict[str, Tensor]:
        """Numbers for the log; if an entry has several values, their mean will be logged."""
        total = log_p.total(*self.weights)
        margin = total[chosen] - total[rejected]
        notes = {"accuracy": (margin > 0).float().mean(), "margin": margin.mean()}
        for name, values in (("text", log_p.text), ("grounding", log_p.grounding)):
            notes[f"{name}_chosen"] = values[chosen].mean()
            notes[f"{name}_rejected"] = values[rejected].mean()
        if reference is not None:
            notes["margin_moved"] = (margin - reference[chosen] + reference[rejected]).mean()
        return notes | {f"accuracy_{factor}": right.float() for factor, right in less_likely(total, batch).items()}
