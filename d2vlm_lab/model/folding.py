"""LoRA with fewer operations: added to the weight once a step instead of to each output of the layer.

A layer with LoRA computes W x + s B (A x) for every token x, where s is a fixed scale. (W + s B A) x is the same, and
the sum of the weights is needed only once a step.

Forward and backward, LoRA costs 6 r (in + out) operations a token, and the gradient of a folded weight costs 2 in out.
At a low rank r, the one large product is more than twice as fast as the narrow ones that it replaces, operation for
operation. So there folding pays as long as in x out is at most 6 r (in + out), which means in narrow layers. At a high
rank it does not: making the sum, and its gradient, costs as much as 3 r tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from torch import Tensor, nn

MEMORY = 2**30  # bytes of the sums for answers
LOW_RANK = 32  # folding makes a step 1.11 times faster at rank 16, width 96, and 4 % slower at rank 128, width 512


@contextmanager
def folded(language: nn.Module, wanted: bool = True) -> Iterator[None]:
    """A language model whose LoRA is part of the weights wherever that is possible, pays off, and is `wanted`."""
    layers = [layer for layer in language.modules()
              if wanted and isinstance(layer, Linear) and is_plain(layer) and pays(layer)]
    with replaced("forward", {layer: as_one_product(layer) for layer in layers}):
        yield


@contextmanager
def merged(language: nn.Module) -> Iterator[None]:
    """A language model whose adapter is part of the weights, for answers: they take many steps and train nothing.

    The weights themselves do not change. The sums stand beside them and take as much memory again, so LoRA is left as
    it is where they would take more than `MEMORY` bytes. The trained rows of a table of token embeddings are put into
    it once; PEFT copies the whole table at each use.
    """
    modules = list(language.modules())
    layers = [layer for layer in modules if isinstance(layer, Linear) and is_plain(layer)]
    if sum(layer.base_layer.weight.nbytes for layer in layers) > MEMORY:
        layers = []
    tables = [table for table in modules if isinstance(table, TrainableTokensLayer)]
    with torch.no_grad():
        products = {layer: as_one_product(layer) for layer in layers}
        whole = {table: table.get_merged_weights(table.active_adapters) for table in tables}
    with replaced("forward", products), replaced(
            "get_merged_weights", {table: partial(given, weight) for table, weight in whole.items()}):
        yield


@contextmanager
def replaced(name: str, methods: dict[nn.Module, Callable]) -> Iterator[None]:
    """Give modules another method of this name; afterwards they have the method of their class again."""
    for module, method in methods.items():
        setattr(module, name, method)
    try:
        yield
    finally:
        for module in methods:
            delattr(module, name)


def as_one_product(layer: Linear) -> Callable[[Tensor], Tensor]:
    """What a layer with LoRA computes: its input times one weight."""
    name, base = layer.active_adapters[0], layer.base_layer
    weight = torch.addmm(base.weight, layer.lora_B[name].weight, layer.lora_A[name].weight, alpha=layer.scaling[name])
    return partial(F.linear, weight=weight, bias=base.bias)


def given(weight: Tensor, active_adapters: Sequence[str]) -> Tensor:
    return weight


def is_plain(layer: Linear) -> bool:
    """Whether one adapter is in use that only adds s B (A x), without dropout, and everything has single precision."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    name, base = layer.active_adapters[0], layer.base_layer
    drops = layer.training and not isinstance(layer.lora_dropout[name], nn.Identity)
    return (not drops and name not in layer.lora_variant and not layer.lora_bias[name] and type(base) is nn.Linear
            and base.weight.dtype == layer.lora_A[name].weight.dtype == torch.float32
            and not torch.is_autocast_enabled(base.weight.device.type))


def pays(layer: Linear) -> bool:
    rank, width_in, width_out = layer.r[layer.active_adapters[0]], layer.in_features, layer.out_features
    return rank <= LOW_RANK and width_in * width_out <= 6 * rank * (width_in + width_out)
