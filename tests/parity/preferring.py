"""Recorded preferences: a chosen and a rejected answer that share a video, scored as two texts behind one prefix.

The authors pack both into one sequence with a mask between them (`packing.py`); the numbers are the same.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from d2vlm_lab.data.batch import GROUNDED, IGNORE, QUESTION, REFERENCED, Batch, Clip, Text, collate
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.ideas.grounding import frame_targets, interval_log_probability
from d2vlm_lab.ideas.preference import fpo_loss
from d2vlm_lab.learning.fpo import log_probabilities
from d2vlm_lab.model.d2vlm import D2VLM, Output

from .compare import LOG_PROBABILITY, LOSS, STATE, TARGET, Found, Row, compare, pairs, read_arrays, read_json
from .heard import frame_rows, images_of
from .packing import layout_rows, pack, packed_rows, packing_rows
from .training import gradient_rows

BRANCHES = {"chosen": "tgt", "rejected": "tgt_re"}  # and where the events of each are
RECORDED_BRANCHES = {"chosen": "chosen", "rejected": "reject"}
TERM = {"atol": 3e-4}
ENDLESS = "the first token is not scored, an end neither trained nor scored"


def preference_case(model: D2VLM, folder: Path) -> Found:
    """Log-probabilities of both answers, the preference term, the losses on the chosen one, and their gradients."""
    if folder.is_file():
        return packing_rows(model, folder), []
    case = f"fpo/{folder.name}"
    inputs, values = read_json(folder / "inputs.json"), read_json(folder / "outputs.json")
    arrays = read_arrays(folder / "outputs.npz")
    rows, features = frame_rows(model, case, images_of(folder), inputs, arrays)
    texts = [[branch_text(model, inputs, n, branch) for branch in BRANCHES] for n in range(len(features))]
    batch = collate([Clip(clip, np.arange(len(clip))) for clip in features], texts, model.tokenizer, model.prompt,
                    [each[0] for each in inputs["query"]])
    batch = replace(batch, preferred=torch.arange(len(texts)).mul(2).repeat_interleave(2))
    model.zero_grad()
    out = model(batch)
    rows += score_rows(case, batch, out, inputs, values)
    rows += chosen_rows(case, batch, out, model.method.target_base, arrays, values)
    total = log_probabilities(out, batch, model.method).total()
    terms = fpo_loss(total[0::2], total[1::2])
    add = partial(compare, case)
    rows += [add(f"fpo_term_{n}", terms[n], recorded["fpo_term"], **TERM)
             for n, recorded in enumerate(values["fpo_per_sample"])]
    whole = {"loss_fpo": (terms.mean(), TERM), "loss_total": (out.loss + terms.mean(), TERM | LOSS)}
    rows += [add(name, loss, values[name], **tolerance) for name, (loss, tolerance) in whole.items()]
    (out.loss + terms.mean()).backward()
    rows += gradient_rows(model, add, values, folder)
    if "pos_id" in inputs:
        for n, clip in enumerate(features):
            rows += sequence_rows(model, case, inputs, arrays, n, len(clip))
    return rows, []


def sequence_rows(model: D2VLM, case: str, inputs: dict, arrays: dict, n: int, frames: int) -> list[Row]:
    """Sample n as the one sequence that the authors make of it."""
    endless = _endless(inputs, n)
    shared = [next(i for i in inputs["labels_part2"][n] if i != IGNORE)] if endless else []
    packed = pack(*(shared + _scored(inputs, n, branch) for branch in BRANCHES), endless)
    recorded = {name: inputs[name][n] for name in ("pos_id", "special_mask_list", "conflict_events")}
    recorded["tgt"] = [inputs[key][n] for key in BRANCHES.values()]
    rows = packed_rows(model, case, f"_{n}", packed, recorded)
    text = sum(inputs["attention_mask1"][n]) - 1
    return rows + layout_rows(case, n, packed, inputs["relative_offset"][n], slice(text, text + frames), arrays,
                              endless)


def branch_text(model: D2VLM, inputs: dict, n: int, branch: str) -> Text:
    """Sample n with one of its two answers."""
    ids = [i for i, exists in zip(inputs["input_ids_part2"][n], inputs["attention_mask2"][n]) if exists]
    start = next(i for i, label in enumerate(inputs["labels_part2"][n]) if label != IGNORE)
    answer = _scored(inputs, n, branch)
    if _endless(inputs, n):  # the first token stands before what is scored
        answer = [ids[start], *answer]
    whole = ids[:start] + answer
    evidence = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    source, target = pairs(inputs["src"][n]), pairs(inputs[BRANCHES[branch]][n])
    return Text(whole, [IGNORE] * start + answer, [i for i, token in enumerate(whole) if token == evidence],
                source + target + target,
                [QUESTION] * len(source) + [GROUNDED] * len(target) + [REFERENCED] * len(target),
                [-1] * len(source) + 2 * [*range(len(target))])


def score_rows(case: str, batch: Batch, out: Output, inputs: dict, values: dict) -> list[Row]:
    """What the words and the intervals of each answer are worth, as sums; intervals are not rounded here."""
    words = out.logits.log_softmax(-1).gather(1, out.targets[:, None]).squeeze(1)
    events = batch.in_answer
    targets = frame_targets(batch.interval[events], out.similarity.shape[1])
    intervals = interval_log_probability(out.similarity, targets, out.frame_mask)
    rows = []
    for n, recorded in enumerate(values["fpo_per_sample"]):
        for i, branch in enumerate(BRANCHES):
            row = n * len(BRANCHES) + i
            computed = {"text": words[out.target_row == row][-len(_scored(inputs, n, branch)):].sum(),
                    "grounding": intervals[batch.row[events] == row].sum()}
            computed["total"] = computed["text"] + computed["grounding"]
            rows += [compare(case, f"{branch}_{name}_{n}", computed[name], expected, **LOG_PROBABILITY,
                             compat=ENDLESS if _endless(inputs, n) else None)
                     for name, expected in recorded[branch].items()]
    return rows


def chosen_rows(case: str, batch: Batch, out: Output, base: float, arrays: dict, values: dict) -> list[Row]:
    """The supervised losses, which only the chosen answers enter, and what they are made of."""
    losses = {"loss_lm": "answer", "loss_grounding": "grounding", "loss_consistency": "consistency"}
    rows = [compare(case, name, out.parts[part], values[name], **LOSS) for name, part in losses.items()]
    events = batch.in_answer
    owner, intervals = batch.row[events], batch.interval[events]
    for n, clip in enumerate(batch.features):
        chosen = owner == n * len(BRANCHES)
        computed = {"sim_logits": (out.similarity[chosen, :len(clip)], STATE),
                    "soft_targets": (frame_targets(intervals[chosen].round(), len(clip), base), TARGET)}
        rows += [compare(case, f"{name}_{n}", value, arrays[f"{name}_{n}"], **tolerance)
                 for name, (value, tolerance) in computed.items() if f"{name}_{n}" in arrays]
    return rows


def _scored(inputs: dict, n: int, branch: str) -> list[int]:
    """The tokens of an answer whose probability counts."""
    return inputs["conflict_events"][n][-1][RECORDED_BRANCHES[branch]]["text"]["logit_token_id"]


def _endless(inputs: dict, n: int) -> bool:
    """Whether the two answers share their first and last token, as they do where only the text differs."""
    return inputs["conflict_events"][n][-1]["chosen"]["text"]["input_index"][0] == 0
