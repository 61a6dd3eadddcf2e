"""Which of two answers is preferred: the log-probability of an answer by its words and its intervals, and the losses.

Shapes: N texts, T scored tokens, E evidence tokens, F frames, M pairs of a chosen and a rejected answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .grounding import at_least_float32, interval_log_probability


@dataclass(frozen=True)
class LogProbability:
    """`log p = log p(text) + log p_g` of N answers, with its two terms apart."""

    text: Tensor  # (N,) of what is said
    grounding: Tensor  # (N,) of where its evidence points; 0 for an answer without evidence tokens

    def total(self, text_weight: float = 1.0, grounding_weight: float = 1.0) -> Tensor:
        """(N,) the factorized log-probability."""
        return text_weight * self.text + grounding_weight * self.grounding

    def detach(self) -> LogProbability:
        return LogProbability(self.text.detach(), self.grounding.detach())


def text_log_probability(log_p: Tensor, row: Tensor, n: int, average: bool = False) -> Tensor:
    """(T,) of tokens, (T,) the text of each -> (N,) sum (or mean) over the tokens of an answer, `<evi>` among them."""
    return _by_text(log_p, row, n, average)


def grounding_log_probability(similarity: Tensor, targets: Tensor, row: Tensor, n: int, mask: Tensor | None = None,
                              average: bool = False) -> Tensor:
    """(E, F), (E, F), (E,) -> (N,) sum (or mean) of `log p_g` over the evidence of an answer; both mentions count."""
    precise = at_least_float32(similarity)
    return _by_text(interval_log_probability(precise, targets.to(precise.dtype), mask, average), row, n, average)


def fpo_loss(chosen: Tensor, rejected: Tensor, beta: float = 0.1) -> Tensor:
    """(M,), (M,) -> (M,) `-log sigmoid(beta (chosen - rejected))`, the released form, which has no reference."""
    return -F.logsigmoid(beta * (chosen - rejected))


def dpo_loss(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor,
             beta: float = 0.1) -> Tensor:
    """(M,) x 4 -> (M,) the paper's form: what counts is how far the margin has moved from the reference policy's.

    With factorized log-probabilities this is FPO with a reference; with log-probabilities of the text alone, plain DPO.
    """
    return fpo_loss(chosen - reference_chosen, rejected - reference_rejected, beta)


def _by_text(values: Tensor, row: Tensor, n: int, average: bool) -> Tensor:
    """(T,) values, (T,) the text of each -> (N,) sum (or mean) for each text; 0 where it has none."""
    total = values.new_zeros(n).index_add(0, row, values)
    count = row.new_zeros(n).index_add(0, row, torch.ones_like(row))
    return total / count.clamp_min(1) if average else total
