"""Where the tokens of a batch are when its texts are written in one row, without padding: computed once, on the CPU.

Shapes: N texts, T tokens of the longest, S tokens in the row. A group has M texts, the longest of L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .batch import IGNORE, Batch
from .branches import Branches

GROUPS = 3  # groups of texts of similar length on a CPU; a GPU has one group, because each takes several kernels


@dataclass(frozen=True)
class Group:
    """Texts that the attention lays out together."""

    texts: Tensor  # (M,) which texts these are
    video: Tensor  # (M,) the video of each
    place: Tensor  # (M, L) where each of their tokens is in the row; for padding any place, because nobody looks at it


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a batch are in the row, and how the attention finds them again."""

    row: Tensor  # (S,) the text of each token
    column: Tensor  # (S,) its column in the padded batch
    place: Tensor  # (N, T) where each token of the padded batch is in the row
    groups: list[Group]
    laid_out: Tensor  # (S,) where each token is among those of all groups, one group after the other
    predicting: Tensor  # (R,) the tokens of the row whose last state predicts a token of an answer


def pack(batch: Batch, branches: Branches | None) -> Packing:
    """The tokens that exist, in the order of the batch. A question that several answers share is there only once."""
    stored, size = batch.mask, batch.ids.shape[1]
    column = torch.arange(size, device=stored.device)
    if branches is not None:
        shared = ~batch.supervised[:, None] & (column < branches.asked[:, None])
        stored = stored & ~shared
    place = (stored.flatten().cumsum(0) - 1).clamp_min(0).view_as(stored)
    if branches is not None:
        place = torch.where(shared, place[batch.preferred], place)

    # Texts of similar length form a group.
    length = torch.where(batch.mask, column + 1, 0).amax(-1)
    groups, start, n_laid_out = [], torch.empty_like(batch.video), 0
    n_groups = 1 if torch.cuda.is_available() else GROUPS
    for texts in length.argsort(descending=True, stable=True).tensor_split(n_groups):
        if len(texts):
            longest = int(length[texts[0]])
            groups.append(Group(texts, batch.video[texts], place[texts, :longest]))
            start[texts] = n_laid_out + longest * torch.arange(len(texts), device=start.device)
            n_laid_out += longest * len(texts)

    # The token before each token of an answer predicts it.
    predicts = torch.zeros(int(stored.sum()), dtype=torch.bool, device=stored.device)
    predicts[place[:, :-1][batch.labels[:, 1:] != IGNORE]] = True
    row, column = stored.nonzero(as_tuple=True)
    return Packing(row, column, place, groups, start[row] + column, predicts.nonzero().squeeze(1))
