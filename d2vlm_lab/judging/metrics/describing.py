"""dvc and slc: the right events, described in the right words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import captions
from .parse import Reading
from .protocols import Protocol
from .sentences import SentenceModel
from .tasks import Row, row
from .temporal import THRESHOLDS, assign, coverage, harmonic, matched_f1, temporal_iou

WORDS = (*captions.NAMES, "SentSim")
EXACT_OVERLAP = 0.5


def describe(samples: Sequence[dict], p: Protocol, similar: SentenceModel | None, with_captions: bool) -> Row:
    readings = [p.events(sample["a"]) for sample in samples]
    kept = p.described(samples, readings)
    overlaps = [p.event_iou(readings[i].intervals, samples[i]["tgt"]) for i in kept]
    values, each = _detection("F1", overlaps, len(samples), p)
    if p.extras:
        alone = [temporal_iou(reading.intervals, sample["tgt"]) for sample, reading in zip(samples, readings)]
        matched = [float(np.mean([matched_f1(iou, t) for iou in alone])) for t in THRESHOLDS]
        values |= {f"F1_matched@{t}": f1 for t, f1 in zip(THRESHOLDS, matched)}
        values |= {"F1_matched": float(np.mean(matched)), "Exact": _exact(samples, readings, alone)}
    if p.evidence:
        evidence = [p.event_iou(readings[i].evidence, samples[i]["tgt"]) for i in kept]
        values |= _detection("F1_evi", evidence, len(samples), p)[0]
    words, notes = _words(samples, readings, kept, overlaps, similar, with_captions)
    scores = dict(zip(kept, each))
    return row(samples, values | words, [scores.get(i, 0.0) for i in range(len(samples))],
               [not reading.intervals for reading in readings], notes=notes)


def pairs_at(iou: np.ndarray, said: Sequence[str], true: Sequence[str], threshold: float) -> list[captions.Pair]:
    """Every caption with every reference whose time it overlaps enough, or with the filler where there is none."""
    pairs = []
    for caption, overlaps in zip(said, iou):
        near = np.flatnonzero(overlaps >= threshold)
        pairs += [(caption, true[j]) for j in near] or [(caption, captions.FILLER)]
    return pairs


def word_scores(groups: Sequence[Sequence[captions.Pair]], similar: SentenceModel | None,
                with_captions: bool = True) -> tuple[dict[str, np.ndarray | None], list[str]]:
    """Each metric of each group of pairs, as written; None, with a note that says why, where it cannot be had."""
    reason = captions.unavailable() if with_captions else "caption metrics were not asked for"
    if reason:
        return dict.fromkeys(WORDS), [f"{', '.join(WORDS)} are empty: {reason}"]
    tokens = captions.tokenize([text for group in groups for pair in group for text in pair])
    groups = [[(tokens[a], tokens[b]) for a, b in group] for group in groups]
    scores: dict[str, np.ndarray | None] = dict(captions.caption_scores(groups))
    scores["SentSim"] = None
    if similar is None:
        return scores, ["SentSim is empty: no sentence model (name a folder or a hub id, or install "
                        "'d2vlm_lab[captions]')"]
    similar.embed([text for group in groups for pair in group for text in pair] or [""])
    scores["SentSim"] = np.array([similar.similarity(*zip(*group)).mean() if group else 0.0 for group in groups])
    return scores, []


def _detection(name: str, overlaps: Sequence[np.ndarray], total: int, p: Protocol) -> tuple[dict, np.ndarray]:
    """Precision and recall are averaged over all samples first; F1 is made of the averages. Also F1 of each."""
    shares = np.array([[coverage(iou, t, p.event_hit) for t in THRESHOLDS] for iou in overlaps])
    shares = shares.reshape(-1, len(THRESHOLDS), 2)
    f1 = [harmonic(*share) for share in shares.sum(0) / total]
    each = np.array([np.mean([harmonic(*share) for share in sample]) for sample in shares])
    return {f"{name}@{t}": value for t, value in zip(THRESHOLDS, f1)} | {name: float(np.mean(f1))}, each


def _words(samples, readings, kept, overlaps, similar, with_captions) -> tuple[dict[str, float | None], list[str]]:
    groups = [pairs_at(iou, list(map(captions.ascii_only, readings[i].captions)),
                       list(map(captions.ascii_only, samples[i]["g"])), t)
              for t in THRESHOLDS for i, iou in zip(kept, overlaps)]
    scores, notes = word_scores(groups, similar, with_captions)
    mean = {name: None if score is None else float(score.mean()) if len(score) else 0.0
            for name, score in scores.items()}
    return mean, notes


def _exact(samples: Sequence[dict], readings: Sequence[Reading], overlaps: Sequence[np.ndarray]) -> float:
    """The share of true events that some caption, matched in time one to one, tells in the very same words."""
    found = [sum(_same(reading.captions[i], sample["g"][j]) for i, j in assign(iou, EXACT_OVERLAP))
             for sample, reading, iou in zip(samples, readings, overlaps)]
    return float(sum(found) / max(1, sum(len(sample["g"]) for sample in samples)))


def _same(a: str, b: str) -> bool:
    return [word.strip(".,;:!?") for word in a.casefold().split()] == [w.strip(".,;:!?") for w in b.casefold().split()]
