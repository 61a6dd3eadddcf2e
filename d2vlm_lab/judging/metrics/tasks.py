"""One scorer per kind of E.T. Bench task: samples and a protocol in, a row of scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .choices import LETTERS, decide, option_texts
from .parse import Reading
from .protocols import Protocol
from .sentences import SentenceModel
from .temporal import THRESHOLDS, matched_f1, seconds_f1, temporal_iou


@dataclass
class Row:
    """Scores of one task on one source; `scores` has the main one of each sample, in the order of `ids`."""

    task: str
    source: str
    values: dict[str, float | int | None]
    ids: list
    scores: list[float]
    unparsed: list = field(default_factory=list)
    compared: int = 0  # choices that no letter settled, made by similarity
    notes: list[str] = field(default_factory=list)


def row(samples: Sequence[dict], values: dict, scores: Sequence[float], failed: Sequence[bool], **more) -> Row:
    ids = [sample["idx"] for sample in samples]
    unparsed = [i for i, wrong in zip(ids, failed) if wrong]
    values = {"Total": len(samples), "Failed": len(unparsed), **values}
    return Row(samples[0]["task"], samples[0]["source"], values, ids, [float(s) for s in scores], unparsed, **more)


def one_moment(samples: Sequence[dict], p: Protocol, name: str = "F1", mean: str = "F1", best: bool = False) -> Row:
    """tvg, epm, tem: does the (first, or best) interval overlap the truth, or the truth it fits best?"""
    readings = [p.intervals(sample["a"]) for sample in samples]
    overlaps = []
    for sample, reading in zip(samples, readings):
        if not reading.intervals:
            overlaps.append((0.0, 0.0))
            continue
        evidence = reading.evidence or (reading.intervals if p.answer_for_evidence else ())
        overlaps.append([_best(p, spans if best else spans[:1], sample["tgt"])
                         for spans in (reading.intervals, evidence)])
    answer, evidence = np.array(overlaps).T
    return row(samples, _at_thresholds(answer, evidence, p, name, mean), answer,
               [not reading.intervals for reading in readings])


def all_moments(samples: Sequence[dict], p: Protocol) -> Row:
    """tal: are all the moments found, and only those?"""
    cases, alone = [], []
    for sample in samples:
        reading = p.intervals(sample["a"])
        evidence = reading.evidence or (reading.intervals if p.answer_for_evidence else ())
        case = tuple(p.iou(spans, sample["tgt"]) for spans in (reading.intervals, evidence))
        cases.append(case if reading.intervals else None)
        alone.append(temporal_iou(reading.intervals, sample["tgt"]) if p.extras else None)
    answer, evidence = p.tal(cases)
    values = _thresholds("F1", "F1", answer) | (_thresholds("F1_evi", "F1_evi", evidence) if p.evidence else {})
    if p.extras:
        matched = np.array([[matched_f1(iou, t) for t in THRESHOLDS] for iou in alone]).mean(0)
        values |= _thresholds("F1_matched", "F1_matched", matched.tolist())
    return row(samples, values, [np.mean(p.tal([case])[0]) for case in cases], [case is None for case in cases])


def summary(samples: Sequence[dict], p: Protocol) -> Row:
    """evs: which seconds are kept?"""
    scores, failed = [], []
    for sample in samples:
        reading = p.intervals(sample["a"])
        try:
            scores.append([seconds_f1(part, sample["tgt"], p.summary_seconds) for part in p.summary(reading)])
            failed.append(not reading.intervals)
        except OverflowError:  # an end at infinity
            scores.append([0.0, 0.0])
            failed.append(True)
    table = np.array(scores) * ~np.array(failed)[:, None]
    counted = len(table) if p.failed_summaries_count else failed.count(False)
    answer, evidence = table.sum(0) / max(counted, 1)
    return row(samples, {"F1": answer} | ({"F1_evi": evidence} if p.evidence else {}), table[:, 0], failed)


def highlight(samples: Sequence[dict], p: Protocol) -> Row:
    """vhd: does the moment lie in any interval of any annotator?"""
    points = [p.point(sample["a"]) for sample in samples]
    failed = [answer is None for answer, _ in points]
    if p.answer_for_evidence:
        points = [(answer, answer if evidence is None else evidence) for answer, evidence in points]
    hits = np.array([[answer is not None and point is not None and _inside(point, sample["tgt"])
                      for point in (answer, evidence)] for sample, (answer, evidence) in zip(samples, points)])
    answer, evidence = hits.mean(0)
    return row(samples, {"F1": answer} | ({"F1_evi": evidence} if p.evidence else {}), hits[:, 0], failed)


def choice(samples: Sequence[dict], p: Protocol, similar: SentenceModel | None) -> Row:
    """rar, eca, rvq: is it the right option?"""
    found = pick(samples, p.choice, p.letters(samples), p, similar, p.second_chance)
    values: dict = {"Acc": found.accuracy}
    if p.extras:
        values["Exact"] = float(np.mean([by == "letter" and hit for by, hit in zip(found.by, found.hits)]))
    if p.matched_columns:
        lettered = found.by.count("letter")
        right = sum(hit for by, hit in zip(found.by, found.hits) if by == "letter")
        values |= {"Matched_count": lettered, "matched_ratio": lettered / len(samples),
                   "correct_ratio_within_matched": right / (lettered + 1e-7)}
    failed = [by == "nothing" or by == "similarity" and not (p.form_is_enough and formed)
              for by, formed in zip(found.by, found.formed)]
    return row(samples, values, found.hits, failed, compared=found.by.count("similarity"), notes=found.notes)


def choice_and_moment(samples: Sequence[dict], p: Protocol, similar: SentenceModel | None) -> Row:
    """gvq: the right option, and then the first interval."""
    found = pick(samples, p.timed_choice, p.timed_letters(samples), p, similar, False)
    overlaps, failed = [], []
    for sample, hit, by in zip(samples, found.hits, found.by):
        reading = p.intervals(sample["a"]) if hit else Reading()
        failed.append(by == "nothing" or p.extras and by == "similarity" or hit and not reading.intervals)
        nowhere = ((0.0, 0.0),) if p.answer_for_evidence else ()  # as published, here alone
        spans = (reading.intervals, reading.evidence or nowhere) if reading.intervals else ((), ())
        overlaps.append([_best(p, part[:1], sample["tgt"]) for part in spans])
    answer, evidence = np.array(overlaps).T
    values = _at_thresholds(answer, evidence, p, "R", "mRec") | {"Acc": found.accuracy}
    if found.accuracy is None:
        values = dict.fromkeys(values)
    if p.matched_columns:
        lettered = found.by.count("letter")
        right = sum(hit for by, hit in zip(found.by, found.hits) if by == "letter")
        values |= {"Matched count": lettered, "Matched ratio": lettered / len(samples),
                   "correct count within matched": right, "correct ratio within matched": right / (lettered + 1e-7)}
    return row(samples, values, answer, failed, compared=found.by.count("similarity"), notes=found.notes)


@dataclass
class Picked:
    """Whether each choice is right, and what it was made by: letter, similarity or nothing."""

    hits: list[bool]
    by: list[str]
    formed: list[bool]
    accuracy: float | None
    notes: list[str]


def pick(samples: Sequence[dict], read, letters: Sequence[int], p: Protocol, similar: SentenceModel | None,
         second_chance: bool) -> Picked:
    hits, by, formed, unsettled = [], [], [], []
    for i, (sample, n) in enumerate(zip(samples, letters)):
        options = option_texts(sample["o"])
        choice = read(sample["a"], options, n)
        settled = decide(choice, sample["p"], second_chance) if n else None
        if settled is None and choice.rest and n:
            unsettled.append((i, choice.rest, [f"({x.upper()}) {o}" for x, o in zip(LETTERS, options)]))
        hits.append(bool(settled))
        by.append("letter" if settled is not None else "nothing")
        formed.append(choice.formed)
    notes = []
    if unsettled and similar is None:
        notes.append(f"{len(unsettled)} answers name no option and there is no sentence model to compare them with"
                     + ("; they count as failed" if p.extras else ""))
    elif unsettled:
        similar.embed([text for _, rest, options in unsettled for text in (rest, *options)])
        for i, rest, options in unsettled:
            hits[i], by[i] = similar.nearest(rest, options) == samples[i]["p"], "similarity"
    known = not notes or p.extras
    return Picked(hits, by, formed, float(np.mean(hits)) if known else None, notes)


def _best(p: Protocol, spans: Sequence, truth: Sequence) -> float:
    """A single true interval may be written flat."""
    return float(p.iou(spans, truth).max()) if spans else 0.0


def _inside(point: float, truth: Sequence) -> bool:
    """`truth` is a list of intervals, or one such list per annotator."""
    annotators = truth if isinstance(truth[0][0], (list, tuple)) else [truth]
    return any(start <= point <= end for spans in annotators for start, end in spans)


def _thresholds(name: str, mean: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{name}@{t}": v for t, v in zip(THRESHOLDS, values)} | {mean: float(np.mean(values))}


def _at_thresholds(answer: np.ndarray, evidence: np.ndarray, p: Protocol, name: str, mean: str) -> dict[str, float]:
    """Mean overlap and the share of samples that reach each threshold, of the answer and of its evidence."""
    values = {}
    for tag, overlaps in (("", answer), ("_evi", evidence)):
        if not tag or p.evidence:
            shares = [float((overlaps >= t).mean()) for t in THRESHOLDS]
            values |= {f"mIoU{tag}": float(overlaps.mean())} | _thresholds(name + tag, mean + tag, shares)
    return values
