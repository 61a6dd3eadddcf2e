"""Position ids of three parts, for language models that turn their states by time, height and width (M-RoPE).

Qwen2.5-VL and Qwen3-VL count in this way. A token of text has the same id three times. A token of a frame has an id for
its time, one for its row and one for its column. Whatever follows goes on after the largest id so far:

    watch        frame of 2 x 2 tokens         frame of 2 x 2 tokens         when ?
    time    0    1 1 1 1                       3 3 3 3                       5    6
    row     0    1 1 2 2                       3 3 4 4                       5    6
    column  0    1 2 1 2                       3 4 3 4                       5    6

This is how Qwen3-VL counts. Qwen2.5-VL counts all frames that follow each other as one block, in which time goes on by
a fixed number of ids a second (`tokens_per_second`), while every frame has the same rows and columns.

Shapes: V videos, F frames, N tokens of a frame, P tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from .passes import position_ids_of


def frame_position_ids(language: PreTrainedModel, is_frame: Tensor, mask: Tensor, per_frame: int,
                       seconds: Sequence[Tensor], text_between: bool) -> Tensor:
    """Position ids of rows with frames: (3, V, P) where the language model counts in three parts, else (V, P).

    `seconds`: V of (F_v,) when each frame was shown. `text_between`: whether each frame stands by itself.
    """
    if not has_three_parts(language):
        return position_ids_of(mask)
    side = isqrt(per_frame)
    number = (is_frame.cumsum(-1) - 1).clamp_min(0)  # of each token, among the tokens of frames
    frame, cell = number // per_frame, number % per_frame
    rate = getattr(language.config.vision_config, "tokens_per_second", None)
    if rate is None or text_between:  # every frame is a block
        time, ends = torch.zeros_like(frame), cell == per_frame - 1
    else:  # all frames are one block
        shown = pad_sequence(list(seconds), batch_first=True)
        time = ((shown - shown[:, :1]) * rate).long().gather(1, frame.clamp_max(shown.shape[1] - 1))
        ends = number == is_frame.sum(-1, keepdim=True) - 1
    # By how many ids the next token goes on: by 1 after text, and after a block by the size of its largest side.
    step = torch.where(is_frame, torch.where(ends, (time + 1).clamp_min(side), 0), 1) * mask
    start = step.cumsum(-1) - step
    inside = torch.stack([time, cell // side, cell % side])
    return start + inside * is_frame


def has_three_parts(language: PreTrainedModel) -> bool:
    return hasattr(getattr(language.get_decoder(), "rotary_emb", None), "mrope_section")
