"""The trained parts of a model: LoRA in the language model, the heads, the evidence tokens, the frames' projector."""

from __future__ import annotations

import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from ..config import Adapter, RunConfig
from ..errors import LabError
from ..ideas.evidence import END, EVIDENCE
from .d2vlm import D2VLM
from .precision import train_in_float32

ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "out_proj", "query_key_value", "dense"}


def prepare(model: D2VLM, config: RunConfig) -> D2VLM:
    """Freeze everything, then open what `config.adapter` names, in float32. The heads are always trained."""
    adapter, language = config.adapter, model.language
    model.loaded_from = None  # from here on it is another model
    model.requires_grad_(False)
    for part in model.heads:
        part.requires_grad_(True)
    model.frames.open(adapter.frames)
    if isinstance(language, PeftModel) and adapter.targets != "none":
        check_same(language, adapter)
        language.set_adapter("default")
    elif adapter.targets == "all":
        language.requires_grad_(True)
    elif adapter.targets != "none":
        model.language = new_adapter(model, adapter)
    if adapter.embeddings != "evidence":
        for table in (model.language.get_input_embeddings(), model.language.get_output_embeddings()):
            table.requires_grad_(adapter.embeddings == "all")
    train_in_float32(model)
    return model


def new_adapter(model: D2VLM, adapter: Adapter) -> PeftModel:
    """The language model with LoRA in it, and with the rows of the evidence tokens if these alone are trained."""
    language, new_rows = model.language, None
    if adapter.embeddings == "evidence":
        ids = model.tokenizer.convert_tokens_to_ids([EVIDENCE, END])
        tables = (language.get_input_embeddings(), language.get_output_embeddings())
        new_rows = {name: ids for name, module in language.named_modules() if module in tables}
    return adapt(language, LoraConfig(
        r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout,
        target_modules=target_modules(language, adapter.targets), use_dora=adapter.variant == "dora",
        use_rslora=adapter.variant == "rslora", trainable_token_indices=new_rows))


def check_same(language: PeftModel, adapter: Adapter) -> None:
    """Training goes on with the adapter of a checkpoint; settings of another adapter are an error."""
    if adapter.targets == "all":
        raise LabError("adapter.targets=all trains every weight without LoRA, but the checkpoint in parts.start has "
                       "LoRA; make it part of the weights first (d2vlm-lab export CHECKPOINT FOLDER --merge)")
    lora = language.peft_config["default"]
    if adapter.embeddings == "evidence" and not lora.trainable_token_indices:
        raise LabError("adapter.embeddings=evidence trains rows of the adapter, but the adapter in parts.start has "
                       "none; training goes on with that one: set adapter.embeddings to all or frozen")
    targets = ", ".join(sorted(target_modules(language, adapter.targets)))
    variant = "dora" if lora.use_dora else "rslora" if lora.use_rslora else "lora"
    for setting, wanted, existing in (
            ("rank", adapter.rank, lora.r), ("alpha", adapter.alpha, lora.lora_alpha),
            ("dropout", adapter.dropout, lora.lora_dropout), ("variant", adapter.variant, variant),
            (f"targets={adapter.targets}", targets, ", ".join(sorted(lora.target_modules)))):
        if wanted != existing:
            raise LabError(f"adapter.{setting} is {wanted}, but the adapter in parts.start has {existing}; "
                           "training goes on with that one")


def adapt(language: PreTrainedModel, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():  # peft asks for an attribute under a name that transformers has replaced
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(language, config)


def target_modules(language: nn.Module, targets: str) -> list[str]:
    """Names of the decoder's linear layers: those of its attention, or all of them. Adapted ones keep their name."""
    linear = {name.removesuffix(".base_layer").rsplit(".", 1)[-1]
              for name, module in language.get_decoder().named_modules()
              if isinstance(module, nn.Linear) and ".lora_" not in name}
    names = sorted(linear if targets == "linear" else linear & ATTENTION)
    if not names:
        raise LabError(f"adapter.targets={targets}: no such layers among {', '.join(sorted(linear))}")
    return names
