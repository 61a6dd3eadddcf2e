"""The small networks beside the language model. They compute in float32 whatever it computes in."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from .precision import dtype_of, full_precision


class Head(nn.Sequential):
    """Layers that compute in the precision of their weights, float32, whatever the states come in."""

    def forward(self, states: Tensor) -> Tensor:
        with full_precision(states):
            return super().forward(states.to(dtype_of(self)))


def head(width: int) -> Head:
    """The 2-layer MLP that turns a hidden state into a query for, or a key of, a moment."""
    return Head(nn.LayerNorm(width), nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))


def mlp(*widths: int) -> list[nn.Module]:
    """Linear layers from width to width, with a ReLU between two of them."""
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.ReLU())]
    return layers[:-1]
