"""What of a model is trained: LoRA in the language model, the heads, the evidence tokens, the frames' projector."""

from __future__ import annotations

import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from ..config import RunConfig
from ..errors import LabError
from ..ideas.evidence import END, EVIDENCE
from .d2vlm import D2VLM

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "out_proj", "query_key_value", "dense")


def prepare(model: D2VLM, config: RunConfig) -> D2VLM:
    """Freeze everything, then open what `config.adapter` names, the two heads always among it."""
    adapter, language = config.adapter, model.language
    model.requires_grad_(False)
    model.frame_head.requires_grad_(True)
    model.evidence_head.requires_grad_(True)
    model.frames.open(adapter.frames)
    if adapter.targets == "all":
        language.requires_grad_(True)
    elif isinstance(language, PeftModel):
        go_on(language, config)
    elif adapter.targets != "none":
        new_rows = [model.tokenizer.convert_tokens_to_ids(token) for token in (EVIDENCE, END)]
        tables = _table_names(language)
        model.language = adapt(language, LoraConfig(
            r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout,
            target_modules=target_modules(language, adapter.targets),
            use_dora=adapter.variant == "dora", use_rslora=adapter.variant == "rslora",
            trainable_token_indices=dict.fromkeys(tables, new_rows) if adapter.embeddings == "evidence" else None))
    if adapter.embeddings == "all":
        for table in (model.language.get_input_embeddings(), model.language.get_output_embeddings()):
            table.weight.requires_grad_(True)
    return model


def go_on(language: PeftModel, config: RunConfig) -> None:
    """Train the adapter that a checkpoint brings along; one of another shape is an error, not a second adapter."""
    theirs, mine = language.peft_config["default"], config.adapter
    if mine.targets == "none":
        return
    given = {"rank": theirs.r, "alpha": theirs.lora_alpha, "dropout": theirs.lora_dropout,
             "variant": "dora" if theirs.use_dora else "rslora" if theirs.use_rslora else "lora"}
    for name, value in given.items():
        if getattr(mine, name) != value:
            raise LabError(f"adapter.{name} is {getattr(mine, name)}, but the adapter in parts.start has {value}; "
                           "training goes on with that one")
    targets = set(target_modules(language, mine.targets))
    if targets != set(theirs.target_modules):
        raise LabError(f"adapter.targets={mine.targets} is {', '.join(sorted(targets))}, but the adapter in "
                       f"parts.start is on {', '.join(sorted(theirs.target_modules))}; training goes on with that one")
    language.set_adapter("default")


def adapt(language: PreTrainedModel, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():  # peft asks by a name that transformers has replaced
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(language, config)


def target_modules(language: torch.nn.Module, targets: str) -> list[str]:
    """Names of the decoder's linear layers: those of its attention, or all of them. Adapted ones keep their name."""
    linear = {name.removesuffix(".base_layer").rsplit(".", 1)[-1]
              for name, module in language.get_decoder().named_modules()
              if isinstance(module, torch.nn.Linear) and ".lora_" not in name}
    chosen = sorted(linear if targets == "linear" else linear & set(ATTENTION))
    if not chosen:
        raise LabError(f"adapter.targets={targets}: no such layers among {', '.join(sorted(linear))}")
    return chosen


def _table_names(language) -> list[str]:
    tables = {id(language.get_input_embeddings()), id(language.get_output_embeddings())}
    return [name for name, module in language.named_modules() if id(module) in tables]
