"""Recorded training batches, run through the model here: states, prompts, losses, gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from d2vlm_lab.data.batch import GROUNDED, QUESTION, REFERENCED, Batch, Clip, Text, collate
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.consistency import consistency_loss
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.ideas.grounding import frame_targets, grounding_loss
from d2vlm_lab.model.d2vlm import D2VLM, Output
from d2vlm_lab.model.passes import HEAD_LAYER
from d2vlm_lab.model.reference import released_name

from .compare import EXACT, LOSS, STATE, TARGET, Found, Row, compare, pairs, read_arrays, read_json
from .heard import Call, frame_rows, images_of, listen
from .prompts import set_aside, text_rows

GRADIENT = 1e-4  # of the largest element of the tensor
NORM = {"rtol": 1e-4, "atol": 1e-6}
# what the authors' code does and this library does not do
PADDING_INSIDE = "padding between frames and text takes positions"
AS_GIVEN = "reversed and outside intervals are taken as they are"
LONE_IGNORED = "a question event with one number adds nothing"

Add = Callable[..., Row]  # `compare` for one case


def training_case(model: D2VLM, folder: Path) -> Found:
    """One batch forwards and backwards."""
    case = f"sft/{folder.name}"
    inputs, values = read_json(folder / "inputs.json"), read_json(folder / "outputs.json")
    arrays = read_arrays(folder / "outputs.npz")
    rows, features = frame_rows(model, case, images_of(folder), inputs, arrays)
    skipped = []
    for n, talk in enumerate(note["conversations"] for note in inputs.get("annotations", ())):
        if reason := set_aside(talk):
            skipped.append(f"{case}, prompt of sample {n}: {reason}")
        else:
            rows += text_rows(model, case, f"_{n}", talk, _recorded_text(inputs, n))
    batch, starts, compat = recorded_batch(model, inputs, features)
    model.zero_grad()
    with listen(model.language.get_decoder()) as calls:
        out = model(batch)
    out.loss.backward()
    add = partial(compare, case, compat=compat)
    rows += [add(name, loss, values[name], **LOSS) for name, loss in {
        "loss_total": out.loss, "loss_lm": out.parts["answer"], "loss_grounding": out.parts["grounding"],
        "loss_consistency": out.parts["consistency"]}.items() if name in values]
    rows += state_rows(model, add, batch, starts, calls, arrays)
    rows += evidence_rows(model, add, batch, starts, out, arrays, values)
    return rows + gradient_rows(model, add, values, folder), skipped


def recorded_batch(model: D2VLM, inputs: dict, features: list[Tensor]) -> tuple[Batch, list[int], str | None]:
    """Recorded ids and intervals as a batch; where each text starts in the recorded layout; the quirk that it shows."""
    evidence = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    texts, before, compat = [], [], None
    for n, clip in enumerate(features):
        recorded = _recorded_text(inputs, n)
        source, target = pairs(inputs["src"][n]), pairs(inputs["tgt"][n])
        where = [i for i, token in enumerate(recorded["ids"]) if token == evidence]
        if len(inputs["src"][n] or ()) == 1:
            where, compat = where[1:], LONE_IGNORED
        if len(where) != len(source) + 2 * len(target):
            raise LabError(f"sample {n}: {len(where)} {EVIDENCE} for {len(source)} question events "
                           f"and {len(target)} target events")
        if any(not 0 <= start <= end <= len(clip) - 0.5 for start, end in source + target):
            compat = AS_GIVEN
        roles = [QUESTION] * len(source) + [GROUNDED] * len(target) + [REFERENCED] * len(target)
        events = [-1] * len(source) + 2 * [*range(len(target))]
        texts.append([Text(recorded["ids"], recorded["labels"], where, source + target + target, roles, events)])
        before.append(torch.tensor(recorded["before"]))
    clips = [Clip(clip, np.arange(len(clip))) for clip in features]
    batch = collate(clips, texts, model.tokenizer, model.prompt, [each[0] for each in inputs["query"]])
    # in part 1, one placeholder becomes F frames; what pads it stays between them and part 2
    starts = [len(ids) - 1 + len(clip) for ids, clip in zip(inputs["input_ids_part1"], features)]
    if any(start > len(ids) + len(clip) for start, ids, clip in zip(starts, before, features)):
        compat = PADDING_INSIDE
    return replace(
        batch, before_ids=pad_sequence(before, batch_first=True), before_mask=_exists(before),
        position_ids=torch.tensor(starts)[:, None] + torch.arange(batch.ids.shape[1])), starts, compat


def state_rows(model: D2VLM, add: Add, batch: Batch, starts: list[int], calls: list[Call],
               arrays: dict[str, np.ndarray]) -> list[Row]:
    """Embeddings, masks and states of frames and text, at the places where the recorded ones are."""
    prefix, text = calls
    layer, output = model.method.semantic_layer, model.language.get_output_embeddings()
    read = torch.cat([batch.before_mask, _exists(batch.features)], 1)
    kept = [torch.cat([a, b]) for a, b in zip(read, batch.mask)]  # prefix and text side by side, both padded
    places = [np.r_[:int(a.sum()), start:start + int(b.sum())] for a, b, start in zip(read, batch.mask, starts)]

    def row(name: str, computed: Tensor, **tolerance) -> Row:
        """(N, prefix + text, ...), both without their padding."""
        existing = [values[where] for values, where in zip(computed, kept)]
        recorded = [values[where] for values, where in zip(arrays[name], places)]
        return add(name, torch.cat(existing), np.concatenate(recorded), **tolerance)

    def both(read_out: Callable[[Call], Tensor]) -> Tensor:
        return torch.cat([read_out(prefix), read_out(text)], 1)

    read_outs = {"pass2_inputs_embeds": lambda call: call.embeddings,
            "pass2_hidden6": lambda call: call.states[layer],
            "pass2_hidden_minus2": lambda call: call.states[HEAD_LAYER],
            "pass2_hidden_last_normed": lambda call: call.states[-1],
            "logits": lambda call: output(call.states[-1]),
            "frm_head_out": lambda call: model.frame_head(call.states[HEAD_LAYER]),
            "evi_head_out": lambda call: model.evidence_head(call.states[HEAD_LAYER])}
    rows = [row(name, both(read_out), **STATE) for name, read_out in read_outs.items() if name in arrays]
    if "pass2_mask4d" in arrays:
        seen = torch.cat([F.pad(prefix.attend, (0, text.attend.shape[1])), text.attend], 1)
        computed = [values[kept[n]][:, kept[n]].flatten() for n, values in enumerate(seen)]
        recorded = [(arrays["pass2_mask4d"][n][np.ix_(where, where)] == 0).ravel() for n, where in enumerate(places)]
        rows.append(add("pass2_mask4d", torch.cat(computed), np.concatenate(recorded), **EXACT))
    for n, clip in enumerate(batch.features):
        frames = slice(batch.before_mask.shape[1], batch.before_mask.shape[1] + len(clip))
        states = {f"pass1_hidden6_frames_{n}": prefix.states[layer][n, frames],
                  f"frm_tokens_{n}": model.frame_head(prefix.states[HEAD_LAYER][n, frames])}
        rows += [add(name, value, arrays[name], **STATE) for name, value in states.items() if name in arrays]
    return rows


def evidence_rows(model: D2VLM, add: Add, batch: Batch, starts: list[int], out: Output,
                  arrays: dict[str, np.ndarray], values: dict) -> list[Row]:
    """Evidence states, their similarity with the frames, targets, and each sample's share of the losses."""
    answers = batch.in_answer
    owner, position, intervals = batch.row[answers], batch.column[answers], batch.interval[answers]
    rows, bce, l1 = [], [], []
    states = out.evidence.detach()
    for n, clip in enumerate(batch.features):
        here = owner == n
        first, second = states[here].chunk(2) if here.any() else (states[here], states[here])
        logits = out.similarity.detach()[here, :len(clip)]
        targets = frame_targets(intervals[here].round(), len(clip), model.method.target_base)
        computed = {"evi_tokens": (states[here], STATE), "sim_logits": (logits, STATE),
                "soft_targets": (targets, TARGET), "consistency_first_half": (first, STATE),
                "consistency_second_half": (second, STATE)}
        rows += [add(f"{name}_{n}", value, arrays[f"{name}_{n}"], **tolerance)
                 for name, (value, tolerance) in computed.items() if f"{name}_{n}" in arrays]
        if "evidence_predict_positions" in values:
            rows.append(add(f"evidence_predict_positions_{n}", starts[n] + position[here] - 1,
                            values["evidence_predict_positions"][n], **EXACT))
        if here.any():
            bce.append(float(grounding_loss(logits, targets).mean()))
            l1.append(float(consistency_loss(first, second).mean()))
    shares = {"bce_mean_per_sample": bce, "l1_mean_per_sample": l1}
    return rows + [add(name, share, values[name], **LOSS) for name, share in shares.items() if name in values]


def gradient_rows(model: D2VLM, add: Add, values: dict, folder: Path) -> list[Row]:
    """The norm of every gradient, the gradients that were kept whole, and who gets none."""
    gradients = {released_name(name): p.grad for name, p in model.named_parameters()}
    rows = []
    if norms := values.get("grad_norms"):
        computed = [float(gradients[name].norm()) if gradients[name] is not None else np.nan for name in norms]
        rows.append(add("grad_norms", computed, list(norms.values()), **NORM))
    if "params_without_grad" in values:
        none = {name for name, gradient in gradients.items() if gradient is None}
        recorded = {name.replace("q_bias", "qkv.bias").replace("v_bias", "qkv.bias")
                  for name in values["params_without_grad"]}
        rows.append(add("params_without_grad", len(none ^ recorded), 0, **EXACT))
    if (folder / "grads.npz").exists():
        rows += [add(f"grad {name}", gradients[name], recorded, atol=GRADIENT * float(np.abs(recorded).max()))
                 for name, recorded in read_arrays(folder / "grads.npz").items()]
    return rows


def _recorded_text(inputs: dict, n: int) -> dict[str, list[int]]:
    """Token ids of sample n without padding: what precedes the frames, what follows them, and its labels."""
    def kept(name: str, part: int) -> list[int]:
        return [i for i, exists in zip(inputs[f"{name}_part{part}"][n], inputs[f"attention_mask{part}"][n]) if exists]

    return {"before": kept("input_ids", 1)[:-1], "ids": kept("input_ids", 2), "labels": kept("labels", 2)}


def _exists(sequences: list[Tensor]) -> Tensor:
    return pad_sequence([torch.ones(len(each), dtype=torch.bool) for each in sequences], batch_first=True)
