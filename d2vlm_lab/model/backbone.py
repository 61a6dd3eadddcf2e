"""What a language model does beyond a plain stack of layers.

Most families attend to everything before a token. Some let some layers, or all, see no further back than a *sliding
window*, and some scale or cap their logits. All of that is read from the config here. What cannot be read from a
config is found by `families.check`, which refuses a family by name where we would compute something else.

Shapes: B sequences, T tokens, K tokens that can be seen (those kept before, then the T), D hidden, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from ..errors import LabError
from .precision import dtype_of

Mask = Tensor | BlockMask
FIXED = ("default", "linear", "llama3", "yarn")  # rotary embeddings that do not depend on how long the text is
ATTENTION = ("sdpa", "eager", "flex_attention")  # implementations of attention that take our masks


def decoder_layers(decoder: nn.Module) -> nn.ModuleList:
    """The list of decoder layers, whatever the family calls it."""
    n = decoder.config.get_text_config().num_hidden_layers
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child) == n]
    if len(lists) != 1:
        raise LabError(f"{family(decoder)} language models keep their layers in a way that this library does not know")
    return lists[0]


def window_size(language: nn.Module) -> int | None:
    """How far back the windowed layers see, in tokens; None where all layers see everything."""
    return getattr(language.config.get_text_config(), "sliding_window", None) or None


def position_limit(language: nn.Module) -> int | None:
    """How many positions a language model can count; None where only the distance between two of them matters.

    Learned positions end there. Some rotary embeddings turn all tokens in another way once a text is longer, so that
    keys that were kept before no longer fit.
    """
    config = language.config.get_text_config()
    rotary = getattr(language.get_decoder(), "rotary_emb", None)
    kinds = getattr(rotary, "rope_type", "default")  # some families have one for each kind of layer
    if rotary is not None and set(kinds.values() if isinstance(kinds, dict) else [kinds]) <= set(FIXED):
        return None
    most = getattr(config, "max_position_embeddings", None)
    return (getattr(config, "rope_parameters", None) or {}).get("original_max_position_embeddings", most)


def check_length(language: nn.Module, query: Tensor, n_keys: int) -> None:
    """An error where a video and its text take more positions than the language model can count."""
    limit = position_limit(language)
    if limit is not None and n_keys > limit and int(query.max()) >= limit:
        raise LabError(f"a video and its text take {int(query.max()) + 1:,} positions, but this language model "
                       f"({family(language)}) can be used up to {limit:,} only; use fewer frames "
                       "(data.max_frames) or fewer tokens for each frame (parts.frame_tokens)")


def attention_masks(language: nn.Module, attend: Tensor, query: Tensor, key: Tensor,
                    dtype: torch.dtype) -> Mask | dict[str, Mask]:
    """(B, T, K) True where a token may look -> masks as the attention of this model takes them.

    `query` (B, T) and `key` (B, K) are position ids. With a sliding window of n, a token sees position ids that are
    less than n away from its own. Families that mix windowed and full layers get one mask for each kind.
    """
    check_length(language, query, attend.shape[-1])

    def as_taken(allowed: Tensor) -> Mask:
        if language.config._attn_implementation in ("sdpa", "flex_attention"):
            allowed = allowed | ~allowed.any(-1, keepdim=True)  # a row of padding must not be empty: NaN
            return allowed[:, None] if language.config._attn_implementation == "sdpa" else block_mask(allowed)
        blocked = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return blocked.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]

    window = window_size(language)
    if window is None:
        return as_taken(attend)
    near = attend & ((query[:, :, None] - key[:, None]).abs() < window)
    kinds = getattr(language.config.get_text_config(), "layer_types", None) or ()
    if "full_attention" in kinds:
        return {"full_attention": as_taken(attend), "sliding_attention": as_taken(near)}
    return as_taken(near)


def block_mask(allowed: Tensor) -> BlockMask:
    """(B, T, K) as flex attention takes it: blocks of tokens that see nothing of each other are left out."""
    def may_look(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return allowed[b, q, k]

    return create_block_mask(may_look, len(allowed), None, *allowed.shape[1:], device=allowed.device)


def logits_of(language: nn.Module, states: Tensor) -> Tensor:
    """(..., D) last states -> (..., V) logits, scaled and capped as the family does it."""
    config = language.config.get_text_config()
    table = language.get_output_embeddings()
    logits = table(states.to(dtype_of(table)))  # a trained table is float32
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (factor := getattr(config, "logit_scale", None)) is not None:
        logits = logits * factor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits


def family(module: nn.Module) -> str:
    """What transformers calls this kind of model: llama, qwen3, ..."""
    return module.config.get_text_config().model_type
