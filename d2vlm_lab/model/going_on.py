"""How drawn answers go on token by token from what they share: the frames and the question of their group.

`Copied` works with every language model: each answer has its own copy of the keys and values of all that came before.
`Shared` keeps those of the frames and of the question once for a group, and for each answer only its own:

    start, frames, question --+-- answer 1
                              +-- answer 2        both look at the same kept keys and values
                              +-- ...

The queries of a group then meet the shared keys in one product, and memory does not grow with the size of the group.

Shapes: Q questions, G answers to each, R = Q G rows, one new token for each; P tokens that are shared, t own tokens,
H heads of width d for keys, and n times as many for queries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel

from .backbone import attention_masks, decoder_layers
from .packed import attention
from .passes import decode, positions, repeat_rows
from .precision import dtype_of

NAME = "d2vlm_shared"  # of the attention function, as transformers knows it


class Copied:
    """Every row with a cache of its own."""

    def __init__(self, language: PreTrainedModel, cache: DynamicCache, mask: Tensor, answers: int, limit: int):
        rows = torch.arange(len(mask), device=mask.device).repeat_interleave(answers)
        repeat_rows(cache, rows, False)
        self.language, self.cache, self.mask = language, cache, mask[rows]  # (R, P + t) which tokens exist

    def step(self, embeddings: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """(R, D), (R,) of one new token for each row -> its states after every layer, each (R, 1, D)."""
        kept = positions(self.mask)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], 1)
        return decode(self.language, embeddings[:, None], self.mask[:, None], position[:, None], self.cache, kept)

    def keep(self, rows: Tensor) -> None:
        """Forget all other rows."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]


class Shared:
    """The rows of a group with one cache for what they share."""

    def __init__(self, language: PreTrainedModel, cache: DynamicCache, mask: Tensor, answers: int, limit: int):
        self.language, self.answers, self.size = language, answers, 0
        self.decoder = language.get_decoder()
        self.dtype = dtype_of(decoder_layers(self.decoder))
        self.mask = mask.repeat_interleave(answers, 0)  # (R, P + t)
        self.shared = [[layer.keys, layer.values] for layer in cache.layers]  # (Q, H, P, d)
        self.own = [[states.new_empty(len(self.mask), states.shape[1], limit, states.shape[3]) for states in layer]
                    for layer in self.shared]  # (R, H, limit, d), of which t are filled

    def step(self, embeddings: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        kept = positions(self.mask)
        self.mask, self.size = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], 1), self.size + 1
        position = position[:, None]
        masks = attention_masks(self.language, self.mask[:, None], position, torch.cat([kept, position], 1),
                                embeddings.dtype)
        with attention(self.decoder, NAME):
            return self.decoder(inputs_embeds=embeddings[:, None].to(self.dtype), attention_mask=masks,
                                position_ids=position, use_cache=False, output_hidden_states=True,
                                going_on=self).hidden_states

    def keep(self, rows: Tensor) -> None:
        """Rows of a group are then no longer side by side, so each gets a copy of what it shares."""
        self.shared = [[states.index_select(0, rows // self.answers) for states in layer] for layer in self.shared]
        self.own = [[states.index_select(0, rows) for states in layer] for layer in self.own]
        self.answers, self.mask = 1, self.mask[rows]


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, going_on: Shared,
           scaling: float | None = None, **_) -> tuple[Tensor, None]:
    """(R, n H, 1, d) queries, (R, H, 1, d) keys and values, a mask (R, 1, 1, P + t) -> (R, 1, n H, d)."""
    group, size = going_on.answers, going_on.size
    own_keys, own_values = (states[:, :, :size] for states in going_on.own[module.layer_idx])
    own_keys[:, :, -1:], own_values[:, :, -1:] = key, value
    keys, values = going_on.shared[module.layer_idx]
    query = query.unflatten(1, (key.shape[1], -1)).squeeze(3)  # (R, H, n, d)

    scores = torch.cat([apart(side_by_side(query, group) @ keys.transpose(-1, -2), group),
                        query @ own_keys.transpose(-1, -2)], -1)
    scores = scores * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    p = scores.masked_fill(~mask, -torch.inf).softmax(-1, dtype=torch.float32).to(query.dtype)
    of_shared, of_own = p.split([keys.shape[2], size], -1)
    out = apart(side_by_side(of_shared, group) @ values, group) + of_own @ own_values
    return out.flatten(1, 2)[:, None], None


def side_by_side(states: Tensor, group: int) -> Tensor:
    """(R, H, n, X) -> (Q, H, G n, X): the rows of a group as one matrix."""
    return states.unflatten(0, (-1, group)).transpose(1, 2).flatten(2, 3)


def apart(states: Tensor, group: int) -> Tensor:
    """The inverse of `side_by_side`."""
    return states.unflatten(2, (group, -1)).transpose(1, 2).flatten(0, 1)


AttentionInterface.register(NAME, attend)
