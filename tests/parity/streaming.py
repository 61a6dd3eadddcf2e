"""TRACE against numbers from the code of TGLG: every pair of utterances, its four scores, and the means."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from d2vlm_lab.judging.metrics.trace import Aligned, Utterance, judge, trace

from .compare import EXACT, Found, compare, read_json

TOLERANCE = {"atol": 1e-6}


def trace_rows(folder: Path) -> Found:
    """One row for each quantity over all videos, and for each mean over all groups of videos."""
    cases = read_json(folder / "trace.json")
    groups = [[_judged(video) for video in case["videos"]] for case in cases]
    videos = [video for case in cases for video in case["videos"]]
    ours = [video for group in groups for video in group]
    rows = [compare("streaming/videos", "matched", [number for video in ours for number in np.ravel(video.pairs)],
                    [number for video in videos for number in np.ravel(video["matched"])], **EXACT)]
    for row, name in enumerate(("accuracy", "start", "stop", "overlap")):
        rows.append(compare("streaming/videos", name, np.concatenate([video.scores[row] for video in ours]),
                            [value for video in videos for value in video[name]], **TOLERANCE))
    computed = [trace(group) for group in groups]
    left = []
    for name in dict.fromkeys(name for case in cases for name in case["expected"]):
        if name not in computed[0]:
            left.append(f"streaming/trace: no score is called {name}")
            continue
        known = [(mine[name], case["expected"][name]) for mine, case in zip(computed, cases)
                 if name in case["expected"]]
        rows.append(compare("streaming/trace", name, *zip(*known), **TOLERANCE))
    return rows, left


def _judged(video: dict) -> Aligned:
    said, due = ([Utterance(each["start"], each["content"], each.get("end")) for each in video[side]]
                 for side in ("generated", "truth"))
    return judge(said, due, np.array(video["similarity"]))
