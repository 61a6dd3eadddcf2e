"""Numbers recorded from the published scorers, and how close ours must be."""

from __future__ import annotations

import json
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "metrics"
TASKS = ("rar", "eca", "rvq", "tvg", "epm", "tal", "evs", "vhd", "tem", "gvq", "dvc", "slc")
SCRIPTS = {"etbench": "compute_metrics_original_etchat.py",
           "etbench-strict": "compute_metrics_original_etchat_strict_rvq.py",
           "d2vlm": "new_compute_metrics.py", "d2vlm-loose": "new_compute_metircs_looser.py"}
SHORT = {"etbench": "original", "etbench-strict": "strict", "d2vlm": "new", "d2vlm-loose": "looser"}


def recorded(name: str):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def answers(folder: str) -> list[dict]:
    return [record for file in sorted((GOLDEN / folder).glob("*.json")) for record in recorded(file)]


def differences(ours, theirs, tolerance: float = 1.05e-5, where: str = "") -> list[str]:
    """Where two trees of numbers differ; what only we have is no difference."""
    if isinstance(theirs, dict):
        missing = [f"{where}/{key} missing" for key in theirs if key not in ours]
        return missing + [line for key, value in theirs.items() if key in ours
                          for line in differences(ours[key], value, tolerance, f"{where}/{key}")]
    if isinstance(theirs, list):
        if len(ours) != len(theirs):
            return [f"{where}: {len(ours)} for {len(theirs)}"]
        return [line for i, (a, b) in enumerate(zip(ours, theirs))
                for line in differences(a, b, tolerance, f"{where}/{i}")]
    if isinstance(theirs, float) and isinstance(ours, (int, float)):
        tolerance = tolerance * 2 if where.endswith("SentSim") else tolerance
        return [] if abs(ours - theirs) <= tolerance else [f"{where}: {ours} for {theirs}"]
    return [] if ours == theirs else [f"{where}: {ours!r} for {theirs!r}"]


def perfect(task, idx=0, **more):
    """A record with the answer that says just what is true."""
    spans = [[3.0, 9.5], [20.0, 31.0], [40.5, 60.0]]
    flat = task in ("tvg", "epm", "gvq")
    times = ", ".join(f"{s} - {e}" for s, e in spans[:1] if flat) or ", ".join(f"{s} - {e}" for s, e in spans)
    record = {"task": task, "source": "s", "idx": idx, "video": f"{idx}.mp4", "tgt": spans[0] if flat else spans,
              "p": 1, "o": ["a cat", "a dog", "a cow", "a hen"], "g": ["chop onions", "fry them", "serve the dish"]}
    answer = f"It happens in {times}."
    if task in ("rar", "eca", "rvq", "gvq"):
        answer = f"(B) {answer}"
    if task in ("dvc", "slc"):
        answer = " ".join(f"{s} - {e} seconds, {g}." for (s, e), g in zip(spans, record["g"]))
    return {**record, "a": f"{times.replace(',', '')} </evi> {answer}", **more}
