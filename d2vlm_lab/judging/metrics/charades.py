"""Charades-STA: recall of one moment at IoU 0.3, 0.5 and 0.7, and the mean IoU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from . import quirks
from .parse import split_intervals
from .reading import read_intervals
from .temporal import temporal_iou

THRESHOLDS = (0.3, 0.5, 0.7)
SOURCE = ("tvg", "charades_sta")


def score_charades(records: Sequence[dict], truth: dict[int, Sequence[float]], protocol: str = "clean") -> dict:
    """`truth`: seconds by position in the ground-truth file; answers to other data sets are left out."""
    records = [record for record in records if (record["task"], record["source"]) == SOURCE]
    return (_clean if protocol == "clean" else _published)(records, truth)


def _clean(records: Sequence[dict], truth: dict[int, Sequence[float]]) -> dict:
    """First interval of the answer; whatever has no prediction, or an unreadable one, has IoU 0."""
    overlaps = dict.fromkeys(truth, 0.0)
    unparsed = []
    for record in records:
        spans = read_intervals(record["a"]).intervals
        overlaps[record["idx"]] = float(temporal_iou(spans[:1], [truth[record["idx"]]]).max()) if spans else 0.0
        unparsed += [] if spans else [record["idx"]]
    values = np.array(list(overlaps.values()))
    scores = {f"R@{t}": float((values >= t).mean()) for t in THRESHOLDS} | {"mIoU": float(values.mean())}
    return {"protocol": "clean", "Total": len(overlaps), "Failed": len(unparsed), **scores,
            "missing": sorted(set(truth) - {record["idx"] for record in records}), "unparsed": unparsed}


def _published(records: Sequence[dict], truth: dict[int, Sequence[float]]) -> dict:
    """Evidence stands in for a missing answer; only entries with a time count, known to the truth or not."""
    converted = {str(record["idx"]): _converted(record) for record in records}
    result = {str(t): 0 for t in (0, *THRESHOLDS)} | {"miou": 0.0}
    for idx, interval in truth.items():
        if str(idx) not in converted:
            continue
        entry = converted[str(idx)]
        iou = quirks.iou_of_hull(interval, entry["timestamp"] if entry else (0, 0))
        result["miou"] += iou
        for t in (0, *THRESHOLDS):
            result[str(t)] += iou >= t
    n = sum(bool(entry) for entry in converted.values())
    lines = [f"IOU {t}: {result[str(t)] * 100 / max(n, 1)}" for t in THRESHOLDS]
    return {"protocol": "d2vlm", "converted": converted, "eval": {
        "Result": result, "num": n, "score_file": [*lines, f"mIOU: {result['miou'] / max(n, 1)}"]},
        "unparsed": [int(idx) for idx, entry in converted.items() if not entry]}


def _converted(record: dict) -> dict | list:
    """[] where nothing can be read, and where the official script stops: no evidence, or a malformed number."""
    reading = quirks.malformed_numbers_fail(partial(split_intervals, forgiven=""))(record["a"])
    if not reading.evidence:
        return []
    interval = (reading.intervals or reading.evidence)[0]
    query = record.get("q", "").split("'")
    return {"timestamp": list(interval), "vid": PurePosixPath(record.get("video", "")).name,
            "query": (query[1] if len(query) > 1 else "") + ". "}
