"""Grounded decoding of sixteen videos together, against one after the other."""

from __future__ import annotations

import numpy as np
import torch

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import IGNORE, Clip, Text, collate
from d2vlm_lab.lab.bench import machine, median_seconds, peak_memory
from d2vlm_lab.model.decoding import steps, stop_ids

from .parts import model_and_batch

VIDEOS, FRAMES, NEW = 16, 64, 64


def run() -> dict:
    """64 frames, 64 new tokens without an early stop, 8 layers of width 512, an evidence token every eighth."""
    model, _ = model_and_batch(Method(semantic_layer=6))
    model.eval()
    evidence = model.tokenizer.convert_tokens_to_ids("<evi>")
    stops = list(stop_ids(model))

    def choose(logits, rows, step):
        logits[:, stops] = -torch.inf
        return torch.full_like(rows, evidence) if step % 8 == 0 else logits.argmax(-1)

    def decode(count: int):
        clips = [Clip(torch.randn(FRAMES, 512), np.arange(FRAMES, dtype=float)) for _ in range(count)]
        prompts = [[Text(list(range(20)), [IGNORE] * 20)] for _ in range(count)]
        for _ in steps(model, collate(clips, prompts, model.tokenizer, model.prompt), choose, NEW):
            pass

    def singly():
        for _ in range(VIDEOS):
            decode(1)

    seconds = {"together": median_seconds(lambda: decode(VIDEOS), 3), "one_by_one": median_seconds(singly, 3)}
    memory = {"together": peak_memory(lambda: decode(VIDEOS)), "one": peak_memory(lambda: decode(1))}
    return {"bench": "generation", "ratios": {"batched_generation": seconds["one_by_one"] / seconds["together"]},
            "seconds": seconds, "memory_mb": memory, "machine": machine()}
