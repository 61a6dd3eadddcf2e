"""Rewards instead of pairs: what a group of drawn answers to one question teaches (GRPO and Dr. GRPO).

An answer is a row of actions: its tokens, and for each `<evi>` the interval that is drawn with it. All actions of an
answer share its advantage.

Shapes: Q questions, G answers to each, A actions of all answers, N = Q G answers.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGNAL = 1e-6  # a group whose rewards deviate by less than this teaches nothing


def advantages(rewards: Tensor, scaled: bool = True) -> Tensor:
    """(Q, G) -> (Q, G) `R - mean of the group`; `scaled`: also divided by the deviation within the group (GRPO)."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    if not scaled:
        return centred
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    return torch.where(deviation > SIGNAL, centred / deviation.clamp_min(SIGNAL), 0)


def has_signal(rewards: Tensor) -> Tensor:
    """(Q, G) -> (Q,) whether the rewards of a group differ; if all answers are right or all wrong, none is better."""
    return rewards.std(-1, correction=0) > SIGNAL


def clipped_gain(log_p: Tensor, drawn_log_p: Tensor, advantage: Tensor, clip: float = 0.2) -> Tensor:
    """(A,) x 3 -> (A,) `min(r a, clamp(r, 1 - clip, 1 + clip) a)`; r = p / (p when drawn), a the advantage.

    At the first update after drawing r is 1, and the gradient is that of `a log p`.
    """
    ratio = (log_p - drawn_log_p).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def drawn_divergence(log_p: Tensor, reference: Tensor) -> Tensor:
    """(A,), (A,) -> (A,) `q / p - log(q / p) - 1`, never negative; its mean over draws from p is KL(p || q)."""
    difference = reference - log_p
    return difference.exp() - difference - 1


def by_answer(values: Tensor, row: Tensor, n: int) -> Tensor:
    """(A,) values, (A,) the answer of each -> (N,) sums."""
    return values.new_zeros(n).index_add(0, row, values)
