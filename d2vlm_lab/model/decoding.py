"""Grounded decoding: when `<evi>` is predicted, what is seen in its interval enters the model with it.

`steps` is the loop, one token at a time for every text that still runs; `generate` runs it to the end and reads the
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.generation import logits_process

from ..data.batch import Batch, Clip, Text, collate, to_seconds
from ..ideas.evidence import EVIDENCE, GroundedAnswer, Interval, parse
from .backbone import logits_of
from .d2vlm import D2VLM
from .passes import HEAD_LAYER, decode, one_pass, positions, text_positions

NO_TOKEN = torch.iinfo(torch.long).max  # the repetition penalty leaves out ids that are not in the vocabulary


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
    """One new token for each of R texts that still run."""

    rows: Tensor  # (R,) which texts these are
    tokens: Tensor  # (R,)
    logits: Tensor  # (R, vocabulary)
    curves: Tensor  # (R, F) similarity of the frames with the state that predicts the token
    intervals: Tensor  # (R, 2) salient frames of the curve
    embeddings: Tensor  # (R, D) what the token enters the model as


Chooser = Callable[[Tensor, Tensor, int], Tensor]  # (logits (R, vocabulary), rows (R,), step) -> tokens (R,)


def generate(model: D2VLM, clips: Sequence[Clip], prompts: Sequence[Sequence[Text]],
             decoding: Decoding | None = None, questions: Sequence[str | None] | None = None) -> list[Generated]:
    """Answers to every prompt of every clip, in order."""
    decoding = decoding or Decoding()
    batch = collate(clips, prompts, model.tokenizer, model.prompt, questions).to(model.device)
    evidence_id = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    ids: list[list[int]] = [[] for _ in batch.ids]
    evidence: list[list[Evidence]] = [[] for _ in batch.ids]
    video = batch.video.tolist()
    for step in steps(model, batch, chooser(model, batch, decoding), decoding.max_new_tokens):
        for i, (row, token) in enumerate(zip(step.rows.tolist(), step.tokens.tolist())):
            ids[row].append(token)
            if token == evidence_id:
                evidence[row].append(read_evidence(step, i, clips[video[row]].timestamps))
    return [read_answer(model, written, pointed_to) for written, pointed_to in zip(ids, evidence)]


@torch.no_grad()
def steps(model: D2VLM, batch: Batch, choose: Chooser, limit: int) -> Iterator[Step]:
    """Decode with keys and values kept. A text leaves when it stops, and the rest go on without it."""
    stop, evidence_id = (model.tokenizer.convert_tokens_to_ids(token) for token in (model.prompt.stop, EVIDENCE))

    # The frames are read once, and every prompt runs against them. Its last state predicts the first token.
    prefix = model.read(batch)
    frames = model.frame_head(prefix.frame_states)
    states = one_pass(model.language, batch, prefix, model.embed(batch, prefix))
    rows = torch.arange(len(batch.ids), device=batch.ids.device)
    before = prefix.mask[batch.video]
    column = batch.mask.shape[1] - 1 - batch.mask.flip(1).int().argmax(1)  # of the last token of each prompt
    position = text_positions(batch, before)[rows, column]
    head, last = states.head[rows, column], states.last[rows, column]
    mask = torch.cat([before, batch.mask], 1)

    for number in range(limit):
        # When? The state is compared with every frame, as if the next token were `<evi>`.
        video = batch.video[rows]
        similarity = model.compare(model.evidence_head(head), frames, video).float()
        curves, intervals = model.formulation.read(similarity, prefix.frame_mask[video], model.salient)

        # What? The next token is chosen. If it is `<evi>`, it carries what is seen there: x = embedding(`<evi>`) + m.
        logits = logits_of(model.language, last).float()
        tokens = choose(logits, rows, number)
        embeddings = model.embed_words(tokens)
        if (is_evidence := tokens == evidence_id).any():
            meaning = model.meaning(intervals.float(), video, prefix, torch.zeros_like(is_evidence))
            embeddings = embeddings + (meaning * is_evidence[:, None]).to(embeddings.dtype)
        yield Step(rows=rows, tokens=tokens, logits=logits, curves=curves, intervals=intervals, embeddings=embeddings)

        # Texts that did not stop go on: their new token runs against all that was kept.
        going_on = (tokens != stop).nonzero().flatten()
        if len(going_on) == 0 or number + 1 == limit:
            return
        if len(going_on) < len(rows):
            prefix.cache.batch_select_indices(going_on)
        rows, position = rows[going_on], position[going_on] + 1
        mask = torch.cat([mask[going_on], mask.new_ones(len(going_on), 1)], 1)
        layers = decode(model.language, embeddings[going_on, None], mask[:, None], position[:, None], prefix.cache,
                        positions(mask[:, :-1]))
        head, last = layers[HEAD_LAYER][:, 0], layers[-1][:, 0]


def chooser(model: D2VLM, batch: Batch, decoding: Decoding) -> Chooser:
    """A greedy or sampled choice. As in the authors' code, the penalty counts the prompt, and never `<evi>`."""
    evidence_id = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    processors = logits_process.LogitsProcessorList()
    if decoding.repetition_penalty != 1:
        processors.append(logits_process.RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty)))
    if decoding.temperature > 0:
        processors.append(logits_process.TemperatureLogitsWarper(float(decoding.temperature)))
    if decoding.top_p < 1:
        processors.append(logits_process.TopPLogitsWarper(decoding.top_p))
    generator = torch.Generator(batch.ids.device).manual_seed(decoding.seed)
    ids = torch.cat([batch.before_ids[batch.video], batch.ids], 1)
    exists = torch.cat([batch.before_mask[batch.video], batch.mask], 1)
    written = ids.masked_fill(~exists | (ids == evidence_id), NO_TOKEN)  # (N, T) what the penalty counts

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        nonlocal written
        scores = processors(written[rows], logits)
        tokens = draw(scores, generator) if decoding.temperature > 0 else scores.argmax(-1)
        written = F.pad(written, (0, 1), value=NO_TOKEN)
        written[rows, -1] = tokens.masked_fill(tokens == evidence_id, NO_TOKEN)
        return tokens

    return choose


def draw(scores: Tensor, generator: torch.Generator) -> Tensor:
    """(R, vocabulary) -> (R,) tokens drawn by their probability, sorted so that a seed keeps giving the same answer."""
    p, order = scores.softmax(-1).sort(-1, descending=True)
    return order.gather(-1, torch.multinomial(p, 1, generator=generator)).squeeze(-1)


def read_evidence(step: Step, i: int, timestamps: np.ndarray) -> Evidence:
    """Where the i-th token of a step points."""
    first, last = step.intervals[i].tolist()
    curve = step.curves[i, :len(timestamps)].cpu().numpy()
    return Evidence(interval=to_seconds((first, last), timestamps), frames=(first, last), curve=curve,
                    confidence=float(curve[first:last + 1].mean()))


def read_answer(model: D2VLM, ids: list[int], evidence: list[Evidence]) -> Generated:
    """Token ids as an answer; a stop token at their end is not part of it."""
    finished = bool(ids) and ids[-1] == model.tokenizer.convert_tokens_to_ids(model.prompt.stop)
    text = model.tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=False)
    answer = parse(text, [each.interval for each in evidence], model.method.style)
    return Generated(text=text, answer=answer, evidence=tuple(evidence), ids=tuple(ids), finished=finished)
