"""The tasks of E.T. Bench whose answers are times or options. Each makes a row of scores from samples and a protocol.

Scores of what is grounded before the answer end in `_evi`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .protocols import Protocol
from .reading import LETTERS, Choice, Reading
from .sentences import SentenceModel
from .temporal import THRESHOLDS, Array, matched_f1, seconds_f1


@dataclass
class Row:
    """Scores of one task on one source; `scores` has the main one of each sample, in the order of `ids`."""

    task: str
    source: str
    values: dict[str, float | int | None]
    ids: list
    scores: list[float]
    unparsed: list
    compared: int = 0  # choices that no letter decided, made by similarity
    notes: list[str] = field(default_factory=list)


def row(samples: Sequence[dict], values: dict, scores: Sequence[float], failed: Sequence[bool], compared: int = 0,
        notes: Sequence[str] = ()) -> Row:
    ids = [sample["idx"] for sample in samples]
    unparsed = [i for i, wrong in zip(ids, failed) if wrong]
    values = {"Total": len(samples), "Failed": len(unparsed), **values}
    return Row(samples[0]["task"], samples[0]["source"], values, ids, [float(s) for s in scores], unparsed, compared,
               list(notes))


def one_moment(samples: Sequence[dict], p: Protocol, name: str = "F1", mean: str = "F1", best: bool = False) -> Row:
    """tvg, epm, tem: does the (first, or best) interval overlap the true one, or the true one that it fits best?"""
    readings = [p.intervals(sample["a"]) for sample in samples]
    answer, evidence = np.array([
        [_largest_iou(p, spans if best else spans[:1], sample["tgt"]) for spans in _answer_and_evidence(reading, p)]
        for sample, reading in zip(samples, readings)]).T
    return row(samples, _overlap_scores(answer, evidence, name, mean), answer, _unread(readings))


def all_moments(samples: Sequence[dict], p: Protocol) -> Row:
    """tal: are all the moments found, and only those?"""
    readings = [p.intervals(sample["a"]) for sample in samples]
    cases = [tuple(p.iou(spans, sample["tgt"]) for spans in _answer_and_evidence(reading, p))
             for sample, reading in zip(samples, readings)]
    answer, evidence = p.tal(cases)
    values = _thresholds("F1", answer) | _thresholds("F1_evi", evidence)
    if p.extras:
        matched = np.mean([[matched_f1(iou, t) for t in THRESHOLDS] for iou, _ in cases], 0)
        values |= _thresholds("F1_matched", matched.tolist())
    return row(samples, values, [np.mean(p.tal([case])[0]) for case in cases], _unread(readings))


def summary(samples: Sequence[dict], p: Protocol) -> Row:
    """evs: which seconds are kept?"""
    scores, failed = [], []
    for sample in samples:
        reading = p.intervals(sample["a"])
        try:
            scores.append([seconds_f1(spans, sample["tgt"], p.summary_seconds) for spans in p.summary(reading)])
            failed.append(not reading.intervals)
        except OverflowError:  # an interval ends at infinity
            scores.append([0.0, 0.0])
            failed.append(True)
    table = np.array(scores) * ~np.array(failed)[:, None]
    counted = sum(p.failed_summaries_count or not lost or "error" in sample for sample, lost in zip(samples, failed))
    answer, evidence = table.sum(0) / max(counted, 1)
    return row(samples, {"F1": answer, "F1_evi": evidence}, table[:, 0], failed)


def highlight(samples: Sequence[dict], p: Protocol) -> Row:
    """vhd: does the moment lie in any interval of any annotator?"""
    failed, hits = [], []
    for sample in samples:
        answer, evidence = p.point(sample["a"])
        if answer is None or evidence is None and p.answer_for_evidence:
            evidence = answer
        failed.append(answer is None)
        hits.append([point is not None and _inside(point, sample["tgt"]) for point in (answer, evidence)])
    answer, evidence = np.mean(hits, 0)
    return row(samples, {"F1": answer, "F1_evi": evidence}, np.array(hits)[:, 0], failed)


def choice(samples: Sequence[dict], p: Protocol, similar: SentenceModel | None) -> Row:
    """rar, eca, rvq: is it the right option?"""
    picked = pick_options(samples, p.choice, p.letters(samples), p, similar, p.second_chance)
    by_letter, right = picked.by.count("letter"), picked.right_by_letter
    values: dict = {"Acc": picked.accuracy}
    if p.extras:
        values["Exact"] = right / len(samples)
    if p.matched_columns:
        values |= {"Matched_count": by_letter, "matched_ratio": by_letter / len(samples),
                   "correct_ratio_within_matched": right / (by_letter + 1e-7)}
    failed = [by == "nothing" or by == "similarity" and not (p.form_is_enough and formed)
              for by, formed in zip(picked.by, picked.formed)]
    return row(samples, values, picked.hits, failed, picked.by.count("similarity"), picked.notes)


def choice_and_moment(samples: Sequence[dict], p: Protocol, similar: SentenceModel | None) -> Row:
    """gvq: the right option, and then the first interval."""
    picked = pick_options(samples, p.timed_choice, p.timed_letters(samples), p, similar, False)
    nowhere = ((0.0, 0.0),) if p.answer_for_evidence else ()  # missing evidence, as published for this task alone
    overlaps, failed = [], []
    for sample, hit, by in zip(samples, picked.hits, picked.by):
        reading = p.intervals(sample["a"]) if hit else Reading()
        failed.append(by == "nothing" or p.extras and by == "similarity" or hit and not reading.intervals)
        spans = (reading.intervals, reading.evidence or nowhere) if reading.intervals else ((), ())
        overlaps.append([_largest_iou(p, part[:1], sample["tgt"]) for part in spans])
    answer, evidence = np.array(overlaps).T
    values = _overlap_scores(answer, evidence, "R", "mRec") | {"Acc": picked.accuracy}
    if picked.accuracy is None:
        values = dict.fromkeys(values)
    if p.matched_columns:
        by_letter, right = picked.by.count("letter"), picked.right_by_letter
        values |= {"Matched count": by_letter, "Matched ratio": by_letter / len(samples),
                   "correct count within matched": right, "correct ratio within matched": right / (by_letter + 1e-7)}
    return row(samples, values, answer, failed, picked.by.count("similarity"), picked.notes)


@dataclass
class Picked:
    """For each sample: whether the choice is right, how it was made, and whether it looked like a letter."""

    hits: list[bool]
    by: list[str]  # letter, similarity or nothing
    formed: list[bool]
    accuracy: float | None
    notes: list[str]

    @property
    def right_by_letter(self) -> int:
        return sum(hit for by, hit in zip(self.by, self.hits) if by == "letter")


def pick_options(samples: Sequence[dict], read: Callable[[str, Sequence[str], int], Choice], letters: Sequence[int],
                 p: Protocol, similar: SentenceModel | None, second_chance: bool) -> Picked:
    """Choose by letter if one decides, else the option most similar to the answer's text."""
    hits, by, formed, undecided = [], [], [], []
    for i, (sample, n) in enumerate(zip(samples, letters)):
        options = [o if isinstance(o, str) else f"{o[0]} - {o[1]}" for o in sample["o"]]
        choice = read(sample["a"], options, n)
        right = _right_letter(choice, sample["p"], second_chance) if n else None
        if right is None and choice.rest and n:
            undecided.append((i, choice.rest, [f"({x.upper()}) {o}" for x, o in zip(LETTERS, options)]))
        hits.append(bool(right))
        by.append("nothing" if right is None else "letter")
        formed.append(choice.formed)
    notes = []
    if undecided and similar is None:
        notes.append(f"{len(undecided)} answers name no option and there is no sentence model to compare them with"
                     + ("; they count as failed" if p.extras else ""))
    elif undecided:
        similar.embed([text for _, rest, options in undecided for text in (rest, *options)])
        for i, rest, options in undecided:
            hits[i], by[i] = similar.nearest(rest, options) == samples[i]["p"], "similarity"
    known = not notes or p.extras
    return Picked(hits, by, formed, float(np.mean(hits)) if known else None, notes)


def _right_letter(choice: Choice, right: int, second_chance: bool) -> bool | None:
    """Whether the letter is right; None if no letter decides, so that similarity has to."""
    for letter in choice.letters:
        if letter == right:
            return True
        if letter is not None and not second_chance:
            return False
    return None


def _answer_and_evidence(reading: Reading, p: Protocol) -> tuple[Sequence, Sequence]:
    """Intervals of answer and evidence; both are empty if the answer has no interval."""
    if not reading.intervals:
        return (), ()
    return reading.intervals, reading.evidence or (reading.intervals if p.answer_for_evidence else ())


def _unread(readings: Sequence[Reading]) -> list[bool]:
    return [not reading.intervals for reading in readings]


def _largest_iou(p: Protocol, spans: Sequence, truth: Sequence) -> float:
    """The largest overlap; a single true interval may be written flat."""
    return float(p.iou(spans, truth).max()) if spans else 0.0


def _inside(point: float, truth: Sequence) -> bool:
    """`truth` is a list of intervals, or one such list per annotator."""
    annotators = truth if isinstance(truth[0][0], (list, tuple)) else [truth]
    return any(start <= point <= end for spans in annotators for start, end in spans)


def _thresholds(name: str, values: Sequence[float], mean: str = "") -> dict[str, float]:
    return {f"{name}@{t}": v for t, v in zip(THRESHOLDS, values)} | {mean or name: float(np.mean(values))}


def _overlap_scores(answer: Array, evidence: Array, name: str, mean: str) -> dict[str, float]:
    """Mean overlap and the share of samples that reach each threshold, of the answer and of its evidence."""
    values = {}
    for tag, overlaps in (("", answer), ("_evi", evidence)):
        shares = [float((overlaps >= t).mean()) for t in THRESHOLDS]
        values |= {f"mIoU{tag}": float(overlaps.mean())} | _thresholds(name + tag, shares, mean + tag)
    return values
