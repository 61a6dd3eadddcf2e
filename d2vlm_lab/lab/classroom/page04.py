"""Exercises of page 04: targets for each frame, the loss, its gradient, and its lowest value."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ideas import grounding
from ...ideas.salience import peak_share
from .exercise import Comparison, Mistake, prediction

generator = torch.Generator().manual_seed(4)


def _distances(intervals: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whether a frame is inside, its distance from the start, its distance from the end."""
    frame = torch.arange(n, dtype=intervals.dtype)
    start, end = intervals[:, :1], intervals[:, 1:]
    return (start <= frame) & (frame <= end), (frame - start).abs(), (frame - end).abs()


def _targets(form):
    def function(intervals: Tensor, n_frames: int, base: float) -> Tensor:
        return form(*_distances(intervals, n_frames), base)
    return function


frame_targets = Comparison(
    "frame_targets", "04", "intervals n_frames base",
    hints=("Compare `frame = torch.arange(n_frames)` with the starts, `intervals[:, :1]` of shape (E, 1): the result "
           "has the shape (E, n_frames).",
           "A frame is inside if it is not before the start and not after the end. Both ends are inside.",
           "Outside, d is the smaller of the two distances, to the start and to the end. "
           "`torch.where(inside, 1.0, base ** -d)` combines both cases."),
    returns="(E, n_frames) targets between 0 and 1",
    right=lambda intervals, n_frames, base: grounding.frame_targets(intervals, n_frames, base),
    cases=[(torch.tensor([[1.0, 1.0]]), 3, 2.0), (torch.tensor([[1.0, 3.0]]), 7, 2.0),
           (torch.tensor([[0.0, 0.0], [2.0, 4.0]]), 5, 1.5), (torch.tensor([[2.0, 5.0], [0.0, 7.0]]), 8, 3.0),
           (torch.randint(0, 20, (6, 2), generator=generator).sort(-1).values.float(), 20, 2.0)],
    mistakes=(
        Mistake("Your targets are hard: 0 on every frame outside. Soft targets fall step by step with the distance, "
                "because nobody can say to the exact frame when an event begins.",
                _targets(lambda inside, start, end, base: inside.float())),
        Mistake("Your targets fall inside the event too. All of its frames belong to it equally, so each of "
                "these targets is 1.",
                _targets(lambda inside, start, end, base: base ** -torch.minimum(start, end))),
        Mistake("You measure the distance from the middle of the event. The distance is taken from the nearer end, and "
                "inside it is 0.",
                lambda intervals, n, base: base ** -(torch.arange(n) - intervals.mean(-1, keepdim=True)).abs()),
        Mistake("You measure the distance from the start only. After the event, the end is nearer.",
                _targets(lambda inside, start, end, base: torch.where(inside, 1.0, base ** -start))),
        Mistake("You take the distance to the further end, so that the targets around a long event are too low. Take "
                "the nearer end.",
                _targets(lambda inside, start, end, base: torch.where(inside, 1.0,
                                                                      base ** -torch.maximum(start, end)))),
        Mistake("Your slope is 1 / (1 + d). The formula is the base to the power of -d.",
                _targets(lambda inside, start, end, base: torch.where(inside, 1.0,
                                                                      1 / (1 + torch.minimum(start, end))))),
        Mistake("Your targets grow with the distance from the event. The exponent needs a minus sign.",
                _targets(lambda inside, start, end, base: torch.where(inside, 1.0, base ** torch.minimum(start, end)))),
        Mistake("Your distances outside are too large by one. The first frame outside has the distance 1.",
                _targets(lambda inside, start, end, base: torch.where(inside, 1.0,
                                                                      base ** -(torch.minimum(start, end) + 1)))),
        Mistake("Your event ends one frame too early. Both ends belong to it, so the target of frame `e` is 1.",
                lambda intervals, n, base: base ** -((intervals[:, :1] - torch.arange(n)).clamp_min(0)
                                                     + (torch.arange(n) - intervals[:, 1:] + 1).clamp_min(0))),
        Mistake("You always use the base 2. Use the argument `base`.",
                _targets(lambda inside, start, end, base: torch.where(inside, 1.0,
                                                                      2.0 ** -torch.minimum(start, end))))))


def _bce(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _padded(*lengths: int) -> tuple[Tensor, Tensor, Tensor]:
    longest = max(lengths)
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    targets = torch.rand(len(lengths), longest, generator=generator)
    return torch.randn(len(lengths), longest, generator=generator) * 2, targets.masked_fill(~mask, 0), mask


def _cut_off(z: Tensor, y: Tensor, mask: Tensor, lowest: float) -> Tensor:
    """The loss with a small number inside its logarithms."""
    p = z.sigmoid()
    loss = -(y * (p + lowest).log() + (1 - y) * (1 - p + lowest).log())
    return loss.masked_fill(~mask, 0).sum(-1) / mask.sum(-1)


def _clamped(z: Tensor, y: Tensor, mask: Tensor, lowest: float) -> Tensor:
    """The loss with probabilities that stay away from 0 and 1; PyTorch cuts its logarithms off at -100 by itself."""
    p = z.sigmoid().clamp(lowest, 1 - lowest)
    return F.binary_cross_entropy(p, y, reduction="none").masked_fill(~mask, 0).sum(-1) / mask.sum(-1)


CUT_OFF = ("With a logit of 200, the sigmoid is exactly 1, and your logarithm is cut off: the loss stays at the same "
           "value, so nothing would be learned there. Compute the sigmoid and the logarithm together, from the logits.")
ALL = torch.ones(1, 2, dtype=torch.bool)
grounding_loss = Comparison(
    "grounding_loss", "04", "logits targets mask",
    hints=("`F.binary_cross_entropy_with_logits(logits, targets, reduction='none')` gives the loss of each frame.",
           "Frames that do not exist must not count: set their loss to 0, `loss.masked_fill(~mask, 0)`.",
           "Divide the sum over frames by the number of frames that exist, `mask.sum(-1)`."),
    returns="(E,) one loss for each evidence token",
    right=grounding.grounding_loss, learns=(0,),
    cases=[(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]]), ALL),
           (torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 0.5]]), ALL),
           _padded(3, 2), (torch.tensor([[200.0, -300.0]]), torch.tensor([[0.0, 1.0]]), ALL), _padded(6, 4, 1, 9)],
    mistakes=(
        Mistake("You sum over frames: a video twice as long weighs twice as much. Take the mean.",
                lambda z, y, m: _bce(z, y).masked_fill(~m, 0).sum(-1)),
        Mistake("Your mean also counts frames that do not exist. `mask` is False on the padding of shorter videos.",
                lambda z, y, m: _bce(z, y).mean(-1)),
        Mistake("You leave out the loss of the padding, but still divide by all frames. A short video in a batch with "
                "a long one would weigh less.", lambda z, y, m: _bce(z, y).masked_fill(~m, 0).mean(-1)),
        Mistake("You divide by the number of frames in the whole batch. Each row has its own number of frames: "
                "`mask.sum(-1)`.", lambda z, y, m: _bce(z, y).masked_fill(~m, 0).sum(-1) / m.sum()),
        Mistake("You average over the evidence tokens as well. The function returns one loss for each of them.",
                lambda z, y, m: (_bce(z, y).masked_fill(~m, 0).sum(-1) / m.sum(-1)).mean()),
        Mistake("Only frames of the event enter your loss. A model that answers 1 everywhere would then be perfect: "
                "the other frames need the term (1 - y) log(1 - p).",
                lambda z, y, m: (-y * F.logsigmoid(z)).masked_fill(~m, 0).sum(-1) / m.sum(-1)),
        Mistake("Your loss is negative. The loss is minus the logarithm of a probability.",
                lambda z, y, m: -_bce(z, y).masked_fill(~m, 0).sum(-1) / m.sum(-1)),
        Mistake("You apply the sigmoid twice: the loss takes logits and applies the sigmoid itself.",
                lambda z, y, m: _bce(z.sigmoid(), y).masked_fill(~m, 0).sum(-1) / m.sum(-1)),
        *(Mistake(CUT_OFF, partial(_cut_off, lowest=10.0 ** -k)) for k in range(6, 13)),
        *(Mistake(CUT_OFF, partial(_clamped, lowest=lowest)) for lowest in (0.0, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)),
        Mistake("With a logit of 200 your loss is not a number, or is infinite: the sigmoid is exactly 1 there, so "
                "that you take the logarithm of 0. Compute the sigmoid and the logarithm together, from the logits.",
                lambda z, y, m: -(y * z.sigmoid().log() + (1 - y) * (1 - z.sigmoid()).log())
                .masked_fill(~m, 0).sum(-1) / m.sum(-1))))

push = Comparison(
    "push", "04", "logits targets",
    hints=("The gradient of the loss with respect to a logit is (p - y) / T.",
           "The push goes against the gradient, so that the loss falls.",
           "T is the number of frames, and p the sigmoid of the logit."),
    returns="(T,) the push on each frame",
    right=lambda logits, targets: (targets - logits.sigmoid()) / len(logits),
    cases=[(torch.zeros(2), torch.tensor([1.0, 0.0])), (torch.tensor([2.0, -1.0, 0.0]), torch.tensor([1.0, 0.5, 0.5])),
           (torch.randn(9, generator=generator), torch.rand(9, generator=generator))],
    mistakes=(
        Mistake("Your push has the wrong sign: it makes the loss grow. A frame below its target must be pushed up.",
                lambda z, y: (z.sigmoid() - y) / len(z)),
        Mistake("You forget that the loss is a mean over T frames: each frame gets only 1/T of the push.",
                lambda z, y: y - z.sigmoid()),
        Mistake("You use a softmax, in which the frames compete with each other. Here every frame is a yes-or-no "
                "question of its own: take the sigmoid.", lambda z, y: (y - z.softmax(-1)) / len(z)),
        Mistake("You compare logits with targets. Targets are probabilities, so take the sigmoid of the logits first.",
                lambda z, y: (y - z) / len(z)),
        Mistake("You multiply by p (1 - p), as for a squared error. For the cross-entropy this factor cancels, so "
                "that a frame that is completely wrong still gets the full push.",
                lambda z, y: (y - z.sigmoid()) * z.sigmoid() * (1 - z.sigmoid()) / len(z))))


def _floor(targets: Tensor) -> Tensor:
    return (torch.special.entr(targets) + torch.special.entr(1 - targets)).mean(-1)


lowest_loss = Comparison(
    "lowest_loss", "04", "targets",
    hints=("If a model meets its targets exactly, then p = y. Put this into the formula of the loss.",
           "What remains for each frame is -[y log y + (1 - y) log(1 - y)]. Then take the mean over frames.",
           "0 times log 0 counts as 0. `torch.special.entr(y)` is -y log y, and gives 0 for y = 0."),
    returns="(E,) the lowest possible loss for each row of targets",
    right=_floor,
    cases=[(torch.tensor([[0.5]]),), (torch.tensor([[0.0, 1.0]]),), (torch.tensor([[1.0, 0.5, 0.25]]),),
           (torch.rand(3, 7, generator=generator),)],
    mistakes=(
        Mistake("You say that the lowest loss is 0. This is true of hard targets only: a target of one half costs log "
                "2 even if the model meets it exactly.", lambda y: torch.zeros(len(y))),
        Mistake("You leave out the second half of the formula, (1 - y) log(1 - y).",
                lambda y: torch.special.entr(y).mean(-1)),
        Mistake("You give the targets to a function that expects logits, so a sigmoid is applied to them. Here p = y.",
                lambda y: _bce(y, y).mean(-1)),
        Mistake("Your logarithm has the base 2. The loss uses the natural logarithm.", lambda y: _floor(y) / 0.693147),
        Mistake("You sum over the frames. The loss is a mean over frames, and so is its lowest value.",
                lambda y: _floor(y) * y.shape[-1]),
        Mistake("With a target of 0 or 1 your result is `nan`: 0 times the logarithm of 0. It counts as 0.",
                lambda y: -(y * y.log() + (1 - y) * (1 - y).log()).mean(-1))))


def _extra(base: float) -> int:
    interval = peak_share(grounding.frame_targets(torch.tensor([[10.0, 15.0]]), 32, base))[0]
    return int(interval[1] - interval[0] + 1) - 6


too_wide = prediction(
    "too_wide", "04", truth=lambda: {f"base {base:g}": _extra(base) for base in (3.0, 2.0, 1.5, 1.2)},
    hints=("The maximum of the curve is 1, so the rule keeps frames of at least 0.6.",
           "With base 1.5, the frames outside have 1/1.5, 1/1.5², ... Which of them are at least 0.6?",
           "There are such frames on both sides of the event."),
    explains={"base 3": "the first frame outside has 1/3. Is this at least 0.6?",
              "base 2": "the first frame outside has 1/2. Is this at least 0.6?",
              "base 1.5": "the first frame outside has 0.667 and the next one 0.444. Count both sides.",
              "base 1.2": "the frames outside have 0.833, 0.694, 0.579, ... Count both sides."})

EXERCISES = (frame_targets, grounding_loss, push, lowest_loss, too_wide)
