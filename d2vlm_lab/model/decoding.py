"""Grounded decoding: when `<evi>` is chosen, what was seen in its interval enters the model with it.

`steps` is the loop, one token for every text at a time; `generate` runs it to the end and reads the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.batch import Batch, Clip, Text, collate, to_seconds
from ..ideas.evidence import EVIDENCE, GroundedAnswer, Interval, parse
from .d2vlm import D2VLM, HEAD_LAYER, causal, follow, share


@dataclass(frozen=True)
class Decoding:
    """Greedy unless a temperature is given."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Evidence:
    """What one generated `<evi>` points to."""

    interval: Interval  # seconds
    frames: tuple[int, int]
    curve: np.ndarray  # (F,) probability of each frame
    confidence: float  # mean probability inside the interval


@dataclass(frozen=True)
class Generated:
    text: str  # as written, evidence tokens included
    answer: GroundedAnswer
    evidence: tuple[Evidence, ...]  # one per `<evi>`, in reading order
    ids: tuple[int, ...]
    finished: bool  # False where the token limit cut it off


@dataclass
class Step:
    """One new token for each of R running texts."""

    rows: Tensor  # (R,) which texts these are
    tokens: Tensor  # (R,)
    logits: Tensor  # (R, vocabulary)
    curves: Tensor  # (R, F) similarity of the frames with the state that chose the token
    intervals: Tensor  # (R, 2) salient frames of the curve
    embeddings: Tensor | None = None  # (R, D) what the token enters the model as; set when the next step is taken


Chooser = Callable[[Tensor, Tensor, int], Tensor]  # (logits (R, vocabulary), rows (R,), step) -> tokens (R,)


def generate(model: D2VLM, clips: Sequence[Clip], prompts: Sequence[Sequence[Text]],
             decoding: Decoding | None = None, questions: Sequence[str | None] | None = None) -> list[Generated]:
    """Answers to every prompt of every clip, in order."""
    decoding = decoding or Decoding()
    batch = collate(clips, prompts, model.tokenizer, model.prompt, questions).to(model.device)
    evidence_id = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    ids: list[list[int]] = [[] for _ in batch.ids]
    found: list[list[Evidence]] = [[] for _ in batch.ids]
    owner = batch.video.tolist()
    for step in steps(model, batch, chooser(model, batch, decoding), decoding.max_new_tokens):
        tokens = step.tokens.tolist()
        for i, n in enumerate(step.rows.tolist()):
            ids[n].append(tokens[i])
            if tokens[i] == evidence_id:
                found[n].append(_evidence(step, i, clips[owner[n]].timestamps))
    return [_read(model, row, evidence) for row, evidence in zip(ids, found)]


@torch.no_grad()
def steps(model: D2VLM, batch: Batch, choose: Chooser, limit: int) -> Iterator[Step]:
    """Decode with keys and values kept; a text leaves when it stops, and the rest run on without it."""
    stop, evidence_id = (model.tokenizer.convert_tokens_to_ids(t) for t in (model.prompt.stop, EVIDENCE))
    prefix = model.read(batch)
    cache, before = prefix.cache, prefix.mask[batch.video]
    share(cache, batch.video)
    places = follow(batch, before)
    states, _ = model._decode(model.embed(batch, prefix), causal(batch.mask, before), places, cache)
    rows = torch.arange(len(batch.ids), device=batch.ids.device)
    last = batch.mask.shape[1] - 1 - batch.mask.flip(1).int().argmax(1)  # column of the last token of each prompt
    query, final, place = states[HEAD_LAYER][rows, last], states[-1][rows, last], places[rows, last]
    mask = torch.cat([before, batch.mask], 1)
    output = model.language.get_output_embeddings()
    for number in range(limit):
        video = batch.video[rows]
        frame_mask = prefix.frame_mask[video]
        similar = model.compare(model.evidence_head(query), prefix.frames, video).float()
        curves, intervals = model.formulation.read(similar, frame_mask, model.salient)
        logits = output(final).float()
        tokens = choose(logits, rows, number)
        step = Step(rows, tokens, logits, curves, intervals)
        running = tokens != stop
        step.embeddings = model._word_embeddings(tokens)
        if (is_evidence := tokens == evidence_id).any():
            seen = model.meaning(step.intervals.float(), video, prefix, torch.zeros_like(is_evidence))
            step.embeddings = step.embeddings + (seen * is_evidence[:, None]).to(step.embeddings.dtype)
        yield step
        if not running.any() or number + 1 == limit:
            return
        keep = running.nonzero().flatten()
        if len(keep) < len(rows):
            cache.batch_select_indices(keep)
        rows, place = rows[keep], place[keep] + 1
        mask = torch.cat([mask[keep], torch.ones(len(keep), 1, dtype=torch.bool, device=mask.device)], 1)
        states, _ = model._decode(step.embeddings[keep, None], mask[:, None], place[:, None], cache)
        query, final = states[HEAD_LAYER][:, 0], states[-1][:, 0]


def chooser(model: D2VLM, batch: Batch, decoding: Decoding) -> Chooser:
    """Greedy or sampled choice; the repetition penalty counts the prompt and spares `<evi>`."""
    generator = torch.Generator(batch.ids.device).manual_seed(decoding.seed)
    seen = None
    if decoding.repetition_penalty != 1:
        size = model.language.get_output_embeddings().weight.shape[0]
        seen = torch.zeros(len(batch.ids), size, dtype=torch.bool, device=batch.ids.device)
        seen.scatter_(1, batch.ids, batch.mask)
        seen[batch.video.new_tensor(range(len(seen)))[:, None], batch.before_ids[batch.video]] = True
        spared = model.tokenizer.convert_tokens_to_ids(EVIDENCE)

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        if seen is not None:
            seen[:, spared] = False
            weaker = torch.where(logits > 0, logits / decoding.repetition_penalty, logits * decoding.repetition_penalty)
            logits = torch.where(seen[rows], weaker, logits)
        tokens = pick(logits, decoding.temperature, decoding.top_p, generator)
        if seen is not None:
            seen[rows, tokens] = True
        return tokens

    return choose


def pick(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    """(R, vocabulary) -> (R,): the best token, or one drawn from the smallest set that holds `top_p`."""
    if temperature == 0:
        return logits.argmax(-1)
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    p = p.masked_fill(p.cumsum(-1) - p >= top_p, 0)
    return order.gather(-1, torch.multinomial(p, 1, generator=generator)).squeeze(-1)


def _evidence(step: Step, i: int, timestamps: np.ndarray) -> Evidence:
    first, last = step.intervals[i].tolist()
    curve = step.curves[i, :len(timestamps)].cpu().numpy()
    return Evidence(to_seconds((first, last), timestamps), (first, last), curve, float(curve[first:last + 1].mean()))


def _read(model: D2VLM, ids: list[int], evidence: list[Evidence]) -> Generated:
    stop = model.tokenizer.convert_tokens_to_ids(model.prompt.stop)
    finished = bool(ids) and ids[-1] == stop
    text = model.tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=False)
    answer = parse(text, [e.interval for e in evidence], model.method.style)
    return Generated(text, answer, tuple(evidence), tuple(ids), finished)
