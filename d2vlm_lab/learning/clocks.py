"""Pictures with a clock in the pretraining of the laptop preset's encoder, for runs with `method.frame_times: drawn`.

An encoder that never saw a clock cannot read one. Worse, this encoder looks where something changes, which would then
be the clock. So the time is drawn on a share of the videos, and its digits must be readable from the encoder's summary
of a frame.

Shapes: B videos, F frames, C numbers that describe a frame.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.clock import draw_times

PLACES = (10.0, 1.0, 0.1)  # of the digits that are read


class Clocks(nn.Module):
    """Reads the digits of the clock, in training only; the encoder's projector reads the summary itself."""

    def __init__(self, features: int, share: float):
        super().__init__()
        self.share, self.read = share, nn.Linear(features, 10 * len(PLACES))

    def draw(self, videos: np.ndarray, times: np.ndarray, rng: np.random.Generator) -> Tensor:
        """(B, F, H, W, 3), (F,) -> (B,) True on the videos that now have a clock."""
        shown = rng.random(len(videos)) < self.share
        for n in np.flatnonzero(shown):
            draw_times(videos[n], times)
        return torch.from_numpy(shown)

    def loss(self, summary: Tensor, times: np.ndarray, shown: Tensor) -> Tensor:
        """(B, F, C), (F,), (B,) -> cross-entropy of the digits of the videos with a clock; 0 where there is none."""
        if not shown.any():
            return summary.sum() * 0
        logits = self.read(summary[shown]).unflatten(-1, (len(PLACES), 10))
        return F.cross_entropy(logits.flatten(0, -2), digits(times).expand(len(logits), -1, -1).flatten())


def digits(times: np.ndarray) -> Tensor:
    """(F,) -> (F, 3) tens, ones and tenths of the seconds."""
    tenths = np.round(times * 10).astype(int)
    return torch.from_numpy(np.stack([tenths // round(10 * place) % 10 for place in PLACES], -1))
