"""When a frame is shown, as a vector that is added to the tokens of the frame.

Shapes: F frames, D the language model's width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..precision import full_precision

WAVES = 32
PERIODS = (1.0, 20_000.0)  # seconds of the fastest and of the slowest wave; the slowest distinguishes hours


def waves(seconds: Tensor) -> Tensor:
    """(F,) -> (F, 2 WAVES) `sin(2 pi t / T)` and `cos(2 pi t / T)` for periods T from 1 s to some hours."""
    periods = torch.logspace(*map(math.log10, PERIODS), WAVES, device=seconds.device, dtype=torch.float64)
    angle = 2 * math.pi * seconds.double()[:, None] / periods
    return torch.cat([angle.sin(), angle.cos()], -1).float()


class TimeEmbedding(nn.Module):
    """A linear map of the waves. It begins as zero, so a model that was trained without it computes the same."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(2 * WAVES, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, seconds: Tensor) -> Tensor:
        """(F,) -> (F, D) float32."""
        with full_precision(seconds):
            return self.linear(waves(seconds))

    def add(self, tokens: Tensor, seconds: Tensor) -> Tensor:
        """(F * N, L * D) tokens of frames, with the embedding of its frame added to each token. Only the first D
        numbers of a token enter the language model at its first layer."""
        vectors = self(seconds)
        vectors = vectors.repeat_interleave(len(tokens) // len(seconds), 0)
        added = torch.nn.functional.pad(vectors, (0, tokens.shape[-1] - vectors.shape[-1]))
        return tokens + added.to(tokens.dtype)
