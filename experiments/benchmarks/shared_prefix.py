"""A preference step whose answers share frames and question, against each answer with its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from peft import LoraConfig, get_peft_model

from d2vlm_lab.config import Method, Preference
from d2vlm_lab.data.batch import Batch, Clip, collate
from d2vlm_lab.lab.bench import machine, medians_in_turn, peak_memory
from d2vlm_lab.learning.fpo import Preferences
from d2vlm_lab.model.d2vlm import D2VLM

from .parts import FRAMES, TOKENS, model_and_batch, text


def run() -> dict:
    """350 frame tokens, 100 text tokens an answer, 8 layers of width 512, LoRA, batch 1, float32, median of 5.

    With one thread, as the runs of a study have; the ratios on all cores beside it, where smaller products scale worse.
    """
    model, _ = model_and_batch(Method(semantic_layer=6))
    model.requires_grad_(False)
    model.frame_head.requires_grad_(True)
    model.evidence_head.requires_grad_(True)
    model.language = get_peft_model(model.language, LoraConfig(
        r=128, lora_alpha=256, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
    preferences = Preferences(Preference(form="fpo"), model)
    def step(batch: Batch) -> None:
        out, _ = preferences(model, batch, model(batch))
        out.loss.backward()

    steps = {f"{way}_{rejects}": partial(step, answers(model, rejects, way == "shared"))
             for rejects in (1, 4) for way in ("shared", "separate")}
    cores = torch.get_num_threads()
    everywhere = medians_in_turn(steps)
    torch.set_num_threads(1)
    seconds = medians_in_turn(steps)
    memory = {name: peak_memory(step, before=lambda: model.zero_grad(set_to_none=True))
              for name, step in steps.items()}
    ratios = {f"shared_prefix_{k}{name}": found[f"separate_{k}"] / found[f"shared_{k}"]
              for name, found in (("", seconds), ("_all_cores", everywhere)) for k in (1, 4)}
    about = machine()
    torch.set_num_threads(cores)
    return {"bench": "shared-prefix", "ratios": ratios, "seconds": seconds, "memory_mb": memory, "machine": about}


def answers(model: D2VLM, rejects: int, shared: bool) -> Batch:
    """A chosen answer and its rejected ones, as texts of one video or of as many as there are answers."""
    generator = torch.Generator().manual_seed(1)
    clip = Clip(torch.randn(FRAMES, model.frame_head[0].normalized_shape[0], generator=generator), range(FRAMES))
    texts = [text(TOKENS, 3, FRAMES)] * (1 + rejects)
    groups = [texts] if shared else [[each] for each in texts]
    batch = collate([clip] * len(groups), groups, model.tokenizer, model.prompt)
    return replace(batch, preferred=torch.zeros(len(texts), dtype=torch.long))
