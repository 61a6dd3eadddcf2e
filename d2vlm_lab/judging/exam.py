"""The exam: held-out questions put to a trained model. Every score that studies compare, and every answer beside it."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..config import Preference, RunConfig, resolve
from ..data.groups import Collator, Groups, Reader, Rejects, Skips, batch_of
from ..data.sample import Sample
from ..data.splits import held_out_questions, reader, splits
from ..data.world import load as load_world
from ..files import atomic_path, peak_megabytes
from ..ideas.grounding import frame_overlap
from ..learning.fpo import factor_accuracy, log_probabilities, synthesized
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding
from .metrics.temporal import interval_f1_miou, matched_f1, temporal_iou
from .predict import NUMBERS, Prediction, predict
from .rivals import rival_scores
from .scores import scores_by_task


@dataclass(frozen=True)
class Exam:
    predictions: tuple[Prediction, ...]
    scores: dict[str, float]


def examine(model: D2VLM, config: RunConfig, questions: int, world: str = "") -> Exam:
    """Up to `questions` of each task of the evaluation, from the validation half of the run's data or of `world`."""
    config = replace(config, data=replace(config.data, world=world or config.data.world),
                     evaluation=replace(config.evaluation, samples=questions))
    _, val = splits(config)
    samples, read = held_out_questions(val, config), reader(config, model.frames, val.videos)
    decoding = Decoding(config.evaluation.max_new_tokens)
    predictions = list(predict(model, samples, read, decoding, config.evaluation.batch))
    scores = scores_by_task(predictions) | caption_scores(predictions) | second_mentions(predictions)
    if config.method.formulation == "sigmoid":  # else an interval has no probability
        wrong = synthesized(replace(config, seed=0, preference=Preference(rejects=4)))  # the same for everyone
        scores |= preferred(model, samples[::4], read, wrong)
    if not config.data.train:
        scores |= rival_scores(predictions, load_world(resolve(config.data.world)).truth("val"))
    return Exam(tuple(predictions), scores | held_out(model, samples[::2], read))


def caption_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Dense captions by their words alone, and by words and interval together, matched one to one."""
    described = [p for p in predictions if p.sample.task == "dvc"]
    if not described:
        return {}
    words, joint = [], []
    for p in described:
        said, true = captions(p), [event.caption.strip(" .,") for event in p.sample.events]
        words.append(2 * sum((Counter(said) & Counter(true)).values()) / max(1, len(said) + len(true)))
        overlap = temporal_iou(p.intervals, [event.interval for event in p.sample.events])
        said += [""] * (len(p.intervals) - len(said))  # an interval about which nothing is said
        same = np.array([[a == b for b in true] for a in said[:len(p.intervals)]]).reshape(overlap.shape)
        joint.append(matched_f1(np.where(same, overlap, 0), 0.5))
    return {"dvc_caption_F1": _mean(words), "dvc_joint_F1@0.5": _mean(joint)}


def captions(prediction: Prediction) -> list[str]:
    """What is said of one event after another: the answer's sentences, times aside, whatever its style."""
    text = "".join(piece for piece in prediction.generated.answer.pieces if isinstance(piece, str))
    return [part for part in (part.strip(" ,\n") for part in NUMBERS.sub("", text).split(".")) if part]


def second_mentions(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Of answers that ground first and refer later: F1 of the second mentions, and how well both mentions agree."""
    twice = [p for p in predictions if p.generated.answer.grounded and p.generated.answer.references]
    if not twice:
        return {}
    second = [[ref.interval for ref in p.generated.answer.references if ref.interval] for p in twice]
    found = interval_f1_miou(second, [[e.interval for e in p.sample.events] for p in twice], (0.5,))
    pairs = [(a, b) for p, spans in zip(twice, second) for a, b in zip(p.generated.answer.grounded, spans) if a]
    agree = [float(temporal_iou([a], [b])[0, 0]) for a, b in pairs]
    return {"second_F1@0.5": round(found["F1@0.5"], 4), "mentions_agree": _mean(agree)}


@torch.no_grad()
def held_out(model: D2VLM, samples: Sequence[Sample], read: Reader, at_once: int = 32) -> dict[str, float]:
    """Behind true answers: weighted loss parts, share of intervals read right, spread of the evidence states."""
    found: dict[str, list[float]] = defaultdict(list)
    model.eval()
    for i in range(0, len(samples), at_once):
        batch = batch_of(model, samples[i:i + at_once], read)
        out = model(batch)
        for name, value in out.parts.items():
            found[f"held_out_{name}"].append(float(value))
        if len(out.similarity):
            _, spans = model.formulation.read(out.similarity.float(), out.frame_mask, model.salient)
            right = frame_overlap(spans, batch.interval[batch.in_answer].round()) >= 0.5
            found["read_at_0.5"].append(float(right.float().mean()))
            found["spread"].append(float(out.spread))
    return {name: _mean(values) for name, values in found.items() if math.isfinite(sum(values))}


@torch.no_grad()
def preferred(model: D2VLM, samples: Sequence[Sample], read: Reader, rejects: Rejects,
              at_once: int = 16) -> dict[str, float]:
    """Share of wrong answers that are less likely than the true one, by words and intervals together, per factor."""
    groups = Groups([[sample] for sample in samples], read, model.tokenizer, model.prompt, model.method,
                    Skips(None, len(samples), 1.0), rejects)
    side_by_side, found = Collator(model.tokenizer, model.prompt), defaultdict(list)
    model.eval()
    for i in range(0, len(samples), at_once):
        batch = side_by_side([groups[k] for k in range(i, min(i + at_once, len(samples)))])["batch"].to(model.device)
        likely = log_probabilities(model(batch), batch, model.method).total()
        for factor, right in factor_accuracy(likely, batch).items():
            found[f"prefers_{factor}"] += right
    return {name: _mean(values) for name, values in sorted(found.items())}


def write_exam(exam: Exam, out: Path, more: dict[str, float]) -> None:
    """`predictions.jsonl`, one line per question, then `metrics.json`."""
    with atomic_path(out / "predictions.jsonl") as partial, open(partial, "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(line(p), ensure_ascii=False) + "\n" for p in exam.predictions)
    with atomic_path(out / "metrics.json") as partial:
        partial.write_text(json.dumps(exam.scores | more, indent=1) + "\n", encoding="utf-8")


def line(prediction: Prediction) -> dict:
    """A prediction as a report reads it."""
    sample, truth = prediction.sample, [event.interval for event in prediction.sample.events]
    score = interval_f1_miou([prediction.intervals], [truth], (0.5,))
    text = "".join(piece if isinstance(piece, str) else "[..]" for piece in sample.answer)
    return {"sample": sample.id, "task": sample.task, "video": sample.video, "duration": sample.duration,
            "question": sample.question, "truth": text, "events": truth, "answer": prediction.text,
            "intervals": prediction.intervals, "F1@0.5": round(score["F1@0.5"], 4), "mIoU": round(score["mIoU"], 4)}


@contextmanager
def spending() -> Iterator[dict[str, float]]:
    """What a block costs, known when it has ended: seconds, CPU seconds, the most memory the process ever had."""
    spent: dict[str, float] = {}
    clock, cpu = time.time(), time.process_time()
    yield spent
    spent |= {"seconds": round(time.time() - clock, 2), "cpu_seconds": round(time.process_time() - cpu, 2),
              "memory_mb": round(peak_megabytes(), 1)}
    if torch.cuda.is_available():
        spent["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)
