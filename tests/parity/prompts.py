"""Recorded conversations against our own tokens for them: what precedes the frames, what follows, what is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from d2vlm_lab.data.batch import Clip, PromptFormat, encode_prompt
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.model.d2vlm import D2VLM

from .compare import EXACT, Found, Row, compare, read_json

# how the authors' code also writes a prompt, and this library does not
FRAMES_LAST = "frames after the question"
NO_BREAK = "no line break after the frames"


def prompt_rows(model: D2VLM, path: Path) -> Found:
    """Conversations of one round as ids and labels."""
    rows, skipped = [], []
    for n, case in enumerate(read_json(path)):
        name, talk, result = f"sft/{path.stem}/{n}", case["conversations"], case["result"]
        if reason := "their code fails on it" if result is None else set_aside(talk):
            skipped.append(f"{name}: {reason}")
        else:
            rows += text_rows(model, name, "", talk, {
                "before": result["input_ids_part1"][:-1], "ids": result["input_ids_part2"],
                "labels": result["labels_part2"]})
    return rows, skipped


def set_aside(talk: list[dict]) -> str:
    """Why a conversation is not compared, or nothing: its rounds would be joined here, and are not there."""
    return "several rounds" if len(talk) > 2 else ""


def text_rows(model: D2VLM, case: str, suffix: str, talk: list[dict], theirs: dict[str, list[int]]) -> list[Row]:
    """Our own tokens for a question and its answer, in the form in which theirs were written."""
    human = talk[0]["value"].strip()
    frames_last = not human.startswith("<image>") and theirs["before"] != model.tokenizer.encode(model.prompt.before)
    form, question, compat = as_asked(model.prompt, human, frames_last)
    one = Clip(torch.zeros(1), np.zeros(1))
    prompt = encode_prompt(question, [(0, 0)] * question.count(EVIDENCE), one, model.tokenizer, form)
    said = talk[1]["value"].strip().removesuffix(form.stop)
    answer = model.tokenizer.encode(said + form.stop, add_special_tokens=False)
    ours = {"before": model.tokenizer.encode(form.before), "ids": prompt.ids + answer, "labels": prompt.labels + answer}
    return [compare(case, f"{name}{suffix}", ours[name], theirs[name], **EXACT, compat=compat) for name in ours]


def as_asked(form: PromptFormat, human: str, frames_last: bool) -> tuple[PromptFormat, str, str | None]:
    """Their message as a format of ours and its question; they also put frames last, or break no line after them."""
    ahead, image, question = human.partition("<image>")
    close = form.after.removeprefix("\n")
    if frames_last:
        before = form.before + (ahead if image else f"{human}\n")
        return replace(form, before=before, after=close), question, FRAMES_LAST
    if image and not question.startswith("\n"):
        return replace(form, after=close), question, NO_BREAK
    return form, (question or human).strip(), None
