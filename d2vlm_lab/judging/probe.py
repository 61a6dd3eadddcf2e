"""What does a state vector know? A linear probe is fitted on some vectors and judged on others."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_probe(x: Tensor, y: Tensor, ridge: float = 10.0) -> Tensor:
    """(N, D) states, (N, Q) true quantities -> (D + 1, Q) weights of ridge regression, the last row the offset."""
    x = _with_offset(x)
    penalty = ridge * torch.eye(x.shape[1], dtype=x.dtype)
    penalty[-1, -1] = 0
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y.to(x))


def read_off(x: Tensor, weights: Tensor) -> Tensor:
    """(N, D) states -> (N, Q) quantities that the probe predicts from them."""
    return _with_offset(x) @ weights


def explained(truth: Tensor, predicted: Tensor) -> Tensor:
    """(N, Q), (N, Q) -> (Q,) share of the variance: 1 is a perfect prediction, 0 no better than guessing the mean."""
    truth = truth.to(predicted)
    return 1 - (truth - predicted).square().mean(0) / truth.var(0, correction=0)


def _with_offset(x: Tensor) -> Tensor:
    return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)
