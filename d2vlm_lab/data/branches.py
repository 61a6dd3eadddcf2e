"""Answers that branch off one question, which the model then reads only once.

Shapes: N texts, T tokens of a text, U questions, Q tokens of the longest question, A of the longest answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .batch import IGNORE, Batch

MIN_SPARED = 64  # tokens; a branching pass that spares fewer does not pay off (measured on two cores, at width 512)


@dataclass(frozen=True)
class Branches:
    text: Tensor  # (U,) the text from which each question is taken
    question: Tensor  # (N,) the question of each text
    asked: Tensor  # (N,) how many tokens the question has
    question_mask: Tensor  # (U, Q) which tokens of the questions exist
    columns: Tensor  # (N, A) where the tokens of the answers are
    answer_mask: Tensor  # (N, A) which of these tokens exist
    order: Tensor  # (N, T) where the tokens of a text are in [question | answer]
    one_each: bool  # whether the questions are as many as the videos, and in their order


def find_branches(batch: Batch) -> Branches | None:
    """None unless all rejected answers share question and video with their chosen ones, which spares enough tokens."""
    if batch.preferred is None or bool(batch.supervised.all()) or batch.position_ids is not None:
        return None
    # Do all answers to a question really share it?
    size = batch.ids.shape[1]
    column = torch.arange(size, device=batch.ids.device)
    asked = (batch.labels != IGNORE).int().argmax(-1)  # an answer begins at the first label
    same_video = torch.equal(batch.video, batch.video[batch.preferred])
    same_length = torch.equal(asked, asked[batch.preferred])
    same_words = (batch.ids == batch.ids[batch.preferred]) | (column >= asked[:, None])
    from_the_left = (asked > 0).all() & batch.mask[:, 0].all()  # there is a question, without padding before it
    if not (same_video and same_length and bool(same_words.all()) and bool(from_the_left)):
        return None

    # Which texts stand for the questions, and are enough tokens spared?
    text, question = torch.unique(batch.preferred, return_inverse=True)
    if asked.sum() - asked[text].sum() < MIN_SPARED:
        return None

    # Where are the answers, and how do both parts become texts again?
    longest, shortest = int(asked.max()), int(asked.min())
    columns = asked[:, None] + torch.arange(size - shortest, device=column.device)
    inside = columns < size
    columns = columns.clamp_max(size - 1)
    return Branches(
        text=text, question=question, asked=asked, question_mask=column[:longest] < asked[text, None],
        columns=columns, answer_mask=inside & batch.mask.gather(1, columns),
        order=torch.where(column < asked[:, None], column, longest + column - asked[:, None]),
        one_each=len(text) == len(batch.features) and is_range(batch.video[text]))


def is_range(values: Tensor) -> bool:
    """Whether the values are 0, 1, 2, ..."""
    return values.tolist() == list(range(len(values)))
