"""A training step with the frames read once and kept, against the authors' two passes over the language model."""

from __future__ import annotations

from functools import partial

from peft import LoraConfig, get_peft_model

from d2vlm_lab.config import Method
from d2vlm_lab.lab.bench import machine, medians_in_turn, peak_memory

from .parts import model_and_batch


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

        def step(way, model=model, batch=batch):
            model.two_pass, model.whole_first_pass = way != "one", way == "two"
            model(batch).loss.backward()

        steps = {f"{name}_{way}": partial(step, way) for way in ("one", "two", "truncated")}
        seconds |= medians_in_turn(steps)
        memory |= {key: peak_memory(work, before=lambda model=model: model.zero_grad(set_to_none=True))
                   for key, work in steps.items()}
    ratios = {name: seconds[f"{name}_two"] / seconds[f"{name}_one"] for name in ("one_pass", "one_pass_full")}
    ratios |= {f"{name}_vs_truncated": seconds[f"{name}_truncated"] / seconds[f"{name}_one"]
               for name in ("one_pass", "one_pass_full")}
    return {"bench": "one-pass", "ratios": ratios, "seconds": seconds, "memory_mb": memory, "machine": machine()}
