"""TRACE, the metric of TGLG (Yu and Chai, arXiv 2505.11326): were the right words said at the right time?

Utterances are aligned with true ones by their starts, then each pair is judged by meaning and by timing, and the means
are multiplied by the F1 of the alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .temporal import Array, best_pairs, harmonic

WORDS_PER_SECOND = 2.5  # of speech, for an utterance that does not say when it ends
NEAR = 3.0  # seconds: how fast closeness fades while pairs are sought
WINDOW = 5.0  # seconds by which the starts of a pair may differ
PASSES = 5  # passes over all pairs, to exchange partners
EXACT = 1.0  # seconds: how fast the scores for timing fade


@dataclass(frozen=True)
class Utterance:
    start: float
    content: str
    end: float | None = None

    @property
    def stop(self) -> float:
        return self.start + len(self.content.split()) / WORDS_PER_SECOND if self.end is None else self.end


@dataclass(frozen=True)
class Aligned:
    """One video: how much was said and due, the pairs (said, due), and four scores of each pair: (4, pairs)."""

    said: int
    due: int
    pairs: tuple[tuple[int, int], ...]
    scores: Array  # rows: accuracy, start, stop, overlap


def align(said: Sequence[Utterance], due: Sequence[Utterance], similarity: Array) -> list[tuple[int, int]]:
    """Pairs of what was said and what was due, by the order of what was said.

    Pairs are first made by time alone. Then partners are exchanged if both new pairs lie in the window and their
    meanings are more alike.
    """
    apart = np.abs(_starts(said)[:, None] - _starts(due)[None])
    partner = {int(i): int(j) for i, j in zip(*best_pairs(np.exp(-apart / NEAR)))}
    for _ in range(PASSES):
        exchanged = False
        for i in partner:
            for k in partner:
                new = apart[i, partner[k]], apart[k, partner[i]]
                if i == k or max(new) > WINDOW:
                    continue
                now = similarity[i, partner[i]] + similarity[k, partner[k]]
                if similarity[i, partner[k]] + similarity[k, partner[i]] > now:
                    partner[i], partner[k] = partner[k], partner[i]
                    exchanged = True
        if not exchanged:
            break
    return [(i, j) for i, j in partner.items() if apart[i, j] <= WINDOW]


def judge(said: Sequence[Utterance], due: Sequence[Utterance], similarity: Array) -> Aligned:
    """One video; `similarity` has the cosine of the meaning of each (said, due)."""
    similarity = np.asarray(similarity, float).reshape(len(said), len(due))
    pairs = align(said, due, similarity)
    spoken, wanted = [said[i] for i, _ in pairs], [due[j] for _, j in pairs]
    starts, stops = _starts(spoken), np.array([each.stop for each in spoken])
    true_stops = np.array([each.stop for each in wanted])
    both = (np.minimum(stops[:, None], stops) - np.maximum(starts[:, None], starts)).clip(0)
    np.fill_diagonal(both, 0)
    scores = np.stack([
        np.array([(similarity[pair] + 1) / 2 for pair in pairs]),
        np.exp(-np.abs(starts - _starts(wanted)) / EXACT),
        np.exp(-np.abs(stops - true_stops) / EXACT),
        np.exp(-both.sum(1) / EXACT)]).reshape(4, len(pairs))
    return Aligned(len(said), len(due), tuple(pairs), scores)


def trace(videos: Sequence[Aligned]) -> dict[str, float]:
    """Scores of all videos together. Each is the mean over all pairs (`raw_...`) times the F1 of the alignment."""
    pairs = sum(len(video.pairs) for video in videos)
    precision, recall = (pairs / n if n else 0.0 for n in (sum(video.said for video in videos),
                                                           sum(video.due for video in videos)))
    f1 = harmonic(precision, recall)
    raw = np.concatenate([video.scores for video in videos], 1).mean(1) if pairs else np.zeros(4)
    accuracy, start, stop, overlap = (float(value) for value in raw * f1)
    linear, geometric = 0.4 * start + 0.4 * stop + 0.2 * overlap, (start * stop * overlap) ** (1 / 3)
    names = ("raw_accuracy_score", "raw_start_score", "raw_stop_score", "raw_overlap_score")
    return {
        "lin_comb_final_score": 0.5 * accuracy + 0.5 * linear,
        "geo_mean_final_score": max(0.0, accuracy * geometric) ** 0.5,
        "accuracy_score": accuracy, "lin_comb_timing_score": linear, "geo_mean_timing_score": geometric,
        "start_score": start, "stop_score": stop, "overlap_score": overlap,
        "prec": precision, "recall": recall, "f1": f1, **dict(zip(names, raw.tolist()))}


def _starts(utterances: Sequence[Utterance]) -> Array:
    return np.array([each.start for each in utterances], float)
