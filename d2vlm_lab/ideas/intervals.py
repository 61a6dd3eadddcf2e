"""The interval of an `<evi>` token as an exact distribution: every segment of the video has a probability.

The interval probability of the paper, `p_g([s, e]) = product of p inside * product of (1 - p) outside`, is given up to
a factor by the logits x of the frames, since log p - log(1 - p) = x:

    log p([s, e]) = x_s + ... + x_e - log Z = C[e + 1] - C[s] - log Z,    C the prefix sums of x

Z adds up all F (F + 1) / 2 intervals. The term of an interval is a product of one factor for each end, so a cumulative
logsumexp gives the sum in F steps. So an interval can be drawn, and its entropy, the probability of a frame and the
expected value of any reward can be computed exactly.

Sums over long videos are differences of large numbers, so everything is computed in float64; results have the type of
the logits, and at least float32.

Shapes: E evidence tokens, F frames. Intervals are frame positions, both ends included. `mask` (E, F) is True on the
frames that exist, which come first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def log_probability(logits: Tensor, intervals: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F), (E, 2) whole frames -> (E,) `C[e + 1] - C[s] - log Z`."""
    before, after = _prefix_sums(logits, mask)
    first, last = intervals.long().unbind(-1)
    score = after.gather(-1, last[:, None]) - before.gather(-1, first[:, None])
    return _as(logits, score.squeeze(-1) - _ending(before, after, mask).logsumexp(-1))


def log_probabilities(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F) -> (E, F, F) for the intervals from s (second axis) to e (third axis); -inf where there is no interval."""
    return _as(logits, _log_probabilities(logits, mask))


def _log_probabilities(logits: Tensor, mask: Tensor | None) -> Tensor:
    before, after = _prefix_sums(logits, mask)
    score = after[:, None, :] - before[:, :, None]
    n_frames = logits.shape[-1]
    exists = torch.ones(n_frames, n_frames, dtype=torch.bool, device=logits.device).triu()
    exists = exists.expand_as(score) if mask is None else exists & mask[:, None, :]
    return score.masked_fill(~exists, -torch.inf) - _ending(before, after, mask).logsumexp(-1)[:, None, None]


def draw(logits: Tensor, chances: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F), (E, 2) in [0, 1) -> (E, 2) intervals: first the last frame is drawn, then the first one given it."""
    before, after = _prefix_sums(logits, mask)
    last = pick(_ending(before, after, mask).softmax(-1), chances[:, 0])
    frame = torch.arange(logits.shape[-1], device=logits.device)
    first = pick((-before).masked_fill(frame > last[:, None], -torch.inf).softmax(-1), chances[:, 1])
    return torch.stack([first, last], -1)


def frame_probability(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F) -> (E, F) that a frame lies in the interval, which then starts there or before and ends there or after."""
    return _as(logits, _frame_probability(logits, mask))


def _frame_probability(logits: Tensor, mask: Tensor | None) -> Tensor:
    before, after = _prefix_sums(logits, mask)
    after = after if mask is None else after.masked_fill(~mask, -torch.inf)
    starting, ending = torch.logcumsumexp(-before, -1), torch.logcumsumexp(after.flip(-1), -1).flip(-1)
    return (starting + ending - (after + starting).logsumexp(-1, keepdim=True)).exp()


def entropy(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F) -> (E,) `log Z - sum_F p(frame) x`, in nats; at most log(F (F + 1) / 2)."""
    before, after = _prefix_sums(logits, mask)
    inside = _frame_probability(logits, mask) * _existing(logits, mask)
    return _as(logits, _ending(before, after, mask).logsumexp(-1) - inside.sum(-1))


def divergence(logits: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F), (E, F) -> (E,) `KL(p || q) = sum_F p(frame) (x_p - x_q) - log Z_p + log Z_q`, q of the reference."""
    log_z, log_z_reference = (_ending(*_prefix_sums(x, mask), mask).logsumexp(-1) for x in (logits, reference))
    difference = _existing(logits, mask) - _existing(reference, mask)
    return _as(logits, (_frame_probability(logits, mask) * difference).sum(-1) - log_z + log_z_reference)


def expected_reward(logits: Tensor, rewards: Tensor, mask: Tensor | None = None) -> Tensor:
    """(E, F), (E, F, F) rewards from s to e -> (E,) `sum over [s, e] of p([s, e]) R([s, e])`.

    Its gradient is the policy gradient `E[R (d log p)]` without the noise of drawing.
    """
    return _as(logits, (_log_probabilities(logits, mask).exp() * rewards).sum((-2, -1)))


def all_intervals(timestamps: Tensor) -> Tensor:
    """(..., F) seconds of the frames -> (..., F, F, 2) start and end in seconds of the intervals from s to e."""
    n_frames = timestamps.shape[-1]
    return torch.stack([timestamps[..., :, None].expand(*timestamps.shape, n_frames),
                        timestamps[..., None, :].expand(*timestamps.shape, n_frames)], -1)


def _prefix_sums(logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(E, F) C[s] and (E, F) C[e + 1]."""
    total = F.pad(_existing(logits, mask).cumsum(-1), (1, 0))
    return total[:, :-1], total[:, 1:]


def _ending(before: Tensor, after: Tensor, mask: Tensor | None) -> Tensor:
    """(E, F) log of the sum of all intervals that end at each frame."""
    ending = after + torch.logcumsumexp(-before, -1)
    return ending if mask is None else ending.masked_fill(~mask, -torch.inf)


def _existing(logits: Tensor, mask: Tensor | None) -> Tensor:
    return logits.double() if mask is None else logits.double().masked_fill(~mask, 0)


def _as(logits: Tensor, result: Tensor) -> Tensor:
    return result.to(torch.promote_types(logits.dtype, torch.float32))


def pick(p: Tensor, chances: Tensor) -> Tensor:
    """(E, F) probabilities, (E,) in [0, 1) -> (E,): where their sum passes the chance."""
    summed = p.cumsum(-1)
    return (summed <= chances[:, None] * summed[:, -1:]).sum(-1).clamp_max(p.shape[-1] - 1)
