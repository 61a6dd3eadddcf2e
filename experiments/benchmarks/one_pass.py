"""A training step with the frames read once and kept, against the authors' two passes over the language model.

`two` is what the authors' code computes: both passes go through every layer and end in the logits of every position,
of which the first pass' are never used. `two_bare` is without the logits that nobody reads, as all of our ways are.
`truncated` is the best that two passes can be: the first one stops at the layer from which it is read.
"""

from __future__ import annotations

from functools import partial

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import IGNORE, Batch
from d2vlm_lab.data.plan import plan_of
from d2vlm_lab.lab.bench import machine, medians_in_turn, peak_memory
from d2vlm_lab.model.d2vlm import D2VLM

from .parts import model_and_batch

WAYS = ("one", "two", "two_bare", "truncated")


def run() -> dict:
    """350 frame tokens, 100 text tokens, 8 layers of width 512, vocabulary 32,000, batch 1, float32, median of 5."""
    seconds, memory = {}, {}
    for name, lora in (("one_pass", True), ("one_pass_full", False)):
        model, batch = model_and_batch(Method(semantic_layer=6))
        if lora:
            model.requires_grad_(False)
            model.frame_head.requires_grad_(True)
            model.evidence_head.requires_grad_(True)
            model.language = get_peft_model(model.language, LoraConfig(
                r=128, lora_alpha=256, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
        steps = {f"{name}_{way}": partial(step, model, batch, way) for way in WAYS}
        seconds |= medians_in_turn(steps)
        memory |= {key: peak_memory(work, before=lambda model=model: model.zero_grad(set_to_none=True))
                   for key, work in steps.items()}
    ratios = {name: seconds[f"{name}_two"] / seconds[f"{name}_one"] for name in ("one_pass", "one_pass_full")}
    ratios |= {f"{name}_vs_{way}": seconds[f"{name}_{way}"] / seconds[f"{name}_one"]
               for name in ("one_pass", "one_pass_full") for way in ("two_bare", "truncated")}
    return {"bench": "one-pass", "ratios": ratios, "seconds": seconds, "memory_mb": memory, "machine": machine()}


def step(model: D2VLM, batch: Batch, way: str) -> None:
    """Forward and backward."""
    model.two_pass, model.whole_first_pass = way != "one", way in ("two", "two_bare")
    if way != "two":
        model(batch).loss.backward()
        return
    states: list[Tensor] = []
    hook = model.language.get_decoder().register_forward_hook(lambda _, __, out: states.append(out.last_hidden_state))
    loss = model(batch).loss
    hook.remove()
    first, second = states
    (loss + unread_logits(model, batch, first, second)).backward()


def unread_logits(model: D2VLM, batch: Batch, first: Tensor, second: Tensor) -> Tensor:
    """The logits that our ways leave out: of the whole first pass, and of the second where no answer is predicted.

    The loss over the first pass' has no label at all, and the authors ignore it. That over the second pass' is zero
    where there is no label, but its gradient goes through all of them.
    """
    head, plan = model.language.get_output_embeddings(), plan_of(batch)
    head(first).float()
    read = torch.zeros(second.shape[:2], dtype=torch.bool)
    read[plan.target_row, plan.target_column + first.shape[1]] = True
    logits = head(second[~read]).float()
    return cross_entropy(logits, torch.full((len(logits),), IGNORE), ignore_index=IGNORE, reduction="sum")
