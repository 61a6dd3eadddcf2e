"""Scores of a group of predictions: intervals matched one to one with the true ones, words, captions, mentions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain

import numpy as np

from ..config import NAMED, RunConfig
from ..data.groups import Reader
from ..data.sample import Sample
from ..ideas.rewards import word_f1
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding
from ..processes import shared_out
from .metrics.temporal import best_pairs, interval_f1_miou, matched_f1, temporal_iou
from .predict import Prediction, predict

FULL_STOP = re.compile(r"\.(?!\d)")  # the dot of 1.5 does not end a sentence


def judge(model: D2VLM, samples: Sequence[Sample], read: Reader, config: RunConfig) -> dict[str, float]:
    """Scores of greedy answers to held-out questions. Several processes share the work, each for some videos."""
    if not samples:
        return {}
    videos: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        videos[sample.video].append(sample)

    def answers(share: Sequence[list[Sample]]) -> list[Prediction]:
        decoding = Decoding(config.evaluation.max_new_tokens)
        return list(predict(model, list(chain.from_iterable(share)), read, decoding, config.evaluation.batch))

    return scores_by_task(shared_out(list(videos.values()), answers))


def scores_by_task(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Scores of the questions that name one event, then of each task."""
    scores = grounding_scores([p for p in predictions if p.sample.task in NAMED], "named")
    for task in sorted({p.sample.task for p in predictions}):
        scores |= grounding_scores([p for p in predictions if p.sample.task == task], task)
    return scores


def grounding_scores(predictions: Sequence[Prediction], group: str) -> dict[str, float]:
    """Means over questions: matched F1 at 0.5 and mean IoU, exact text, and how many intervals too many were given."""
    if not predictions:
        return {}
    f1_miou = interval_f1_miou([p.intervals for p in predictions], [p.truth for p in predictions], (0.5,))
    scores = {"F1@0.5": f1_miou["F1@0.5"], "mIoU": f1_miou["mIoU"],
              "exact_text": np.mean([p.words == _true_words(p.sample) for p in predictions]),
              "surplus": np.mean([len(p.intervals) - len(p.truth) for p in predictions])}
    return {f"{group}_{name}": round(float(value), 4) for name, value in scores.items()}


def boundary_errors(predictions: Sequence[Prediction]) -> dict[str, float]:
    """How far, in seconds, the ends of intervals that were found lie from the true ends; mean over both ends.

    An event is found if a predicted interval overlaps it by at least one half; of several, the one with the most
    overlap counts.
    """
    errors: dict[str, list[float]] = defaultdict(list)
    for p in predictions:
        group = "named" if p.sample.task in NAMED else p.sample.task
        overlap = temporal_iou(p.intervals, p.truth)
        for k, true in enumerate(p.truth if p.intervals else ()):
            best = int(overlap[:, k].argmax())
            if overlap[best, k] >= 0.5:
                errors[group].append(sum(abs(a - b) for a, b in zip(p.intervals[best], true)) / 2)
    return {f"{group}_boundary_error": rounded_mean(values) for group, values in errors.items()
            if group in ("named", "dvc")}


def caption_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Dense captions by their words alone, and by words and interval together, matched one to one."""
    words, joint, alike_words = [], [], []  # F1 of each answer
    for p in predictions:
        if p.sample.task != "dvc":
            continue
        predicted, true = captions(p), [_plain(event.caption) for event in p.sample.events]
        words.append(2 * sum((Counter(predicted) & Counter(true)).values()) / max(1, len(predicted) + len(true)))
        overlap = temporal_iou(p.intervals, p.truth)  # a sentence without an interval overlaps nothing
        overlap = np.pad(overlap, ((0, max(0, len(predicted) - len(overlap))), (0, 0)))
        described = predicted + [""] * (len(overlap) - len(predicted))
        same = np.array([[a == b for b in true] for a in described]).reshape(overlap.shape)
        joint.append(matched_f1(np.where(same, overlap, 0), 0.5))
        alike = np.array([[word_f1(a, b) for b in true] for a in described]).reshape(overlap.shape)
        alike = np.where(overlap >= 0.5, alike, 0)
        alike_words.append(2 * alike[best_pairs(alike)].sum() / max(1, sum(overlap.shape)))
    if not words:
        return {}
    return {"dvc_caption_F1": rounded_mean(words), "dvc_joint_F1@0.5": rounded_mean(joint),
            "dvc_words_F1@0.5": rounded_mean(alike_words)}


def captions(prediction: Prediction) -> list[str]:
    """The answer's sentences without their times, one for each event, in any style of answer."""
    return _sentences(prediction.words, _no_sentences(prediction.sample))


def true_captions(sample: Sample) -> list[str]:
    """The captions of the true answer."""
    return _sentences(_true_words(sample), _no_sentences(sample))


def _sentences(text: str, whole: Sequence[str]) -> list[str]:
    """The sentences of a text, but what is in `whole` is not divided."""
    known = "|".join(map(re.escape, whole))
    parts = re.split(rf"(?<!\w)({known})(?=\W*(?:[.,!?\n]|$))", text) if whole else [text]
    pieces = chain.from_iterable([part] if part in whole else FULL_STOP.split(part) for part in parts)
    return [sentence for piece in pieces if (sentence := piece.strip(" ,\n"))]


def _no_sentences(sample: Sample) -> list[str]:
    """The captions that dots would divide wrongly: those with a dot inside, or with another mark at the end."""
    texts = {_plain(event.caption) for event in sample.events}
    return sorted((text for text in texts if FULL_STOP.search(text) or text.endswith(("?", "!"))), key=len,
                  reverse=True)


def _plain(caption: str) -> str:
    return caption.strip(" .,")


def second_mentions(predictions: Sequence[Prediction]) -> dict[str, float]:
    """For answers that ground first and refer later: F1 of the second mentions, and how well both mentions agree."""
    predictions = [p for p in predictions if p.generated.answer.grounded and p.generated.answer.references]
    if not predictions:
        return {}
    referenced = [[ref.interval for ref in p.generated.answer.references if ref.interval] for p in predictions]
    f1 = interval_f1_miou(referenced, [p.truth for p in predictions], (0.5,))["F1@0.5"]
    pairs = [(first, ref.interval) for answer in (p.generated.answer for p in predictions)
             for first, ref in zip(answer.grounded, answer.references) if first and ref.interval]
    overlaps = [temporal_iou([first], [second]).item() for first, second in pairs]
    return {"second_F1@0.5": round(f1, 4), "mentions_agree": rounded_mean(overlaps),
            "second_drift": rounded_mean([abs(a - b) for pair in pairs for a, b in zip(*pair)])}


def rounded_mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _true_words(sample: Sample) -> str:
    return "".join(piece for piece in sample.answer if isinstance(piece, str)).strip()
