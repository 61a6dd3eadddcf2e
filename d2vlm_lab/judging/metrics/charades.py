"""Charades-STA: recall of one moment at IoU 0.3, 0.5 and 0.7, and the mean IoU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from . import quirks
from .published_reading import malformed_numbers_fail, split_intervals
from .reading import read_intervals
from .temporal import temporal_iou

THRESHOLDS = (0.3, 0.5, 0.7)
SOURCE = ("tvg", "charades_sta")  # task and source of its predictions


def score_charades(records: Sequence[dict], truth: dict[int, Sequence[float]], protocol: str = "clean") -> dict:
    """`truth`: seconds by position in the ground-truth file; answers to other data sets are left out."""
    records = [record for record in records if (record["task"], record["source"]) == SOURCE]
    return (_clean if protocol == "clean" else _published)(records, truth)


def _clean(records: Sequence[dict], truth: dict[int, Sequence[float]]) -> dict:
    """First interval of the answer; whatever has no prediction, or an unreadable one, has IoU 0."""
    spans = {record["idx"]: read_intervals(record["a"]).intervals[:1] for record in records}
    iou = np.array([temporal_iou(spans.get(idx, ()), [interval]).max(initial=0) for idx, interval in truth.items()])
    unparsed = [idx for idx, span in spans.items() if not span]
    scores = {f"R@{t}": float((iou >= t).mean()) for t in THRESHOLDS} | {"mIoU": float(iou.mean())}
    missing = sorted(truth.keys() - spans.keys(), key=lambda idx: (isinstance(idx, str), idx))  # ids may be texts, too
    return {"protocol": "clean", "Total": len(truth), "Failed": len(unparsed), **scores, "missing": missing,
            "unparsed": unparsed}


def _published(records: Sequence[dict], truth: dict[int, Sequence[float]]) -> dict:
    """Evidence stands in for a missing answer; only entries with a time count, known to the truth or not."""
    converted = {str(record["idx"]): _converted(record) for record in records}
    overlaps = [quirks.iou_of_hull(interval, entry["timestamp"] if entry else (0, 0))
                for idx, interval in truth.items() if (entry := converted.get(str(idx))) is not None]
    result = {str(t): sum(iou >= t for iou in overlaps) for t in (0, *THRESHOLDS)} | {"miou": float(sum(overlaps))}
    n = sum(bool(entry) for entry in converted.values())
    lines = [f"IOU {t}: {result[str(t)] * 100 / max(n, 1)}" for t in THRESHOLDS]
    return {"protocol": "d2vlm", "converted": converted, "eval": {
        "Result": result, "num": n, "score_file": [*lines, f"mIOU: {result['miou'] / max(n, 1)}"]},
        "unparsed": [record["idx"] for record in records if not converted[str(record["idx"])]]}


def _converted(record: dict) -> dict | list:
    """[] where nothing can be read, and where the official script stops: no evidence, or a malformed number."""
    reading = malformed_numbers_fail(partial(split_intervals, forgiven=""))(record["a"])
    if not reading.evidence:
        return []
    interval = (reading.intervals or reading.evidence)[0]
    query = record.get("q", "").split("'")
    return {"timestamp": list(interval), "vid": PurePosixPath(record.get("video", "")).name,
            "query": (query[1] if len(query) > 1 else "") + ". "}
