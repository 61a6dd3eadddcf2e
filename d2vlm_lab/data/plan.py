"""What the losses need to know about a batch, as indices: computed once, where the batch is made.

On a GPU, finding the places where something holds means waiting until everything before it is computed. So this is done
on the CPU, and the indices go to the GPU together with the batch.

Shapes: N texts, E evidence tokens, G of them in answers, L answer tokens to predict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .batch import IGNORE, Batch
from .branches import Branches, find_branches, is_range
from .packing import Packing, pack
from .spelled import FIRST


@dataclass(frozen=True)
class ByText:
    """Values that belong to texts: the text of each value, counting only texts that have any, and how many each has."""

    index: Tensor
    count: Tensor


@dataclass(frozen=True)
class Plan:
    target_row: Tensor  # (L,) the text of each token to predict
    target_column: Tensor  # (L,) the column before it, from which it is predicted
    supervised_targets: Tensor  # which of the L are supervised
    words: Tensor  # which of the L are words
    symbols: Tensor  # which of the L are symbols of times
    mention: Tensor  # (G,) which of the E stand in answers; those of a question are given, not predicted
    supervised_mentions: Tensor  # which of the G are supervised
    mentions_by_text: ByText  # of these supervised mentions
    pairs: Tensor  # (K, 2) supervised pairs of two mentions, as indices into G
    pairs_by_text: ByText
    rejected: Tensor  # texts that are only compared with a chosen one
    chosen: Tensor  # the chosen text of each rejected one
    factors: dict[str, Tensor]  # factor: which of the rejected texts are wrong in it
    one_text_each: bool  # whether text n is about video n, and there are no other videos
    branches: Branches | None
    packing: Packing | None = None  # the texts in one row; None until `packing_of` is asked for it


def plan_of(batch: Batch) -> Plan:
    """The plan of a batch, which is kept in the batch."""
    if batch.plan is None:
        batch.plan = make_plan(batch)
    return batch.plan


def packing_of(batch: Batch) -> Packing:
    """The texts of a batch in one row; the plan of the batch keeps the result."""
    plan = plan_of(batch)
    if (packing := plan.packing) is None:
        packing = pack(batch, plan.branches)
        batch.plan = replace(plan, packing=packing)
    return packing


def make_plan(batch: Batch) -> Plan:
    row, column = (batch.labels[:, 1:] != IGNORE).nonzero(as_tuple=True)
    is_symbol = batch.labels[row, column + 1] >= FIRST
    mention = where(batch.in_answer)
    supervised_mentions = where(batch.supervised[batch.row[mention]])
    text = batch.row[batch.pairs[:, 0]]
    supervised = where(batch.supervised[text])
    in_answers = batch.in_answer.cumsum(0) - 1  # from an index among all evidence tokens to one among G
    rejected = where(~batch.supervised)
    branches = find_branches(batch)
    wrong = [batch.factors[n] for n in rejected.tolist()] if batch.factors else []
    return Plan(
        target_row=row, target_column=column, supervised_targets=where(batch.supervised[row]),
        words=where(~is_symbol), symbols=where(is_symbol),
        mention=mention, supervised_mentions=supervised_mentions,
        mentions_by_text=by_text(batch.row[mention][supervised_mentions]),
        pairs=in_answers[batch.pairs[supervised]], pairs_by_text=by_text(text[supervised]),
        rejected=rejected, chosen=rejected if batch.preferred is None else batch.preferred[rejected],
        factors={factor: rejected.new_tensor([k for k, other in enumerate(wrong) if other == factor])
                 for factor in sorted(set(wrong))},
        one_text_each=len(batch.video) == len(batch.features) and is_range(batch.video), branches=branches)


def where(condition: Tensor) -> Tensor:
    """(X,) -> indices of what is true."""
    return condition.nonzero().squeeze(1)


def by_text(text: Tensor) -> ByText:
    _, index, count = torch.unique(text, return_inverse=True, return_counts=True)
    return ByText(index, count)
