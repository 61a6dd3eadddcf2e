"""Scores of answers to held-out questions: grounding matched one to one, and the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import RunConfig
from ..data.groups import Reader
from ..data.sample import Sample
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding
from .catalogue import NAMED
from .metrics.temporal import interval_f1_miou
from .predict import NUMBERS, Prediction, predict


def judge(model: D2VLM, samples: Sequence[Sample], read: Reader, config: RunConfig) -> dict[str, float]:
    """Greedy answers to held-out questions: grounding matched one to one, and the text."""
    if not samples:
        return {}
    decoding = Decoding(config.evaluation.max_new_tokens)
    return scores_by_task(list(predict(model, samples, read, decoding, config.evaluation.batch)))


def scores_by_task(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Of the questions that name an event, then of each task."""
    scores = grounding_scores([p for p in predictions if p.sample.task in NAMED], "named")
    for task in sorted({p.sample.task for p in predictions}):
        scores |= grounding_scores([p for p in predictions if p.sample.task == task], task)
    return scores


def grounding_scores(predictions: Sequence[Prediction], group: str) -> dict[str, float]:
    """Means over questions: matched F1 at 0.5 and mean IoU, exact text, and how many intervals too many were given."""
    if not predictions:
        return {}
    found = interval_f1_miou([p.intervals for p in predictions],
                             [[e.interval for e in p.sample.events] for p in predictions], (0.5,))
    scores = {"F1@0.5": found["F1@0.5"], "mIoU": found["mIoU"],
              "exact_text": float(np.mean([_words(p) == _truth(p.sample) for p in predictions])),
              "surplus": float(np.mean([len(p.intervals) - len(p.sample.events) for p in predictions]))}
    return {f"{group}_{name}": round(value, 4) for name, value in scores.items()}


def _words(prediction: Prediction) -> str:
    """The answer's text, times and evidence aside."""
    answer = prediction.generated.answer
    return NUMBERS.sub("", "".join(piece for piece in answer.pieces if isinstance(piece, str))).strip()


def _truth(sample: Sample) -> str:
    return "".join(piece for piece in sample.answer if isinstance(piece, str)).strip()
