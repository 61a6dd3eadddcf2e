"""The weights of `formulation: bins`: from a state to the distribution over both ends, and from times to an embedding.

Shapes: E evidence tokens, B bins, D the language model's width.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...ideas.bins import gaussian_over_anchors, to_anchors
from ..heads import Head, mlp


class Bins(nn.Module):
    def __init__(self, width: int, bins: int):
        super().__init__()
        self.bins, anchors = bins, 2 * (bins + 1)  # anchors of both ends
        self.decoder = Head(nn.LayerNorm(width), *mlp(width, width, width, anchors))
        self.encoder = Head(*mlp(anchors, width, width, width))

    def forward(self, states: Tensor) -> Tensor:
        """(E, D) states that predict `<evi>` -> (E, 2, B + 1) logits."""
        return self.decoder(states).unflatten(-1, (2, -1))

    def embed(self, intervals: Tensor, n_frames: Tensor) -> Tensor:
        """(E, 2) frame positions, (E,) -> (E, D) how these times enter the language model again."""
        times = to_anchors(intervals, n_frames[:, None], self.bins)
        return self.encoder(gaussian_over_anchors(times, self.bins).flatten(1))
