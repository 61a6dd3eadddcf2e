"""Recorded conversations against the tokens that this library makes of them: before the frames, after, and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from d2vlm_lab.data.batch import Clip, PromptFormat, encode_prompt
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.model.d2vlm import D2VLM

from .compare import EXACT, Found, Row, compare, read_json

# the authors' code also writes prompts in these ways, and this library does not
FRAMES_LAST = "frames after the question"
NO_BREAK = "no line break after the frames"


def prompt_rows(model: D2VLM, path: Path) -> Found:
    """Conversations of one round as ids and labels."""
    rows, skipped = [], []
    for n, case in enumerate(read_json(path)):
        name, talk, result = f"sft/{path.stem}/{n}", case["conversations"], case["result"]
        if reason := "the authors' code fails on it" if result is None else set_aside(talk):
            skipped.append(f"{name}: {reason}")
        else:
            rows += text_rows(model, name, "", talk, {
                "before": result["input_ids_part1"][:-1], "ids": result["input_ids_part2"],
                "labels": result["labels_part2"]})
    return rows, skipped


def set_aside(talk: list[dict]) -> str:
    """Why a conversation is not compared, or nothing: this library would join its rounds, the authors' does not."""
    return "several rounds" if len(talk) > 2 else ""


def text_rows(model: D2VLM, case: str, suffix: str, talk: list[dict], recorded: dict[str, list[int]]) -> list[Row]:
    """The tokens of a question and its answer, written in the form of the recorded ones."""
    human = talk[0]["value"].strip()
    frames_last = not human.startswith("<image>") and recorded["before"] != model.tokenizer.encode(model.prompt.before)
    form, question, compat = as_asked(model.prompt, human, frames_last)
    one = Clip(torch.zeros(1), np.zeros(1))
    prompt = encode_prompt(question, [(0, 0)] * question.count(EVIDENCE), one, model.tokenizer, form)
    said = talk[1]["value"].strip().removesuffix(form.stop)
    answer = model.tokenizer.encode(said + form.stop, add_special_tokens=False)
    before = model.tokenizer.encode(form.before)
    tokens = {"before": before, "ids": prompt.ids + answer, "labels": prompt.labels + answer}
    return [compare(case, f"{name}{suffix}", tokens[name], recorded[name], **EXACT, compat=compat) for name in tokens]


def as_asked(form: PromptFormat, human: str, frames_last: bool) -> tuple[PromptFormat, str, str | None]:
    """A message of the authors as a format and a question. Some have the frames last, or no line break after them."""
    ahead, image, question = human.partition("<image>")
    close = form.after.removeprefix("\n")
    if frames_last:
        before = form.before + (ahead if image else f"{human}\n")
        return replace(form, before=before, after=close), question, FRAMES_LAST
    if image and not question.startswith("\n"):
        return replace(form, after=close), question, NO_BREAK
    return form, (question or human).strip(), None
