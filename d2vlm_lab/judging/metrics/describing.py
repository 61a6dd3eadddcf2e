"""dvc and slc, the tasks of E.T. Bench with captions: the right events, described in the right words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import captions
from .protocols import Protocol
from .reading import Reading
from .sentences import SentenceModel
from .tasks import Row, row
from .temporal import THRESHOLDS, Array, assign, coverage, harmonic, matched_f1

WORDS = (*captions.NAMES, "SentSim")
EXACT_OVERLAP = 0.5


def describe(samples: Sequence[dict], p: Protocol, similar: SentenceModel | None, with_captions: bool) -> Row:
    readings = [p.events(sample["a"]) for sample in samples]
    kept = p.described(samples, readings)
    overlaps = [p.event_iou(readings[i].intervals, samples[i]["tgt"]) for i in kept]
    values, scores_of_kept = _detection("F1", overlaps, len(samples), p)
    if p.extras:
        matched = np.mean([[matched_f1(iou, t) for t in THRESHOLDS] for iou in overlaps], 0).tolist()
        values |= {f"F1_matched@{t}": f1 for t, f1 in zip(THRESHOLDS, matched)}
        values |= {"F1_matched": float(np.mean(matched)), "Exact": _exact(samples, readings, overlaps)}
    evidence = [p.event_iou(readings[i].evidence, samples[i]["tgt"]) for i in kept]
    values |= _detection("F1_evi", evidence, len(samples), p)[0]
    pairs = [captions.pairs_at(iou, [captions.ascii_only(text) for text in readings[i].captions],
                               [captions.ascii_only(text) for text in samples[i]["g"]], t)
             for t in THRESHOLDS for i, iou in zip(kept, overlaps)]
    words, notes = word_scores(pairs, similar, with_captions)
    scores = np.zeros(len(samples))
    scores[kept] = scores_of_kept
    return row(samples, values | words, scores, [not reading.intervals for reading in readings], notes=notes)


def word_scores(groups: Sequence[Sequence[captions.Pair]], similar: SentenceModel | None,
                with_captions: bool = True) -> tuple[dict[str, float | None], list[str]]:
    """Means over groups of each metric; None, with a note that says why, if a metric cannot be computed."""
    reason = captions.unavailable() if with_captions else "caption metrics were not asked for"
    if reason:
        return dict.fromkeys(WORDS), [f"{', '.join(WORDS)} are empty: {reason}"]
    tokens = captions.tokenize([text for group in groups for pair in group for text in pair])
    groups = [[(tokens[a], tokens[b]) for a, b in group] for group in groups]
    scores = captions.caption_scores(groups)
    notes = []
    if similar is None:
        notes = ["SentSim is empty: no sentence model (name a folder or a hub id, or install 'd2vlm_lab[captions]')"]
    else:
        similar.embed([text for group in groups for pair in group for text in pair] or [""])
        scores["SentSim"] = np.array([similar.similarity(*zip(*group)).mean() if group else 0.0 for group in groups])
    means = {name: float(values.mean()) if len(values) else 0.0 for name, values in scores.items()}
    return dict.fromkeys(WORDS) | means, notes


def _detection(name: str, overlaps: Sequence[Array], total: int, p: Protocol) -> tuple[dict[str, float], Array]:
    """F1 from precision and recall averaged over all samples, and the F1 of each sample."""
    shares = np.array([[coverage(iou, t, p.event_hit) for t in THRESHOLDS] for iou in overlaps])
    shares = shares.reshape(-1, len(THRESHOLDS), 2)
    f1 = [harmonic(*share) for share in shares.sum(0) / total]
    each = np.array([np.mean([harmonic(*share) for share in sample]) for sample in shares])
    return {f"{name}@{t}": value for t, value in zip(THRESHOLDS, f1)} | {name: float(np.mean(f1))}, each


def _exact(samples: Sequence[dict], readings: Sequence[Reading], overlaps: Sequence[Array]) -> float:
    """The share of true events that a caption, matched in time one to one, describes in exactly the same words."""
    right = [_plain(reading.captions[i]) == _plain(sample["g"][j]) for sample, reading, iou
             in zip(samples, readings, overlaps) for i, j in assign(iou, EXACT_OVERLAP)]
    return sum(right) / max(1, sum(len(sample["g"]) for sample in samples))


def _plain(text: str) -> list[str]:
    return [word.strip(".,;:!?") for word in text.casefold().split()]
