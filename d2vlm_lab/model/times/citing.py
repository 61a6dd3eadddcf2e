"""The weights of `formulation: cite`: two heads that compare what an evidence token asks with what proposals show.

Shapes: E evidence tokens, K proposals, V videos, F frames, D the language model's width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...ideas.citing import cited, overlaps, proposal_means, proposals
from ...ideas.grounding import at_least_float32, similarity
from ..heads import head
from ..precision import full_precision


@dataclass
class Cited:
    """The proposals at which E evidence tokens can point, and how much they point at each."""

    spans: Tensor  # (E, K, 2)
    scores: Tensor  # (E, K); -inf where there are fewer proposals

    def overlap(self, truth: Tensor) -> Tensor:
        """(E, 2) whole frames -> (E,) overlap of the best proposal."""
        return overlaps(self.scores, self.spans, truth).amax(-1)

    @property
    def interval(self) -> Tensor:
        """(E, 2)"""
        return cited(self.scores, self.spans)


class Citing(nn.Module):
    def __init__(self, width: int, proposals: int):
        super().__init__()
        self.k = proposals
        self.evidence, self.proposal = head(width), head(width)

    def forward(self, states: Tensor, frames: Tensor, frames_row: Tensor, logits: Tensor, mask: Tensor) -> Cited:
        """(E, D) states that predict `<evi>`, (V, F, D) states of the frames, (E,), (E, F) similarity, (E, F)."""
        spans, exist = proposals(logits.float(), self.k, mask)
        with full_precision(states):
            seen = self.proposal(proposal_means(at_least_float32(frames), frames_row, spans))
            scores = similarity(self.evidence(states)[:, None], seen)[:, 0]
        return Cited(spans, scores.masked_fill(~exist, -torch.inf))
