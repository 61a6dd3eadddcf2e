"""Recorded decodings, run again step by step."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from d2vlm_lab.data.batch import Batch, Clip, collate, encode_prompt
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.decoding import Chooser, Decoding, chooser, steps

from .compare import EXACT, STATE, Found, compare, pairs, read_arrays, read_json
from .heard import frame_rows, listen, listen_to

LONE_FRAME = "a question event with one number is that frame"  # as in the authors' decoding, not in their training


def decoding_case(model: D2VLM, folder: Path) -> Found:
    case, recorded = f"generate/{folder.name}", read_json(folder / "case.json")
    arrays = read_arrays(folder / "tensors.npz")
    rows, features = frame_rows(model, case, [torch.from_numpy(arrays["image"])], recorded, arrays)
    batch, compat = recorded_prompt(model, recorded, features[0])
    add = partial(compare, case, compat=compat)
    image = min(recorded["input_ids"])  # what stands for the frames is no token: a negative number
    ids = [*batch.before_ids[0].tolist(), image, *batch.ids[0].tolist()]
    rows.append(add("input_ids", ids, recorded["input_ids"], **EXACT))
    with listen(model.language.get_decoder()) as calls, listen_to(model.evidence_head) as queries, \
            listen_to(model.frame_head) as keys:
        taken = [(step.curves, step) for step in steps(model, batch, forcing(model, batch, recorded),
                                                       recorded["max_new_tokens"])]
    prefix, prompt, *rest = calls
    values = {
        "generated_ids": (torch.cat([step.tokens for _, step in taken]), EXACT),
        "step_logits": (torch.cat([step.logits for _, step in taken]), STATE),
        "step_similarity": (torch.cat([curves for curves, _ in taken]), STATE),
        "step_interval": (torch.cat([step.intervals for _, step in taken]), EXACT),
        "step_evi_token": (torch.cat(queries), STATE),
        "frame_tokens": (keys[0][0], STATE),
        "cached_frame_hidden6": (prefix.states[model.method.semantic_layer][0, batch.before_ids.shape[1]:], STATE),
        "prefill_inputs_embeds": (torch.cat([prefix.embeddings, prompt.embeddings], 1), STATE),
        "step_inputs_embeds": (torch.cat([call.embeddings[:, 0] for call in rest]), STATE)}
    rows += [add(name, value, arrays[name], **tolerance)
             for name, (value, tolerance) in values.items() if name in arrays]
    if "prefill_mask4d" in arrays:
        seen = torch.cat([F.pad(prefix.attend, (0, batch.ids.shape[1])), prompt.attend], 1)
        rows.append(add("prefill_mask4d", seen, arrays["prefill_mask4d"] == 0, **EXACT))
    if "past_length_per_step" in recorded:
        places = [0, *(int(call.positions) for call in rest)]
        rows.append(add("positions", places, recorded["past_length_per_step"], **EXACT))
    return rows, []


def recorded_prompt(model: D2VLM, recorded: dict, features: Tensor) -> tuple[Batch, str | None]:
    """The recorded question, its events and its video as a batch of one; and the quirk that it shows."""
    question, source = recorded["query"][0][0], recorded["src"][0] or []
    lone = len(source) == 1
    clip = Clip(features, np.arange(len(features)))
    prompt = encode_prompt(question, pairs(source * 2 if lone else source), clip, model.tokenizer, model.prompt)
    batch = collate([clip], [[prompt]], model.tokenizer, model.prompt, [question])
    return batch, LONE_FRAME if lone else None


def forcing(model: D2VLM, batch: Batch, recorded: dict) -> Chooser:
    """Greedy, except at the steps whose token was imposed."""
    choose = chooser(model, batch, Decoding(repetition_penalty=recorded["repetition_penalty"] or 1.0))
    imposed = {int(step): token for step, token in recorded["forced_ids"].items()}

    def follow(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        if step in imposed:
            logits = logits.clone()
            logits[:, imposed[step]] = torch.inf
        return choose(logits, rows, step)

    return follow
