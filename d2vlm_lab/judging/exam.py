"""The exam: held-out questions put to a trained model. Every score that studies compare is computed from it.

`catalogue.py` says what each score means.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ..config import Data, Preference, RunConfig, resolve
from ..data.groups import Collator, Groups, Reader, Rejects, batch_of
from ..data.plan import plan_of
from ..data.rejects import synthesized
from ..data.sample import Sample
from ..data.splits import held_out_questions, reader, splits
from ..data.world import load as load_world
from ..files import peak_megabytes, write_json, write_json_lines
from ..ideas.consistency import spread
from ..ideas.grounding import frame_overlap
from ..learning.fpo import less_likely, log_probabilities
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding
from ..model.device import on_device
from ..model.streaming.memory import Memory
from ..model.streaming.standing import stands
from .in_blocks import predict_in_blocks
from .live_exam import Ask, asked_during, standing_scores
from .mechanisms import are_words, mistakes, needs_of_words
from .metrics.temporal import interval_f1_miou
from .predict import Prediction, predict, with_problems
from .refusals import questions_about_nothing, refusal_scores
from .rivals import rival_scores
from .scores import boundary_errors, caption_scores, rounded_mean, scores_by_task, second_mentions


@dataclass(frozen=True)
class Exam:
    predictions: tuple[Prediction, ...]
    scores: dict[str, float]


def examine(model: D2VLM, config: RunConfig, questions: int, world: str = "") -> Exam:
    """Up to `questions` of each task in `evaluation.tasks`, from the validation half of the data or of `world`."""
    config = replace(config, data=in_world(config.data, world) if world else config.data,
                     evaluation=replace(config.evaluation, samples=questions))
    model = on_device(model)
    _, val = splits(config)
    read = reader(config, model.frames, val.videos)
    samples = readable(held_out_questions(val, config), read)
    ask, memory = asker(model, config), memory_of(config)
    predictions = tuple(ask(samples, read))
    scores = scores_by_task(predictions) | caption_scores(predictions)
    if model.method.style == "interleaved":  # in other styles, a second mention is a slip
        scores |= second_mentions(predictions)
    scores |= boundary_errors(predictions) | mistakes(predictions)
    nothing = readable(questions_about_nothing(val, config), read)
    scores |= refusal_scores(list(ask(nothing, read)), predictions)
    if config.evaluation.live:
        scores |= asked_during(samples, read, ask)
        if model.method.block is not None and stands(model.method):  # otherwise nothing can be said before the end
            scores |= standing_scores(model, [*samples, *nothing], read, memory)
    whole = not config.evaluation.keep_frames  # what follows reads all frames of a video at once
    if whole and config.method.formulation == "sigmoid":  # with other formulations an interval has no probability
        rejects = synthesized(replace(config, seed=0, preference=Preference(rejects=4)))  # the same for every run
        scores |= prefers(model, samples[::4], read, rejects)
    if not config.data.train:
        scores |= rival_scores(predictions, load_world(resolve(config.data.world)).truth("val"))
    if whole:
        scores |= teacher_forced(model, samples[::2], read, mechanisms=config.evaluation.mechanisms)
    return Exam(predictions, scores)


def in_world(data: Data, world: str) -> Data:
    """The same settings for another world, which must be there and is taken as it was made."""
    load_world(resolve(world))
    return replace(data, world=world, world_preset=Data.world_preset, world_settings=Data.world_settings,
                   train=Data.train, val=Data.val, format=Data.format)


def memory_of(config: RunConfig) -> Memory:
    """How much is kept of videos that are read block by block."""
    return Memory(frames=config.evaluation.keep_frames, forget=config.evaluation.forget)


def asker(model: D2VLM, config: RunConfig) -> Ask:
    """How the exam asks: from samples and a reader of their videos to predictions."""
    decoding = Decoding(config.evaluation.max_new_tokens)
    if config.evaluation.keep_frames:
        return partial(predict_in_blocks, model, memory=memory_of(config), decoding=decoding)
    return partial(predict, model, decoding=decoding, batch=config.evaluation.batch)


def readable(samples: Sequence[Sample], read: Reader) -> list[Sample]:
    """The samples whose videos can be read. Videos that cannot be read are printed."""
    tried = list(with_problems(samples, read))
    for problem in dict.fromkeys(problem for _, problem in tried if problem):
        print(f"left out of the exam: {problem}")
    return [sample for sample, problem in tried if not problem]


@torch.no_grad()
def teacher_forced(model: D2VLM, samples: Sequence[Sample], read: Reader, at_once: int = 32,
                   mechanisms: bool = False) -> dict[str, float]:
    """Measured on the true answers: weighted parts of the loss, intervals read correctly, spread of evidence states.

    A part of the loss is a mean over tokens, or over texts: each batch counts as often as it has these.
    """
    values: dict[str, list[tuple[float, int]]] = defaultdict(list)  # each with how often it counts
    states = []
    model.eval()
    for i in range(0, len(samples), at_once):
        batch = batch_of(model, samples[i:i + at_once], read)
        out, plan = model(batch), plan_of(batch)
        texts = len(plan.mentions_by_text.count)
        counts = {"answer": len(out.targets), "grounding": texts, "citing": texts,
                  "consistency": len(plan.pairs_by_text.count)}
        for name, value in out.parts.items():
            values[f"held_out_{name}"].append((float(value), counts[name]))
        states.append(out.evidence.float())
        if len(out.similarity):
            _, spans = model.formulation.read(out.similarity.float(), out.frame_mask, model.salient)
            truth = batch.interval[batch.in_answer].round()
            if out.cited is not None:
                spans = out.cited.interval
                values["proposed_at_0.5"] += [(x, 1) for x in (out.cited.overlap(truth) >= 0.5).float().tolist()]
            values["read_at_0.5"] += [(x, 1) for x in (frame_overlap(spans, truth) >= 0.5).float().tolist()]
        if mechanisms and model.method.style != "digits":
            words = are_words(model, out.targets)
            for name, value in needs_of_words(model, batch, out, words).items():
                values[name].append((value, int(words.sum())))
    scores = {name: sum(x * n for x, n in each) / max(1, sum(n for _, n in each)) for name, each in values.items()}
    if any(map(len, states)):
        scores["spread"] = float(spread(torch.cat(states)))
    return {name: round(score, 4) for name, score in scores.items() if math.isfinite(score)}


@torch.no_grad()
def prefers(model: D2VLM, samples: Sequence[Sample], read: Reader, rejects: Rejects,
            at_once: int = 16) -> dict[str, float]:
    """For each factor, the share of wrong answers that are less likely than the true one, by words and intervals."""
    groups = Groups([[sample] for sample in samples], read, model.tokenizer, model.prompt, model.method, rejects)
    collate, correct = Collator(model.tokenizer, model.prompt), defaultdict(list)
    model.eval()
    for i in range(0, len(samples), at_once):
        batch = collate([groups.load(k) for k in range(i, min(i + at_once, len(samples)))])["batch"].to(model.device)
        total = log_probabilities(model(batch), batch, model.method).total()
        for factor, right in less_likely(total, batch).items():
            correct[f"prefers_{factor}"] += right.tolist()
    return {name: rounded_mean(values) for name, values in sorted(correct.items())}


def write_exam(exam: Exam, out: Path, more: dict[str, float]) -> None:
    """`predictions.jsonl`, one line for each question, then `metrics.json`: the scores, and `more` beside them."""
    write_json_lines(out / "predictions.jsonl", map(line, exam.predictions))
    write_json(out / "metrics.json", exam.scores | more)


def line(prediction: Prediction) -> dict:
    """A prediction as reports read it."""
    sample = prediction.sample
    score = interval_f1_miou([prediction.intervals], [prediction.truth], (0.5,))
    text = "".join(piece if isinstance(piece, str) else "[..]" for piece in sample.answer)
    return {"sample": sample.id, "task": sample.task, "video": sample.video, "duration": sample.duration,
            "question": sample.question, "truth": text, "events": prediction.truth, "answer": prediction.text,
            "intervals": prediction.intervals, "F1@0.5": round(score["F1@0.5"], 4), "mIoU": round(score["mIoU"], 4)}


@contextmanager
def spending() -> Iterator[dict[str, float]]:
    """The cost of a `with` block, filled in at its end: seconds, CPU seconds, the most memory that was ever held."""
    spent: dict[str, float] = {}
    clock, cpu = time.time(), time.process_time()
    yield spent
    spent |= {"seconds": round(time.time() - clock, 2), "cpu_seconds": round(time.process_time() - cpu, 2),
              "memory_mb": round(peak_megabytes(), 1)}
    if torch.cuda.is_available():
        spent["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
