"""Exercises of page 09: the probability of an interval, and two losses; `wrong_answers` has those about the factors."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ideas import grounding, preference
from .exercise import Comparison, Mistake
from .wrong_answers import my_mistake, wrong_how, wrong_what, wrong_when, wrong_which

generator = torch.Generator().manual_seed(9)


def _curves(tokens: int, frames: int, size: float = 2.0) -> tuple[Tensor, Tensor]:
    return (torch.randn(tokens, frames, generator=generator) * size, torch.rand(tokens, frames, generator=generator))


def _mixed(logits: Tensor, targets: Tensor) -> Tensor:
    p = logits.sigmoid()
    return targets * p + (1 - targets) * (1 - p)


interval_log_probability = Comparison(
    "interval_log_probability", "09", "logits targets",
    hints=("p is the sigmoid of the logits. On a frame inside (y = 1) the factor is p, outside (y = 0) it is 1 - p.",
           "With soft targets, both count partly: the factor is y p + (1 - y)(1 - p).",
           "The logarithm of a product is the sum of the logarithms. Take the logarithm first, then the sum."),
    returns="(E,) one log-probability for each evidence token",
    right=lambda logits, targets: grounding.interval_log_probability(logits, targets), learns=(0,),
    cases=[(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]])), (torch.tensor([[1.0, 1.0]]), torch.ones(1, 2)),
           (torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 1.0]])), _curves(3, 7), _curves(2, 400)],
    mistakes=(
        Mistake("Only the frames inside count in your probability. An interval that covers the whole video would then "
                "look as good as the right one: the frames outside must count as not picked.",
                lambda z, t: (t * z.sigmoid().log()).sum(-1)),
        Mistake("You take the mean over frames. A probability is a product over all frames, so its logarithm is a sum.",
                lambda z, t: _mixed(z, t).log().mean(-1)),
        Mistake("You compute minus the cross-entropy, y log p + (1 - y) log(1 - p). With soft targets, this differs: "
                "the authors' code mixes the probabilities, y p + (1 - y)(1 - p), and then takes the logarithm.",
                lambda z, t: -F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(-1)),
        Mistake("You return the probability itself. Return its logarithm.", lambda z, t: _mixed(z, t).prod(-1)),
        Mistake("You multiply first and take the logarithm afterwards. With 400 frames the product is smaller than any "
                "number that the computer can hold, and its logarithm is minus infinity.",
                lambda z, t: _mixed(z, t).prod(-1).log()),
        Mistake("You round the targets, so a frame with the target 0.5 counts as outside or as inside. It counts as "
                "half of each.", lambda z, t: _mixed(z, (t > 0.5).float()).log().sum(-1)),
        Mistake("You use a softmax, in which the frames compete with each other. Here each frame is picked or left out "
                "by itself: take the sigmoid.", lambda z, t: (t * z.softmax(-1) + (1 - t) * (1 - z.softmax(-1))).log()
                .sum(-1)),
        Mistake("Your sign is wrong: the logarithm of a probability is never positive.",
                lambda z, t: -_mixed(z, t).log().sum(-1)),
        Mistake("You use the logits as probabilities. Take the sigmoid first.",
                lambda z, t: (t * z + (1 - t) * (1 - z)).clamp_min(1e-10).log().sum(-1))))


def _numbers(*shape: int, size: float = 5.0) -> Tensor:
    return torch.randn(*shape, generator=generator) * size


PAIRS = [(torch.tensor([1.0]), torch.tensor([0.0]), 1.0), (torch.tensor([-2.0]), torch.tensor([-1.0]), 0.1),
         (_numbers(4), _numbers(4), 0.1), (torch.tensor([-2000.0]), torch.tensor([0.0]), 1.0)]
CUT_OFF = ("The small number in your logarithm keeps the loss finite, but also flat: where the chosen answer is far "
           "less probable, nothing would be learned. Compute the sigmoid and the logarithm together.")


def _cut_off(c: Tensor, r: Tensor, beta: float, lowest: float) -> Tensor:
    return -(torch.sigmoid(beta * (c - r)) + lowest).log()


def _clamped(c: Tensor, r: Tensor, beta: float, lowest: float) -> Tensor:
    return -torch.sigmoid(beta * (c - r)).clamp_min(lowest).log()


fpo_loss = Comparison(
    "fpo_loss", "09", "chosen rejected beta",
    hints=("The margin is chosen minus rejected: how much more probable is the chosen answer?",
           "Multiply the margin by beta, then take the sigmoid and minus the logarithm.",
           "`F.logsigmoid` computes the last two together and stays finite."),
    returns="(M,) one loss for each pair",
    right=preference.fpo_loss, learns=(0, 1), cases=PAIRS,
    mistakes=(
        Mistake("You have exchanged chosen and rejected: your loss makes the wrong answer more probable.",
                lambda c, r, beta: -F.logsigmoid(beta * (r - c))),
        Mistake("Your loss is negative. The loss is minus the logarithm of a probability.",
                lambda c, r, beta: F.logsigmoid(beta * (c - r))),
        Mistake("You multiply by beta after the logarithm. Beta scales the margin: it says how large a margin has to "
                "be before the pair counts as learned.", lambda c, r, beta: -beta * F.logsigmoid(c - r)),
        Mistake("You return minus the sigmoid, without a logarithm. A pair that is completely wrong then hardly "
                "changes the model.", lambda c, r, beta: -torch.sigmoid(beta * (c - r))),
        *(Mistake(CUT_OFF, partial(_cut_off, lowest=10.0 ** -k)) for k in range(4, 13)),
        *(Mistake(CUT_OFF, partial(_clamped, lowest=10.0 ** -k)) for k in range(4, 13)),
        Mistake("You divide the log-probabilities. The logarithm of a ratio is a difference.",
                lambda c, r, beta: -F.logsigmoid(beta * (c / r))),
        Mistake("If the chosen answer is far less probable, the sigmoid becomes exactly 0 and your loss infinite. "
                "Compute the sigmoid and the logarithm together.",
                lambda c, r, beta: -torch.sigmoid(beta * (c - r)).log())))

dpo_loss = Comparison(
    "dpo_loss", "09", "chosen rejected reference_chosen reference_rejected beta",
    hints=("The reference model has a margin of its own. What counts is how far your model's margin has moved from it.",
           "Subtract the reference's log-probability from each answer's, then do the same as in `fpo_loss`."),
    returns="(M,) one loss for each pair",
    right=preference.dpo_loss, learns=(0, 1),
    cases=[(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([3.0]), torch.tensor([0.0]), 1.0),
           (torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([1.0]), torch.tensor([2.0]), 0.5),
           (*(_numbers(4) for _ in range(4)), 0.1)],
    mistakes=(
        Mistake("The reference does not enter your loss. A model that liked the chosen answer from the start would "
                "have a small loss without having learned anything.",
                lambda c, r, rc, rr, beta: preference.fpo_loss(c, r, beta)),
        Mistake("You add the reference's margin. It has to be subtracted: what counts is the change.",
                lambda c, r, rc, rr, beta: preference.fpo_loss(c + rc, r + rr, beta)),
        Mistake("You subtract the reference from the chosen answer only. The rejected one is compared with its own "
                "reference, too.", lambda c, r, rc, rr, beta: preference.fpo_loss(c - rc, r, beta)),
        Mistake("Your loss makes the margin smaller: chosen and rejected, or the model and its reference, are "
                "exchanged.", lambda c, r, rc, rr, beta: preference.fpo_loss(r - rr, c - rc, beta)),
        Mistake("You multiply by beta after the logarithm. Beta scales the margin, as in `fpo_loss`.",
                lambda c, r, rc, rr, beta: -beta * F.logsigmoid(c - rc - r + rr))))

EXERCISES = (interval_log_probability, fpo_loss, dpo_loss, wrong_when, wrong_which, wrong_what, wrong_how, my_mistake)
