"""Which of two answers is preferred: log-probabilities of an answer by its words and by its intervals, and the losses.

Shapes: N texts, T scored tokens, E evidence tokens, F frames, M pairs of a chosen and a rejected answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .grounding import interval_log_probability


@dataclass(frozen=True)
class LogProbability:
    """log p of N answers, factor by factor."""

    text: Tensor  # (N,) what is said
    grounding: Tensor  # (N,) where it is found; 0 for an answer without evidence tokens

    def total(self, text_weight: float = 1.0, grounding_weight: float = 1.0) -> Tensor:
        """(N,) the factorized log-probability."""
        return text_weight * self.text + grounding_weight * self.grounding

    def detach(self) -> LogProbability:
        return LogProbability(self.text.detach(), self.grounding.detach())


def text_log_probability(log_p: Tensor, row: Tensor, n: int, average: bool = False) -> Tensor:
    """(T,), (T,) -> (N,) sum over (or mean of) the answer's tokens, evidence tokens included."""
    return by_text(log_p, row, n, average)


def grounding_log_probability(similarity: Tensor, targets: Tensor, row: Tensor, n: int, mask: Tensor | None = None,
                              average: bool = False) -> Tensor:
    """(E, F), (E, F), (E,) -> (N,) sum over (or mean of) evidence tokens and frames; both mentions count."""
    each = interval_log_probability(similarity.float() if similarity.dtype.itemsize < 4 else similarity,
                                    targets.to(similarity.dtype), mask, average)
    return by_text(each, row, n, average)


def fpo_loss(chosen: Tensor, rejected: Tensor, beta: float = 0.1) -> Tensor:
    """(M,), (M,) -> (M,) the released form, without a reference: -log sigmoid(beta (chosen - rejected))."""
    return -F.logsigmoid(beta * (chosen - rejected))


def dpo_loss(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor,
             beta: float = 0.1) -> Tensor:
    """(M,) x 4 -> (M,) the paper's form: what counts is how far the margin has moved from the reference policy's.

    With factorized log-probabilities it is FPO with a reference, with those of the text alone plain DPO.
    """
    return fpo_loss(chosen - reference_chosen, rejected - reference_rejected, beta)


def text_dpo_loss(policy: LogProbability, reference: LogProbability, chosen: Tensor, rejected: Tensor,
                  beta: float = 0.1) -> Tensor:
    """DPO on words only; `chosen` and `rejected` (M,) pick the texts of each pair. Blind to where evidence points."""
    return dpo_loss(policy.text[chosen], policy.text[rejected], reference.text[chosen], reference.text[rejected], beta)


def by_text(values: Tensor, row: Tensor, n: int, average: bool = False) -> Tensor:
    """(T,) values and the text each belongs to -> (N,) sum (or mean) for each text; 0 where it has none."""
    total = values.new_zeros(n).index_add(0, row, values)
    return total / torch.bincount(row, minlength=n).clamp_min(1) if average else total
