"""The preference stage: chosen and rejected answers are texts about one video; their difference joins the losses.

An answer's log-probability is the weighted sum of log p(text) and log p(grounding). The loss of a pair is

    -log sigmoid(beta * (log p(chosen) - log p(rejected)))                                      in the released code,
    -log sigmoid(beta * (log p(chosen) - log q(chosen) - log p(rejected) + log q(rejected)))    in the paper,

where p is the model and q the reference: the model as it was when this stage began.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call

from ..config import Method, Preference
from ..data.batch import Batch
from ..ideas.grounding import frame_targets
from ..ideas.preference import LogProbability, dpo_loss, fpo_loss, grounding_log_probability, text_log_probability
from ..model.d2vlm import D2VLM, Output


def log_probabilities(out: Output, batch: Batch, method: Method, average: bool = False) -> LogProbability:
    """Of each text of a batch, by its words and by its intervals, which are not rounded to whole frames here."""
    in_answer, n = batch.in_answer, len(batch.ids)
    targets = frame_targets(batch.interval[in_answer], out.similarity.shape[-1], method.base)
    return LogProbability(
        text_log_probability(out.log_p, out.target_row, n, average),
        grounding_log_probability(out.similarity, targets, batch.row[in_answer], n, out.frame_mask, average))


def factor_accuracy(total: Tensor, batch: Batch) -> dict[str, list[bool]]:
    """(N,) log-probabilities -> for each factor, whether each rejected answer is less likely than its chosen one."""
    if not batch.factors:
        return {}
    right, by_factor = (total[batch.preferred] > total).tolist(), defaultdict(list)
    for n in (~batch.supervised).nonzero().squeeze(1).tolist():
        by_factor[batch.factors[n]].append(right[n])
    return dict(sorted(by_factor.items()))


class Preferences:
    """Adds the preference loss to a model's output. The reference is the model as it was when this object was made.

    It is kept as a copy of the tensors that are about to be trained (an adapter that has learned something before is
    part of it), and these take their old places for a second pass.
    """

    def __init__(self, settings: Preference, model: D2VLM):
        self.settings = settings
        self.weights = (settings.text_weight, settings.grounding_weight if settings.form == "fpo" else 0.0)
        self.before: dict[str, Tensor] | None = None
        if settings.reference:
            self.before = {name: value.detach().clone() for name, value in model.named_parameters()
                           if value.requires_grad}

    def __call__(self, model: D2VLM, batch: Batch, out: Output) -> tuple[Output, dict[str, float]]:
        """The output with the preference loss, and what to log: margin, accuracies, both log-probabilities."""
        settings = self.settings
        log_p = log_probabilities(out, batch, model.method, settings.average)
        rejected = (~batch.supervised).nonzero().squeeze(1)
        if len(rejected):
            chosen = batch.preferred[rejected]
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

    @torch.no_grad()
    def reference(self, model: D2VLM, batch: Batch) -> Tensor | None:
        """(N,) log-probabilities under the reference; None where the settings want none."""
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
              reference: Tensor | None) -> dict[str, float]:
        total = log_p.total(*self.weights)
        margin = total[chosen] - total[rejected]
        notes = {"accuracy": float((margin > 0).float().mean()), "margin": float(margin.mean())}
        for name, values in (("text", log_p.text), ("grounding", log_p.grounding)):
            notes[f"{name}_chosen"] = float(values[chosen].mean())
            notes[f"{name}_rejected"] = float(values[rejected].mean())
        if reference is not None:
            notes["margin_moved"] = float((margin - reference[chosen] + reference[rejected]).mean())
        for factor, right in factor_accuracy(total, batch).items():
            notes[f"accuracy_{factor}"] = sum(right) / len(right)
        return notes
