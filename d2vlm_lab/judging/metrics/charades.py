"""One moment for each question: recall at IoU 0.3, 0.5 and 0.7, and the mean IoU. Charades-STA and TimeLens-Bench."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from . import first_pair, quirks
from .published_reading import malformed_numbers_fail, split_intervals
from .reading import Reading, read_intervals
from .temporal import temporal_iou

THRESHOLDS = (0.3, 0.5, 0.7)
MOMENT = (*(f"R@{t}" for t in THRESHOLDS), "mIoU")  # the columns of a table
SOURCE = ("tvg", "charades_sta")  # task and source of its predictions
Key = int | str | tuple


def score_charades(records: Sequence[dict], truth: dict[int, Sequence[float]], protocol: str = "clean") -> dict:
    """`truth`: seconds by position in the ground-truth file; answers to other data sets are left out."""
    records = [record for record in records if (record["task"], record["source"]) == SOURCE]
    if protocol == "d2vlm":
        return _published(records, truth)
    answers = {record["idx"]: record["a"] for record in records}
    if protocol == "lmms-eval":  # this protocol divides by the number of answers
        truth = {idx: interval for idx, interval in truth.items() if idx in answers}
    return _one_moment(answers, truth, protocol, {"clean": read_intervals, "lmms-eval": first_pair.lmms_charades})


def score_timelens(records: Sequence[dict], protocol: str = "clean") -> dict:
    """The scores of each set, which is named by its source, and their means."""
    readers = {"clean": read_intervals, "timelens": first_pair.timelens}
    sets = {}
    for source in dict.fromkeys(record["source"] for record in records):
        of_set = {record["idx"]: record for record in records if record["source"] == source}
        sets[source] = _one_moment({idx: record["a"] for idx, record in of_set.items()},
                                   {idx: record["tgt"] for idx, record in of_set.items()}, protocol, readers)
    return {"protocol": protocol, "sets": sets, **{name: float(np.mean([each[name] for each in sets.values()]))
                                                   for name in MOMENT},
            "unparsed": {"tvg": {source: each["unparsed"] for source, each in sets.items()}}}


def _one_moment(answers: dict[Key, str], truth: dict[Key, Sequence[float]], protocol: str,
                readers: dict[str, Callable[[str], Reading]]) -> dict:
    """Scores of the first interval of each answer; a question without a readable prediction has IoU 0."""
    spans = {idx: readers[protocol](text).intervals[:1] for idx, text in answers.items()}
    pairs = [(span[0], truth[idx]) if (span := spans.get(idx)) else None for idx in truth]
    iou = np.array([0.0 if pair is None else temporal_iou(*([span] for span in pair)).item() if protocol == "clean"
                    else quirks.iou_of_hull(*pair) for pair in pairs])
    unparsed = [idx for idx, span in spans.items() if not span]
    scores = {f"R@{t}": float((iou >= t).mean()) for t in THRESHOLDS} | {"mIoU": float(iou.mean())}
    missing = sorted(truth.keys() - spans.keys(), key=lambda idx: (isinstance(idx, str), idx))  # ids may be texts, too
    return {"protocol": protocol, "Total": len(truth), "Failed": len(unparsed), **scores, "missing": missing,
            "unparsed": unparsed}


def _published(records: Sequence[dict], truth: dict[int, Sequence[float]]) -> dict:
    """Evidence replaces a missing answer; only entries with a time count, whether or not the truth has them."""
    converted = {str(record["idx"]): _converted(record) for record in records}
    overlaps = [quirks.iou_of_hull(interval, entry["timestamp"] if entry else (0, 0))
                for idx, interval in truth.items() if (entry := converted.get(str(idx))) is not None]
    result = {str(t): sum(iou >= t for iou in overlaps) for t in (0, *THRESHOLDS)} | {"miou": float(sum(overlaps))}
    # Published bug: what cannot be read is left out of the denominator. A video that cannot be read is not.
    n = len({str(record["idx"]) for record in records if converted[str(record["idx"])] or "error" in record})
    lines = [f"IOU {t}: {result[str(t)] * 100 / max(n, 1)}" for t in THRESHOLDS]
    return {"protocol": "d2vlm", "converted": converted, "eval": {
        "Result": result, "num": n, "score_file": [*lines, f"mIOU: {result['miou'] / max(n, 1)}"]},
        "unparsed": [record["idx"] for record in records if not converted[str(record["idx"])]]}


def _converted(record: dict) -> dict | list:
    """An empty list if nothing can be read, or if the official script stops: no evidence, or a malformed number."""
    reading = malformed_numbers_fail(partial(split_intervals, forgiven=""))(record["a"])
    if not reading.evidence:
        return []
    interval = (reading.intervals or reading.evidence)[0]
    query = record.get("q", "").split("'")
    return {"timestamp": list(interval), "vid": PurePosixPath(record.get("video", "")).name,
            "query": (query[1] if len(query) > 1 else "") + ". "}
