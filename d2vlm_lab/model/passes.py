"""Answers that branch off one question: where the question ends, and how to put both back side by side.

N texts of T tokens, U questions, Q tokens of the longest question, A of the longest answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.batch import IGNORE, Batch

WORTH = 64  # question tokens to be spared before a pass of their own pays, measured on two cores at width 512


@dataclass(frozen=True)
class Branches:
    stem: Tensor  # (U,) the text that stands for each question
    owner: Tensor  # (N,) the question of each text
    asked: Tensor  # (N,) its tokens
    question_mask: Tensor  # (U, Q)
    columns: Tensor  # (N, A) where the answers' tokens are
    answer_mask: Tensor  # (N, A)
    back: Tensor  # (N, T) from [question | answer] to the text's own order


def branches(batch: Batch) -> Branches | None:
    """None unless all rejected answers are to the question and the video of the chosen one, and it saves enough."""
    if batch.preferred is None or bool(batch.supervised.all()) or batch.position_ids is not None:
        return None
    n, size = batch.ids.shape
    column = torch.arange(size, device=batch.ids.device)
    asked = (batch.labels != IGNORE).int().argmax(-1)
    same = (batch.ids == batch.ids[batch.preferred]) | (column >= asked[:, None])
    together = torch.equal(batch.video, batch.video[batch.preferred]) and torch.equal(asked, asked[batch.preferred])
    if not (together and bool(same.all()) and bool((asked > 0).all()) and bool(batch.mask[:, 0].all())):
        return None
    stem, owner = torch.unique(batch.preferred, return_inverse=True)
    if asked.sum() - asked[stem].sum() < WORTH:
        return None
    longest = int(asked.max())
    columns = asked[:, None] + torch.arange(size - int(asked.min()), device=column.device)
    exists = columns < size
    columns = columns.clamp_max(size - 1)
    back = torch.where(column < asked[:, None], column, longest + column - asked[:, None])
    return Branches(stem, owner, asked, column[:longest] < asked[stem, None], columns,
                    exists & batch.mask.gather(1, columns), back)


def pick(states: Tensor, columns: Tensor) -> Tensor:
    """(N, ., D), (N, A) -> (N, A, D)"""
    return states.gather(1, columns[..., None].expand(-1, -1, states.shape[-1]))
