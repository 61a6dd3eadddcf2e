"""Where the frames of a video stand in the language model: one after the other, or with text around each of them.

The text around a frame may say when it was shown, as in Qwen3-VL and SmolVLM: `<3.5 seconds>`, the tokens of the
frame, `<4.0 seconds>`, the tokens of the next one. The prompt format defines this text, and `collate` turns it into a
row of token ids in which FRAME stands for each frame. The text before and after a frame belongs to this frame.

Shapes: V videos, F frames, N tokens of a frame, P tokens of the longest row, D the language model's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..data.batch import FRAME


@dataclass
class Rows:
    """The frames of V videos, and the text between them, as rows that are padded at the end."""

    embeddings: Tensor  # (V, P, D)
    mask: Tensor  # (V, P) which tokens exist
    is_frame: Tensor  # (V, P) which of them belong to a frame
    owner: Tensor  # (V, P) the frame that each token belongs to
    columns: Tensor  # (V, F, N) where the tokens of each frame are; 0 for frames that do not exist
    frame_mask: Tensor  # (V, F) which frames exist


def lay_out(tokens: Sequence[Tensor], layout: Sequence[Tensor] | None, per_frame: int,
            embed: Callable[[Tensor], Tensor]) -> Rows:
    """V of (F_v * N, D) tokens of frames -> rows. `layout` is the layout of the V videos; None: frames alone.

    Tokens of frames may be wider than those of `embed`; then the text between them is filled up with zeros.
    """
    device = tokens[0].device
    if layout is None:
        rows, is_frame = list(tokens), [torch.ones(len(each), dtype=torch.bool, device=device) for each in tokens]
        owner = [torch.arange(len(each), device=device) // per_frame for each in tokens]
    else:
        rows, is_frame, owner = [], [], []
        for frames, each in zip(tokens, layout):
            ids, belongs = each.repeat_interleave(torch.where(each[0] == FRAME, per_frame, 1), 1)
            text = embed(ids.clamp_min(0))
            text = F.pad(text, (0, frames.shape[-1] - text.shape[-1]))
            rows.append(text.masked_scatter((ids == FRAME)[:, None], frames.to(text.dtype)))
            is_frame.append(ids == FRAME)
            owner.append(belongs)
    length = torch.tensor([len(row) for row in rows], device=device)
    n_frames = torch.tensor([len(each) // per_frame for each in tokens], device=device)
    embeddings = pad_sequence(rows, batch_first=True)
    # A stable sort puts the tokens of frames first, in their order.
    columns = [(~each).int().argsort(stable=True)[:len(frames)].unflatten(0, (-1, per_frame))
               for each, frames in zip(is_frame, tokens)]
    columns = pad_sequence(columns, batch_first=True)
    return Rows(
        embeddings=embeddings, mask=torch.arange(embeddings.shape[1], device=device) < length[:, None],
        is_frame=pad_sequence(is_frame, batch_first=True), owner=pad_sequence(owner, batch_first=True), columns=columns,
        frame_mask=torch.arange(columns.shape[1], device=device) < n_frames[:, None])


def frames_look(is_frame: Tensor, per_frame: int, block: int | None) -> Tensor:
    """(V, P) -> (V, P, P) True where a token of a frame may look at one of another frame, whichever comes first.

    With blocks of `block` frames, a frame looks at the frames of its own block and of earlier blocks.
    """
    look = is_frame[:, :, None] & is_frame[:, None]
    if block is not None:
        number = (is_frame.cumsum(-1) - 1) // (per_frame * block)
        look &= number[:, :, None] >= number[:, None]
    return look


def pool_frames(states: Tensor, columns: Tensor) -> Tensor:
    """(V, P, D), (V, F, N) -> (V, F, D): the mean over the tokens of each frame."""
    index = columns.flatten(1)[..., None].expand(-1, -1, states.shape[-1])
    return states.gather(1, index).unflatten(1, columns.shape[1:]).mean(2)
