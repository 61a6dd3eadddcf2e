"""Grounded decoding: many videos together against one by one, and the form of today against the plain one."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import IGNORE, Clip, Text, collate
from d2vlm_lab.lab.bench import machine, medians_in_turn, peak_memory
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.decoding import Chooser, steps, stop_ids

from .parts import FRAMES, model_and_batch

VIDEOS, SHORT, PROMPT, NEW = 16, 64, 20, 64  # frames of a short video, tokens of a prompt and of an answer


def run() -> dict:
    """8 layers of width 512 without an adapter, 64 new tokens without an early stop, an evidence token every eighth.

    The plain form (`model.fast = False`) is what the authors do: each text has its own keys and values, which are
    copied whenever a token is added, and every state is compared with the frames. The last part puts 16 questions to
    one video of 350 frames. Memory of a further question is half of the difference between 18 and 16 questions.
    """
    model, _ = model_and_batch(Method(semantic_layer=6))
    model.eval()
    write = partial(answer, model, chooser(model))

    def singly():
        for _ in range(VIDEOS):
            write(1)

    works = {
        "one_by_one": singly, "together": partial(write, VIDEOS), "together_plain": partial(write, VIDEOS, fast=False),
        "one": partial(write, 1), "one_plain": partial(write, 1, fast=False),
        "questions": partial(write, 1, VIDEOS, FRAMES), "questions_plain": partial(write, 1, VIDEOS, FRAMES, False)}
    seconds = medians_in_turn(works, 3)
    memory = {name: peak_memory(works[name]) for name in ("one", "together", "together_plain")}
    for name, fast in (("", True), ("_plain", False)):
        peaks = [peak_memory(partial(write, 1, n, FRAMES, fast, 2)) for n in (VIDEOS, VIDEOS + 2)]
        memory[f"further_question{name}"] = (peaks[1] - peaks[0]) / 2
    ratios = {"batched_generation": seconds["one_by_one"] / seconds["together"]}
    ratios |= {f"{name}_against_plain": seconds[f"{name}_plain"] / seconds[name]
               for name in ("one", "together", "questions")}
    return {"bench": "generation", "ratios": ratios, "seconds": seconds, "memory_mb": memory, "machine": machine()}


def answer(model: D2VLM, choose: Chooser, videos: int, questions: int = 1, frames: int = SHORT, fast: bool = True,
           new: int = NEW) -> None:
    model.fast = fast
    clips = [Clip(torch.randn(frames, 512), np.arange(frames, dtype=float)) for _ in range(videos)]
    prompts = [[Text(list(range(PROMPT)), [IGNORE] * PROMPT)] * questions for _ in range(videos)]
    for step in steps(model, collate(clips, prompts, model.tokenizer, model.prompt), choose, new):
        if not fast:
            _ = step.curves  # computed where somebody asks


def chooser(model: D2VLM) -> Chooser:
    evidence, stops = model.tokenizer.convert_tokens_to_ids("<evi>"), list(stop_ids(model))

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        logits[:, stops] = -torch.inf
        return torch.full_like(rows, evidence) if step % 8 == 0 else logits.argmax(-1)

    return choose
