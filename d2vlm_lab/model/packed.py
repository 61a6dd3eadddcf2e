"""The text pass without padding: the tokens that exist run through the decoder as one row.

Texts differ in length. To make a rectangle of them, the shorter ones are padded, and padding costs as much as tokens
do; in a batch of the laptop preset it is more than a third. But everything in a decoder layer except its attention
works on each token by itself, so there the tokens of all texts can stand in one row. A question that several answers
share stands in it once:

    q1 q1 q1 a1 a1 -- -- --
    q2 q2 a2 a2 a2 a2 a2 --    ->    q1 q1 q1 a1 a1 q2 q2 a2 a2 a2 a2 a2 a3 a3 a3
    q2 q2 a3 a3 a3 -- -- --

Only the attention needs the texts one by one. It lays the tokens out again, puts the kept keys and values of the video
before those of each text, and brings the results back into the row. Texts of similar length are laid out together, so
that little padding comes back:

    start, frames 2 | q2 q2 a2 a2 a2 a2 a2
    start, frames 1 | q1 q1 q1 a1 a1
    start, frames 2 | q2 q2 a3 a3 a3

Shapes: N texts, T tokens of the longest, S tokens in the row, P tokens up to and including the frames, H heads of
width d. A group has M texts, the longest of L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..data.batch import Batch
from ..data.packing import Group, Packing
from ..data.plan import packing_of
from . import passes
from .backbone import attention_masks, decoder_layers, family
from .last_layer import only_at
from .passes import HEAD_LAYER, READ, Prefix, States, kept_position_ids, text_position_ids
from .precision import dtype_of

NAME = "d2vlm_packed"  # of the attention function, as transformers knows it
COPIES = 2**26  # bytes (64 MB); larger copies of the frames are not kept for the gradient, but made again
# Families whose attention can be replaced by a function that also gets what is not in the row. Others have an attention
# of their own or do not pass on what the function needs. The tests compare all of these with the plain form.
FAMILIES = {
    "apertus", "arcee", "bitnet", "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma3_text", "glm",
    "glm4", "gpt_neox", "granite", "granitemoe", "helium", "hunyuan_v1_dense", "llama", "ministral", "mistral",
    "mixtral", "nanochat", "olmo", "olmo2", "olmo3", "olmoe", "persimmon", "phi", "phi3", "qwen2", "qwen2_moe",
    "qwen3", "qwen3_moe", "seed_oss", "smollm3", "starcoder2"}

def serves(language: PreTrainedModel) -> bool:
    """Whether the attention of this model can be replaced."""
    return family(language) in FAMILIES and language.config._attn_implementation == "sdpa"


def packed_pass(language: PreTrainedModel, batch: Batch, prefix: Prefix, embeddings: Tensor) -> States:
    """Every text against the kept keys and values of its video, as `one_pass` and `branching_pass` do it.

    The last states are computed only at the tokens that predict one.
    """
    packing = packing_of(batch)
    head, last = read_row(language, batch, prefix, embeddings, packing.predicting)

    def padded(states: Tensor) -> Tensor:
        return states.index_select(0, packing.place.flatten()).unflatten(0, packing.place.shape)

    return States(head=padded(head), last=padded(last), frames=prefix.frame_states, frames_row=batch.video)


def read_row(language: PreTrainedModel, batch: Batch, prefix: Prefix, embeddings: Tensor, predicting: Tensor,
             keep: list[tuple[Tensor, Tensor]] | None = None) -> tuple[Tensor, Tensor]:
    """(N, T, D) -> two of (S, D): what the evidence head reads, and the last states, these only at `predicting` (R,).

    The keys and values of the row, for each layer (1, H, S, d), are appended to `keep`.
    """
    packing = packing_of(batch)
    position_ids = text_position_ids(batch, prefix)
    masks = attention_masks(language, passes.view(batch, prefix), position_ids,
                            torch.cat([kept_position_ids(batch, prefix), position_ids], 1), embeddings.dtype)
    decoder = language.get_decoder()
    tokens = embeddings[packing.row, packing.column].to(dtype_of(decoder_layers(decoder)))
    with attention(decoder, NAME), only_at(decoder, predicting):
        layers = decoder(inputs_embeds=tokens[None], attention_mask=masks,
                         position_ids=position_ids[packing.row, packing.column][None], use_cache=False,
                         output_hidden_states=passes.asked_for(decoder, READ), packing=packing, frames=prefix.cache,
                         keep=keep).hidden_states
    return layers[HEAD_LAYER][0], layers[-1][0]


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, packing: Packing,
           frames: DynamicCache, keep: list | None = None, **settings) -> tuple[Tensor, None]:
    """(1, H, S, d) queries, keys and values of the row, a mask (N, 1, T, P + T) -> (1, S, H, d)."""
    if keep is not None:
        keep.append((key, value))
    video = frames.layers[module.layer_idx]
    work = in_group
    if torch.is_grad_enabled() and copies_are_large(module, video.keys, packing):
        work = partial(checkpoint, in_group, use_reentrant=False, preserve_rng_state=settings.get("dropout", 0) > 0)
    attended = [work(module, group, settings, mask=mask, query=query, key=key, value=value, kept_keys=video.keys,
                     kept_values=video.values) for group in packing.groups]
    return torch.cat(attended).index_select(0, packing.laid_out)[None], None


def in_group(module: nn.Module, group: Group, settings: dict, *, mask: Tensor, query: Tensor, key: Tensor,
             value: Tensor, kept_keys: Tensor, kept_values: Tensor) -> Tensor:
    """The texts of one group, laid out behind the frames of their videos -> (M * L, H, d)."""
    longest = group.place.shape[1]
    keys = torch.cat([kept_keys.index_select(0, group.video), lay_out(key, group.place)], 2)
    values = torch.cat([kept_values.index_select(0, group.video), lay_out(value, group.place)], 2)
    seen = mask[group.texts, :, :longest, :keys.shape[2]]
    out, _ = sdpa_attention_forward(module, lay_out(query, group.place), keys, values, seen, **settings)
    return out.flatten(0, 1)


def copies_are_large(module: nn.Module, kept_keys: Tensor, packing: Packing) -> bool:
    """Whether the copies of the frames which the texts need in all layers would take much memory until the gradient.

    Then every layer makes its copies again for the gradient, so that those of one layer at a time exist.
    """
    n_videos, n_texts = len(kept_keys), len(packing.place)
    copies = 2 * (n_texts - n_videos) * kept_keys[0].nbytes
    return copies * module.config.num_hidden_layers > COPIES


def lay_out(states: Tensor, place: Tensor) -> Tensor:
    """(1, H, S, d), (M, L) -> (M, H, L, d)."""
    tokens = states[0].transpose(0, 1).flatten(1)  # (S, H * d): each is moved in one piece
    return tokens.index_select(0, place.flatten()).view(*place.shape, *states.shape[1::2]).transpose(1, 2)


AttentionInterface.register(NAME, attend)


@contextmanager
def attention(decoder: nn.Module, name: str) -> Iterator[None]:
    """A decoder whose layers attend by the function that is registered under this name."""
    config = decoder.config.get_text_config()
    usual = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = usual
