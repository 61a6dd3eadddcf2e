"""The last decoder layer, computed only where it is read.

Logits are computed at the tokens that predict an answer and nowhere else, and both heads read the input of the last
layer. So its MLP, its queries and its output are needed at those tokens alone. At all other tokens its keys and values
are enough, because they are all that the attention of other tokens takes from them:

                              start, frames    question         answer
    keys and values                 x             x               x
    queries, output, MLP                      last token      all but its last token
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from .backbone import decoder_layers

PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp")  # parts that have other names in a family run at all tokens


@contextmanager
def only_at(decoder: nn.Module, tokens: Tensor | None) -> Iterator[None]:
    """A decoder whose last states are valid only at these (R,) tokens of each row; None means all tokens."""
    modules = dict(decoder_layers(decoder)[-1].named_modules())
    parts = [modules[name] for name in PARTS if name in modules and tokens is not None]
    before = [vars(part).get("forward") for part in parts]  # what `folded` may have put in place of the class's method
    for part in parts:
        part.forward = partial(at_tokens, part.forward, tokens)
    try:
        yield
    finally:
        for part, forward in zip(parts, before):
            del part.forward
            if forward is not None:
                part.forward = forward


def at_tokens(forward: Callable[[Tensor], Tensor], tokens: Tensor, states: Tensor) -> Tensor:
    """(B, T, D) -> (B, T, D'): what `forward` computes at these tokens, and zero at all others."""
    computed = forward(states.index_select(1, tokens))
    return computed.new_zeros(*states.shape[:2], computed.shape[-1]).index_copy(1, tokens, computed)
