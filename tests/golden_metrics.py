"""Numbers recorded from the published scorers, and how close ours must be."""

from __future__ import annotations

import json
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "metrics"
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
