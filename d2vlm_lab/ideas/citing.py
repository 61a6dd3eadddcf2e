"""Cite a proposal, as F2G does: the curve proposes K intervals, and the evidence token points at one of them.

The proposals are the most probable intervals of the exact distribution in `intervals.py`, without those that say nearly
the same as a better one (non-maximum suppression). Each is scored by the mean state of its frames. The ends of the one
with the highest score are the answer: nothing is read off the curve by a rule.

Shapes: E evidence tokens, F frames, K proposals, V videos, D hidden. Intervals are frame positions, both ends included;
`mask` (E, F) is True on the frames that exist.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .grounding import frame_overlap
from .intervals import log_probabilities

SAME = 0.7  # overlap above which two proposals say the same
AT_ONCE = 2**22  # intervals that are compared at a time; a video of 2,048 frames has half as many


@torch.no_grad()
def proposals(logits: Tensor, k: int, mask: Tensor | None = None, same: float = SAME) -> tuple[Tensor, Tensor]:
    """(E, F) -> (E, K, 2) proposals, the best first, (E, K) whether each exists: `k` times the most probable interval
    that overlaps none of the earlier ones by more than `same`."""
    mask = torch.ones_like(logits, dtype=torch.bool) if mask is None else mask
    at_once = max(1, AT_ONCE // logits.shape[-1] ** 2)
    parts = [_proposals(some, k, there, same) for some, there in zip(logits.split(at_once), mask.split(at_once))]
    found, exist = zip(*parts)
    return torch.cat(found), torch.cat(exist)


def _proposals(logits: Tensor, k: int, mask: Tensor, same: float) -> tuple[Tensor, Tensor]:
    n_frames, found, exist = logits.shape[-1], [], []
    every = torch.triu_indices(n_frames, n_frames, device=logits.device)  # (2, F (F + 1) / 2) first and last frame
    score = log_probabilities(logits, mask)[:, every[0], every[1]]
    for _ in range(k):
        best, place = score.max(-1)
        found.append(every[:, place].T)
        exist.append(best > -torch.inf)
        overlap = frame_overlap(every[None], found[-1][..., None])
        score = score.masked_fill(overlap > same, -torch.inf)
    return torch.stack(found, 1), torch.stack(exist, 1)


def proposal_means(states: Tensor, video: Tensor, spans: Tensor) -> Tensor:
    """(V, F, D), (E,), (E, K, 2) -> (E, K, D) the mean state of the frames of each proposal."""
    total = F.pad(states.cumsum(1), (0, 0, 1, 0))  # (V, F + 1, D)
    first, last = spans.unbind(-1)
    inside = total[video[:, None], last + 1] - total[video[:, None], first]
    return inside / (last - first + 1)[..., None]


def citing_loss(scores: Tensor, spans: Tensor, intervals: Tensor) -> Tensor:
    """(E, K), (E, K, 2), (E, 2) -> (E,) `-log softmax(scores)` at the proposal that overlaps the true interval best.

    Proposals that do not exist have the score -inf. Where none overlaps the interval at all, nothing is to be learned,
    and the loss is 0.
    """
    best, target = overlaps(scores, spans, intervals).max(-1)
    loss = F.cross_entropy(scores, target, reduction="none")
    return torch.where(best > 0, loss, 0)


def overlaps(scores: Tensor, spans: Tensor, intervals: Tensor) -> Tensor:
    """(E, K), (E, K, 2), (E, 2) -> (E, K) overlaps of the proposals with the true interval; -1 for no proposal."""
    overlap = frame_overlap(spans.flatten(0, 1), intervals.round().repeat_interleave(spans.shape[1], 0))
    return overlap.view_as(scores).masked_fill(scores == -torch.inf, -1)


def cited(scores: Tensor, spans: Tensor) -> Tensor:
    """(E, K), (E, K, 2) -> (E, 2) the proposal with the highest score."""
    return spans[torch.arange(len(spans), device=spans.device), scores.argmax(-1)]
