"""Grounded decoding: when `<evi>` is predicted, what is seen in its interval enters the model with it.

`steps` is the loop, one token at a time for every text that still runs; `generate` runs it to the end and reads the
answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.generation import logits_process

from ..data.batch import Batch, Clip, Text, collate, to_seconds
from ..data.plan import packing_of
from ..data.spelled import FIRST, decode, read_times
from ..ideas.evidence import EVIDENCE, GroundedAnswer, Interval, parse
from ..ideas.intervals import pick
from ..ideas.symbols import SYMBOLS
from .backbone import logits_of, position_limit
from .d2vlm import D2VLM
from .folding import merged
from .growing import start_texts
from .passes import Prefix
from .times.symbols import as_ids, still_in_time

NO_TOKEN = torch.iinfo(torch.long).max  # the repetition penalty leaves out ids that are not in the vocabulary


@dataclass(frozen=True)
class Decoding:
    """Greedy unless a temperature is given.

    What is drawn for a text depends only on the seed, the id of its sample and the number of the token. It is the same
    in any batch, in any shard, and in an evaluation that was interrupted.
    """

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


@dataclass(frozen=True)
class Seen:
    """Where each of R states points in its video."""

    curves: Tensor  # (R, F) similarity of the frames with the state
    intervals: Tensor  # (R, 2) salient frames of the curve


@dataclass
class Step:
    """One new token for each of R texts that still run."""

    rows: Tensor  # (R,) which texts these are
    tokens: Tensor  # (R,)
    written: dict[int, int]  # rows and tokens as numbers: the new token of each text, in this order
    logits: Tensor  # (R, vocabulary)
    embeddings: Tensor  # (R, D) what the token enters the model as
    look: Callable[[], Seen]  # compares the state that predicts the token with every frame

    @cached_property
    def seen(self) -> Seen:
        """The curves and intervals. Only an `<evi>` needs them, so they are computed when somebody asks for them."""
        return self.look()

    @property
    def curves(self) -> Tensor:
        """(R, F) similarity of the frames with the state that predicts the token."""
        return self.seen.curves

    @property
    def intervals(self) -> Tensor:
        """(R, 2) salient frames of the curve."""
        return self.seen.intervals


Chooser = Callable[[Tensor, Tensor, int], Tensor]  # (logits (R, vocabulary), rows (R,), step) -> tokens (R,)


def generate(model: D2VLM, clips: Sequence[Clip], prompts: Sequence[Sequence[Text]],
             decoding: Decoding | None = None, questions: Sequence[str | None] | None = None,
             names: Sequence[str] = (), prefix: Prefix | None = None) -> list[Generated]:
    """Answers to every prompt of every clip, in order; `names` are the ids of their samples.

    With a `prefix` the frames were read before, and only the timestamps of the clips are used.
    """
    decoding = decoding or Decoding()
    batch = collate(clips, prompts, model.tokenizer, model.prompt, questions, names)
    packing_of(batch)  # made before the batch is on the device, where making it would mean waiting
    batch = batch.to(model.device)
    evidence_id = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    ids: list[list[int]] = [[] for _ in batch.ids]
    pointing: list[tuple[int, Tensor, Tensor]] = []  # for each `<evi>` its text, its interval and its curve
    with merged(model.language):
        for step in steps(model, batch, chooser(model, batch, decoding), decoding.max_new_tokens, prefix):
            for i, (row, token) in enumerate(step.written.items()):
                ids[row].append(token)
                if token == evidence_id and model.time_symbols is None:
                    pointing.append((row, step.intervals[i], step.curves[i]))

    # Only now is the evidence fetched from the device, all of it at once.
    evidence: list[list[Evidence]] = [[] for _ in batch.ids]
    if pointing:
        rows, intervals, curves = zip(*pointing)
        times = [clip.timestamps for clip, group in zip(clips, prompts) for _ in group]
        for row, interval, curve in zip(rows, torch.stack(intervals).tolist(), torch.stack(curves).cpu().numpy()):
            evidence[row].append(read_evidence(interval, curve, times[row]))
    return [read_answer(model, written, pointed_to) for written, pointed_to in zip(ids, evidence)]


@torch.no_grad()
def steps(model: D2VLM, batch: Batch, choose: Chooser, limit: int, prefix: Prefix | None = None) -> Iterator[Step]:
    """Decode with keys and values kept. A text leaves when it stops, and the rest go on without it.

    Each step waits for the device once, when the new tokens are fetched.
    """
    stops, evidence_id = stop_ids(model), model.tokenizer.convert_tokens_to_ids(EVIDENCE)

    # The frames are read once, and every prompt runs against them. The last state of a prompt predicts the first token.
    prefix = prefix or model.read(batch)
    frames = model.frame_head(prefix.frame_states)
    texts = start_texts(model, batch, prefix, limit)
    running = list(range(len(batch.ids)))  # the numbers of the texts that have not stopped
    rows, video = torch.tensor(running, device=batch.ids.device), batch.video
    in_time = torch.zeros_like(rows, dtype=torch.bool)  # which texts are writing symbols of a time
    most = position_limit(model.language)  # an answer ends where no further token could be read
    room = [limit] * len(running) if most is None else (most - texts.position).tolist()

    for number in range(limit):
        # What? The next token is chosen.
        logits = logits_of(model.language, texts.last).float()
        if model.time_symbols is not None:
            logits = model.time_symbols.beside(logits, texts.last, in_time)
        tokens = choose(logits, rows, number)
        if model.time_symbols is not None:
            tokens = as_ids(tokens, len(logits[0]))
            in_time = still_in_time(in_time, tokens, evidence_id)
        written = dict(zip(running, tokens.tolist()))
        step = Step(rows=rows, tokens=tokens, written=written, logits=logits, embeddings=model.embed_words(tokens),
                    look=partial(look_at, model, prefix, frames, video, texts.head))

        # When? If it is `<evi>`, its state is compared with every frame, and it carries what is seen in the interval
        # that is found: x = embedding(`<evi>`) + m.
        if evidence_id in written.values() and model.time_symbols is None:
            is_evidence = tokens == evidence_id
            carried = model.carried(step.intervals.float(), video, prefix, torch.zeros_like(is_evidence))
            step.embeddings = step.embeddings + (carried * is_evidence[:, None]).to(step.embeddings.dtype)
        yield step

        # Texts that did not stop go on: their new token runs against all that was kept.
        going_on = [i for i, (row, token) in enumerate(written.items())
                    if token not in stops and number + 1 < room[row]]
        if not going_on or number + 1 == limit:
            return
        embeddings = step.embeddings
        if len(going_on) < len(running):
            running, kept = [running[i] for i in going_on], torch.tensor(going_on, device=rows.device)
            rows, video, in_time, embeddings = (each[kept] for each in (rows, video, in_time, embeddings))
            texts.keep(going_on)
        texts.grow(embeddings)


@torch.no_grad()
def look_at(model: D2VLM, prefix: Prefix, frames: Tensor, video: Tensor, states: Tensor) -> Seen:
    """(V, F, D), (R,), (R, D): compare each state with the frames of its video."""
    _, similarity = model.point(states, frames, video)
    curves, intervals = model.formulation.read(similarity, prefix.frame_mask[video], model.salient)
    if model.citing is not None:
        intervals = model.citing(states, prefix.frame_states, video, similarity, prefix.frame_mask[video]).interval
    return Seen(curves, intervals)


def chooser(model: D2VLM, batch: Batch, decoding: Decoding) -> Chooser:
    """A greedy or sampled choice. As in the authors' code, the penalty counts the prompt, and never `<evi>`."""
    evidence_id = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    n_symbols = 0 if model.time_symbols is None else len(SYMBOLS)  # they come last, and are not penalized
    written, penalized = None, decoding.repetition_penalty != 1
    processors = logits_process.LogitsProcessorList()
    if penalized:
        processors.append(logits_process.RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty)))
    if decoding.temperature > 0:
        processors.append(logits_process.TemperatureLogitsWarper(float(decoding.temperature)))
    if decoding.top_p < 1:
        processors.append(logits_process.TopPLogitsWarper(decoding.top_p))
    if penalized:
        ids = torch.cat([batch.before_ids[batch.video], batch.ids], 1)
        exists = torch.cat([batch.before_mask[batch.video], batch.mask], 1)
        written = ids.masked_fill(~exists | (ids == evidence_id), NO_TOKEN)  # (N, T) what the penalty counts
    if decoding.temperature > 0:
        names = batch.names or [str(number) for number in range(len(batch.ids))]
        chances = [named_generator(f"{decoding.seed} {name}").random(decoding.max_new_tokens) for name in names]
        chances = torch.tensor(np.stack(chances), device=batch.ids.device)  # (N, max_new_tokens)

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        nonlocal written
        scores = processors(written[rows] if penalized else None, logits)
        tokens = draw(scores, chances[rows, step]) if decoding.temperature > 0 else scores.argmax(-1)
        if penalized:
            written = F.pad(written, (0, 1), value=NO_TOKEN)
            written[rows, -1] = tokens.masked_fill((tokens == evidence_id) | (tokens >= len(logits[0]) - n_symbols),
                                                   NO_TOKEN)
        return tokens

    return choose


def named_generator(name: str) -> np.random.Generator:
    """A source of random numbers that depend only on its name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()))


def draw(scores: Tensor, chances: Tensor) -> Tensor:
    """(R, vocabulary), (R,) in [0, 1) -> (R,) tokens: where the summed probability of likelier tokens passes it."""
    p, order = scores.double().softmax(-1).sort(dim=-1, descending=True, stable=True)
    return order.gather(-1, pick(p, chances)[:, None]).squeeze(-1)


def stop_ids(model: D2VLM) -> set[int]:
    """The tokens that end an answer: the stop of the prompt, that of the tokenizer, those that the language model
    names.

    Ids in a config are believed only if the tokenizer has a special token with this id; some configs name any number.
    """
    words, named = model.tokenizer, model.language.generation_config.eos_token_id
    named = [] if named is None else [named] if isinstance(named, int) else named
    stop = words.encode(model.prompt.stop, add_special_tokens=False)[:1]
    return {*stop, *(i for i in (words.eos_token_id, *named) if i in words.added_tokens_decoder)}


def read_evidence(interval: Sequence[float], curve: np.ndarray, timestamps: np.ndarray) -> Evidence:
    """What an `<evi>` points to, from its interval in frames and its curve, which may be padded."""
    first, last = map(round, interval)
    curve = curve[:len(timestamps)]
    return Evidence(interval=to_seconds(interval, timestamps), frames=(first, last), curve=curve,
                    confidence=float(curve[first:last + 1].mean()))


def read_answer(model: D2VLM, ids: list[int], evidence: list[Evidence]) -> Generated:
    """Token ids as an answer; a stop token at their end is not part of it."""
    finished = bool(ids) and ids[-1] in stop_ids(model)
    said = ids[:-1] if finished else ids
    text = words = decode(model.tokenizer, [token for token in said if token < FIRST])
    intervals = [each.interval for each in evidence]
    if model.time_symbols is not None:
        text = decode(model.tokenizer, said)
        intervals = read_times(said, model.tokenizer.convert_tokens_to_ids(EVIDENCE))
    answer = parse(words, intervals, model.method.style)
    return Generated(text=text, answer=answer, evidence=tuple(evidence), ids=tuple(ids), finished=finished)
