"""TGLG: what a model says while a video runs, in the layout of the authors' files, scored with TRACE.

True utterances are a JSON file, `{video: [{"start", "end", "content", "eval"}]}`, in which utterances that do not have
`eval: true` are only context. What was said is a CSV file with the columns video_id, start, content and, if it is
known, end; or JSON in the layout of the truth.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from ...errors import LabError
from ...reader import read_json, read_text
from ...shapes import shown
from .records import ANSWER, LARGEST, LATEST, first_few
from .sentences import SentenceModel
from .trace import Aligned, Utterance, judge, trace

MOST = 20_000  # largest number of utterances in a video, of which all pairs are compared
Spoken = dict[str, list[Utterance]]  # by video


class Due(TypedDict):
    start: float
    end: float
    content: str
    eval: NotRequired[bool]


def read_truth(path: Path) -> Spoken:
    """The utterances to be judged, by video. A file in which no utterance says `eval` is judged as a whole."""
    found = read_json(path, dict[str, list[Due]], LARGEST)
    marked = any("eval" in each for video in found.values() for each in video)
    truth = {}
    for video, utterances in found.items():
        truth[video] = []
        for number, each in enumerate(utterances, 1):
            if not marked or each.get("eval"):
                truth[video].append(_utterance(each, f"{path}, video {shown(video)}, utterance {number}"))
    if not any(truth.values()):
        raise LabError(f"{path}: there is no utterance to be judged in this file")
    return truth


def read_said(path: Path, lenient: bool = False) -> tuple[Spoken, list[str]]:
    """What was said, by video, and notes on rows that are left out; they are left out only with `lenient`."""
    said: Spoken = {}
    bad = []
    for place, video, row in _rows(path):
        try:
            said.setdefault(video, []).append(_utterance(row, place))
        except LabError as error:
            if not lenient:
                raise
            bad.append(str(error))
    return said, [f"{len(bad)} utterances are left out: {bad[0]}"] if bad else []


def _rows(path: Path) -> Iterator[tuple[str, str, dict]]:
    if path.suffix == ".json":
        for video, utterances in read_json(path, dict[str, list[dict]], LARGEST).items():
            for number, row in enumerate(utterances, 1):
                yield f"{path}, video {shown(video)}, utterance {number}", video, row
        return
    table = csv.DictReader(io.StringIO(read_text(path, LARGEST)), strict=True)
    columns = table.fieldnames or []
    name = "video_id" if "video_id" in columns else "video"
    if missing := [column for column in (name, "start", "content") if column not in columns]:
        raise LabError(f"{path}: the first line names no column {missing[0]}; a CSV file of TGLG has video_id, start, "
                       "content and perhaps end")
    try:
        for row in table:
            yield f"{path}, line {table.line_num}", row[name] or "", row
    except csv.Error as error:
        raise LabError(f"{path}: line {table.line_num}: not readable as CSV ({error})") from None


def _utterance(row: dict, place: str) -> Utterance:
    content = row.get("content")
    if not isinstance(content, str) or len(content) > ANSWER:
        raise LabError(f"{place}: content is {shown(content)}; it must be text")
    start, end = (_seconds(row, name, place) for name in ("start", "end"))
    if start is None:
        raise LabError(f"{place}: start is missing; it must be a number of seconds")
    if end is not None and end < start:
        raise LabError(f"{place}: it ends at {end:g} s, before its start at {start:g} s")
    return Utterance(start, content, end)


def _seconds(row: dict, name: str, place: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, (bool, list, dict)) else float(value)
    except (ValueError, OverflowError):  # a whole number may be larger than any float
        seconds = math.nan
    if not abs(seconds) < LATEST:
        raise LabError(f"{place}: {name} is {shown(value)}; it must be a number of seconds")
    return seconds


def judged(said: Spoken, truth: Spoken, similar: SentenceModel | None) -> dict[str, Aligned]:
    """Every video of the truth. Without a sentence model, partners are never exchanged, and accuracy means nothing."""
    found = {}
    for video, due in truth.items():
        ours = said.get(video, [])
        if max(len(ours), len(due)) > MOST:
            raise LabError(f"video {shown(video)} has {max(len(ours), len(due)):,} utterances; at most {MOST:,} are "
                           "compared")
        texts = [[each.content for each in side] for side in (ours, due)]
        similarity = np.zeros((len(ours), len(due)))
        if similar and ours and due:
            similarity = similar.embed(texts[0]) @ similar.embed(texts[1]).T
        found[video] = judge(ours, due, similarity)
    return found


def score_tglg(said: Spoken, truth: Spoken, similar: SentenceModel | None) -> dict:
    """Scores of all videos together, and of guesses that need no video."""
    scores = trace_of(list(judged(said, truth, similar).values()), similar is not None)
    guesses = {name: trace_of(list(judged(guess, truth, similar).values()), similar is not None)
               for name, guess in baselines(truth).items()}
    notes = [] if similar else ["accuracy and final scores are empty: no sentence model (--sentence-model)"]
    if unknown := [video for video in said if video not in truth]:
        notes.append(f"{len(unknown)} videos that the truth does not have are left out: {first_few(unknown)}")
    if silent := [video for video in truth if not said.get(video)]:
        notes.append(f"nothing was said about {len(silent)} of {len(truth)} videos: {first_few(silent)}")
    return {"protocol": "clean", "videos": len(truth), "due": sum(map(len, truth.values())),
            "said": sum(len(said.get(video, ())) for video in truth), "scores": scores, "baselines": guesses,
            "unparsed": [], "notes": notes}


def trace_of(videos: Sequence[Aligned], has_meaning: bool) -> dict[str, float | None]:
    """TRACE; without a sentence model, everything that depends on the meaning is empty."""
    return {name: None if not has_meaning and ("accuracy" in name or "final" in name) else value
            for name, value in trace(videos).items()}


def baselines(truth: Spoken) -> dict[str, Spoken]:
    """The truth itself, and guesses that a model must beat: they know the words, or the times, but never both."""
    words = Counter(each.content for video in truth.values() for each in video).most_common(1)[0][0]
    gaps = np.concatenate([np.diff(sorted(each.start for each in video)) for video in truth.values()] or [[]])
    beat = float(np.median(gaps)) if len(gaps) else 10.0
    last = {video: max((each.start for each in due), default=0.0) for video, due in truth.items()}
    return {
        "the truth": truth,
        "the truth, 2 s late": {video: [Utterance(each.start + 2, each.content) for each in due]
                                for video, due in truth.items()},
        "the most frequent words at the true times": {video: [Utterance(each.start, words) for each in due]
                                                      for video, due in truth.items()},
        f"the most frequent words every {beat:.1f} s": {
            video: [Utterance(float(at), words) for at in np.arange(0, end + 1e-6, max(beat, 0.5))[:MOST]]
            for video, end in last.items()},
    }


def report(result: dict) -> list[str]:
    """A row for the predictions and one for each guess."""
    columns = {"final": "lin_comb_final_score", "(geometric)": "geo_mean_final_score", "accuracy": "accuracy_score",
               "timing": "lin_comb_timing_score", "start": "start_score", "stop": "stop_score",
               "overlap": "overlap_score", "precision": "prec", "recall": "recall", "F1": "f1"}
    rows = {"these predictions": result["scores"], **result["baselines"]}
    width = max(map(len, rows))
    lines = [f"TGLG, {result['said']} utterances for {result['due']} true ones in {result['videos']} videos, x 100", "",
             " ".join([" " * width, *(f"{name:>11}" for name in columns)])]
    for name, scores in rows.items():
        cells = ["-" if scores[key] is None else f"{100 * scores[key]:.1f}" for key in columns.values()]
        lines.append(" ".join([name.ljust(width), *(f"{cell:>11}" for cell in cells)]))
    return lines
