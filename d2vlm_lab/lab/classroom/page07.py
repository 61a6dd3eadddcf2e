"""Exercises of page 07: two mentions that should agree, and what it costs if they agree too easily."""

from __future__ import annotations

import torch
from torch import Tensor

from ...ideas import consistency as ideas
from .exercise import Comparison, Judgement, Mistake, prediction

generator = torch.Generator().manual_seed(7)


def _pair(events: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.randn(events, width, generator=generator), torch.randn(events, width, generator=generator)


ONE, OTHER = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
PAIRS = [(ONE, OTHER), (ONE, ONE), (torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[2.0, 1.0], [0.0, 4.0]])),
         _pair(3, 5), _pair(1, 8)]

consistency = Comparison(
    "consistency", "07", "grounded referenced",
    hints=("Subtract one state from the other and take absolute values.",
           "The mean is taken over the width D, the last dimension: one number for each event remains."),
    returns="(K,) one number for each event",
    right=ideas.consistency_loss, learns=(0, 1), cases=PAIRS,
    mistakes=(
        Mistake("Your differences cancel each other: one positive and one negative difference make 0. Take absolute "
                "values before the mean.", lambda g, r: (g - r).mean(-1)),
        Mistake("You square the differences. The formula takes absolute values, so that a large difference in one "
                "dimension does not outweigh all others.", lambda g, r: (g - r).square().mean(-1)),
        Mistake("You take the Euclidean length of the difference. The formula has the norm with the index 1: the sum "
                "of the absolute values, here divided by the width D.", lambda g, r: (g - r).norm(dim=-1)),
        Mistake("You sum over the width. A model with wider states would have a larger loss for the same agreement; "
                "take the mean.", lambda g, r: (g - r).abs().sum(-1)),
        Mistake("You average over the events too. The function returns one number for each event.",
                lambda g, r: (g - r).abs().mean()),
        Mistake("You average over the events instead of the width.", lambda g, r: (g - r).abs().mean(0))))

consistency_sum = Comparison(
    "consistency_sum", "07", "grounded referenced",
    hints=("This is the same difference, but nothing is averaged.",
           "`.abs().sum()` without a dimension adds up everything: all events and all dimensions."),
    returns="one number, a tensor without dimensions",
    right=lambda g, r: (g - r).abs().sum(), learns=(0, 1), cases=PAIRS,
    mistakes=(
        Mistake("Your differences cancel each other: one positive and one negative difference make 0. Take absolute "
                "values before you add up.", lambda g, r: (g - r).sum().abs()),
        Mistake("You still average over everything. This time, take the sum.", lambda g, r: (g - r).abs().mean()),
        Mistake("You sum over the width only. This form also adds up the events of the answer.",
                lambda g, r: (g - r).abs().sum(-1)),
        Mistake("You sum over the width and average over the events. This form adds up both.",
                lambda g, r: (g - r).abs().sum(-1).mean()),
        Mistake("You average over the width and sum over the events. This form adds up both.",
                lambda g, r: (g - r).abs().mean(-1).sum()),
        Mistake("You square the differences. Both forms take absolute values.", lambda g, r: (g - r).square().sum())))


def _ratio(events: int, width: int) -> float:
    g, r = _pair(events, width)
    return round(float((g - r).abs().sum() / ideas.consistency_loss(g, r).mean()), 3)


sum_or_mean = prediction(
    "sum_or_mean", "07",
    tolerance={"1 event, width 96": 0.006, "3 events, width 96": 0.006, "3 events, width 4096": 0.006,
               "weight of the sum": 0.0006},
    truth=lambda: {"1 event, width 96": _ratio(1, 96), "3 events, width 96": _ratio(3, 96),
                   "3 events, width 4096": _ratio(3, 4096), "weight of the sum": 10 / _ratio(3, 96)},
    hints=("A mean is a sum divided by the number of its terms. How many terms are there with K events of width D?",
           "If the sum is 288 times the mean, a weight 288 times smaller gives the same loss."),
    explains={"1 event, width 96": "one event has as many terms as its state has dimensions.",
              "3 events, width 96": "each event adds as many terms as its state has dimensions.",
              "3 events, width 4096": "count the terms in the same way; only the width has changed.",
              "weight of the sum": "10 times the mean must equal this weight times the sum. Give three digits after "
                                   "the decimal point."})


def _by_sample(values: Tensor, sample: Tensor) -> list[Tensor]:
    return [values[sample == n] for n in sample.unique()]


mean_by_sample = Comparison(
    "mean_by_sample", "07", "values sample",
    hints=("`sample.unique()` lists the samples that have any values.",
           "For each of them, `values[sample == n].mean()` is its own mean.",
           "The result is the mean of these means."),
    returns="one number, a tensor without dimensions",
    right=ideas.mean_by_sample, learns=(0,),
    cases=[(torch.tensor([1.0, 3.0]), torch.tensor([0, 0])), (torch.tensor([0.0, 0.0, 6.0]), torch.tensor([0, 0, 1])),
           (torch.tensor([2.0, 4.0]), torch.tensor([0, 3])), (torch.randn(9, generator=generator),
                                                              torch.tensor([0, 0, 0, 0, 1, 2, 2, 5, 5]))],
    mistakes=(
        Mistake("You take one mean over all values: a video with many events weighs more than a video with one. "
                "Average within each sample first.", lambda values, sample: values.mean()),
        Mistake("You add the means of the samples up. A larger batch would then have a larger loss.",
                lambda values, sample: torch.stack([v.mean() for v in _by_sample(values, sample)]).sum()),
        Mistake("You add up the values within each sample. A video with many events then weighs more.",
                lambda values, sample: torch.stack([v.sum() for v in _by_sample(values, sample)]).mean()),
        Mistake("You also count samples that have no values at all. They say nothing, so they must not make the mean "
                "smaller.", lambda values, sample: torch.stack([v.mean() for v in _by_sample(values, sample)]).sum()
                / (sample.max() + 1))))

spread = Comparison(
    "spread", "07", "states",
    hints=("How much do the rows differ? For each dimension, take the variance over the rows: `states.var(0)`.",
           "Then take the mean over the dimensions.",
           "A single state cannot differ from others: return `nan`."),
    returns="one number, a tensor without dimensions",
    right=ideas.spread,
    cases=[(torch.tensor([[0.0, 5.0], [4.0, 3.0]]),), (torch.tensor([[1.0, 9.0], [1.0, 9.0]]),),
           (torch.tensor([[1.0, 2.0]]),), (torch.randn(5, 3, generator=generator) + torch.tensor([0.0, 10.0, -10.0]),)],
    mistakes=(
        Mistake("You take the variance over all numbers together. States that are all alike would then look different, "
                "only because their dimensions differ.", lambda states: states.var()),
        Mistake("You take the variance within each state. The question is how much the states differ from each other.",
                lambda states: states.var(1).mean()),
        Mistake("You return one number for each dimension. Take their mean.", lambda states: states.var(0)),
        Mistake("You take the mean over the dimensions first. Then a dimension that grows and one that falls cancel "
                "each other. Take the variance in each dimension first.", lambda states: states.mean(1).var(0)),
        Mistake("You take the mean absolute deviation. The spread is a variance: squares, not absolute values.",
                lambda states: (states - states.mean(0)).abs().mean()),
        Mistake("You return the standard deviation. The spread is a variance.", lambda states: states.std(0).mean()),
        Mistake("A single state has no spread. Return `nan`, which says that nothing is known, and not 0.",
                lambda states: states.var(0).mean() if len(states) > 1 else torch.tensor(0.0)),
        Mistake("You divide by the number of states. The variance is estimated from the states of one batch, so divide "
                "by one less, as `.var(0)` does.", lambda states: states.var(0, correction=0).mean())))


def _cheap_way(pairs) -> str | None:
    if not isinstance(pairs, (list, tuple)) or len(pairs) != 2 or any(len(pair) != 2 for pair in pairs):
        return "Please return two pairs: ((grounded, referenced), (grounded, referenced))."
    for name, (g, r) in zip(("first", "second"), pairs):
        g, r = torch.as_tensor(g).float(), torch.as_tensor(r).float()
        if g.shape != (3, 4) or r.shape != (3, 4):
            return f"The states of your {name} pair should have the shape (3, 4): three events, width 4."
        if not (g.isfinite().all() and r.isfinite().all()):
            return f"The states of your {name} pair should be finite numbers."
        if float(ideas.consistency_loss(g, r).mean()) > 1e-4:
            return f"The two mentions of your {name} pair do not agree; the consistency loss should be 0 in both pairs."
    first, second = (float(ideas.spread(torch.as_tensor(pair[0]).float())) for pair in pairs)
    if first > 1e-4:
        return ("In your first pair, different events have different states. Here they should all have collapsed into "
                "one.")
    if second < 1:
        return f"In your second pair, the spread is {second:.2f}. Make the events differ more, to at least 1."
    return None


cheap_way = Judgement(
    "cheap_way", "07", "", look=_cheap_way,
    hints=("The loss is 0 as soon as `referenced` equals `grounded`, whatever they are.",
           "For the first pair, give all three events the same state: `torch.ones(3, 4)`.",
           "For the second pair, any states will do that differ from row to row, such as "
           "`torch.arange(12.0).view(3, 4)`."))

EXERCISES = (consistency, consistency_sum, sum_or_mean, mean_by_sample, spread, cheap_way)
