"""One rule for the precision of numbers.

Frozen weights are held in `parts.dtype`, which may have 16 bits to save memory. Everything trained is float32: a step
of 2e-5 is smaller than half the distance between two neighbouring 16-bit numbers, so that a weight in 16 bits would
not move. The heads, similarities and log-probabilities are always computed in float32.

Where float32 meets 16 bits, the numbers are cast in one place: `passes.decode` for what enters the decoder, `Head` for
what leaves it towards the heads, `backbone.logits_of` for what leaves it towards the vocabulary, and the `project` of
each frame encoder for its features. LoRA casts its own inputs and outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import LabError

ADAPTER = ("lora_", "trainable_tokens")  # words in the names of the weights that PEFT adds, which are float32 always


def hold(model: nn.Module, dtype: torch.dtype) -> None:
    """Hold the frame encoder and the language model of a D2VLM in `dtype`, its heads and its adapter in float32."""
    cast(model.frames, dtype)
    cast(model.language, dtype)
    for part in model.heads:
        cast(part, torch.float32)
    model.dtype = dtype


def train_in_float32(model: nn.Module) -> None:
    """Cast up what is trained; a part of a frame encoder that is opened, even if only in places, is cast up whole."""
    for part in model.frames.children():
        if any(value.requires_grad for value in part.parameters()):
            cast(part, torch.float32)
    for value in model.parameters():
        if value.requires_grad:
            value.data = value.data.float()


def check_trained(model: nn.Module) -> None:
    """An error that names a weight that would be trained in 16 bits, if there is one."""
    for name, value in model.named_parameters():
        if value.requires_grad and value.dtype.itemsize < 4:
            raise LabError(f"{name} is trained in {dtype_name(value.dtype)}, where small steps are lost; weights are "
                           "trained in float32 only. `prepare` casts up what it opens: open this weight before it, "
                           "or cast it to float32")


def cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Weights in `dtype`. Buffers stay as they are, because the frequencies of position ids need all their digits.

    Batch normalization keeps its weights in float32 too, since they go together with its running statistics.
    """
    for prefix, part in module.named_modules():
        for name, value in part.named_parameters(prefix, recurse=False):
            precise = isinstance(part, nn.modules.batchnorm._BatchNorm) or any(word in name for word in ADAPTER)
            value.data = value.data.to(torch.float32 if precise else dtype)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of a module's first weight."""
    return next(module.parameters()).dtype


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def full_precision(like: Tensor) -> torch.autocast:
    """A context in which mixed precision is off on the device of `like`."""
    return torch.autocast(like.device.type, enabled=False)
