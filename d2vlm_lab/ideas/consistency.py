"""The two mentions of an event should mean the same: grounded and referenced evidence states are drawn together."""

from __future__ import annotations

import torch
from torch import Tensor


def consistency_loss(grounded: Tensor, referenced: Tensor) -> Tensor:
    """(K, D), (K, D) -> (K,) `mean_D |g - g'|` of the two mentions of K events; both receive the gradient."""
    return (grounded - referenced).abs().mean(-1)


def spread(states: Tensor) -> Tensor:
    """(E, D) -> variance over evidence tokens, mean over D. It is near zero when all events look the same."""
    if len(states) < 2:
        return states.new_tensor(float("nan"))
    return states.var(0).mean()


def mean_by_sample(values: Tensor, sample: Tensor) -> Tensor:
    """(E,) values, (E,) sample numbers -> scalar: mean within each sample, then over the samples that have any."""
    _, index, count = torch.unique(sample, return_inverse=True, return_counts=True)
    return mean_of_means(values, index, count)


def mean_of_means(values: Tensor, index: Tensor, count: Tensor) -> Tensor:
    """`mean_by_sample` for a known sample `index` of each value and a known `count` of the values of each sample."""
    return (values / count[index]).sum() / len(count) if len(values) else values.sum()
