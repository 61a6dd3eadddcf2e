"""What a metric's name means, in words that an axis can carry; settings as a command line takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    text: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.unit})" if self.unit else self.text


GROUPS = {"named": "named events", "tvg": "when-questions", "gvq": "what-and-when questions", "dvc": "dense captions",
          "epm": "related events", "tal": "all times of an action", "evs": "summaries", "vhd": "highlights",
          "slc": "steps", "tem": "events like one shown", "alone": "events without a rival",
          "inner": "events inside another", "outer": "events around another", "crossing": "events across another"}
OF_GROUP = {"F1@0.5": Label("F1 at overlap 0.5"), "mIoU": Label("mean overlap", "IoU"),
            "exact_text": Label("texts word for word right", "share"),
            "surplus": Label("intervals too many", "per answer"), "found": Label("found", "share"),
            "captured": Label("answered with the other one", "share"), "questions": Label("questions", "number")}
ALONE = {
    "dvc_caption_F1": Label("dense captions right, times aside", "F1"),
    "dvc_joint_F1@0.5": Label("dense captions right at the right time", "F1"),
    "second_F1@0.5": Label("second mentions: F1 at overlap 0.5"),
    "mentions_agree": Label("overlap of both mentions", "IoU"),
    "read_at_0.5": Label("intervals read right behind true answers", "share"),
    "spread": Label("spread of evidence states", "variance"),
    "held_out_answer": Label("held-out answer loss", "nats per token"),
    "held_out_grounding": Label("held-out grounding loss, weighted"),
    "held_out_consistency": Label("held-out consistency loss, weighted"),
    **{f"prefers_{factor}": Label(f"wrong answers told from true ones: {factor}", "share")
       for factor in ("when", "which", "what", "how")},
    "seconds": Label("time on the clock", "s"),
    "cpu_seconds": Label("CPU time", "s"),
    "training_seconds": Label("training, time on the clock", "s"),
    "training_cpu_seconds": Label("training, CPU time", "s"),
    "memory_mb": Label("memory of the process at its peak", "MB"),
    "gpu_memory_mb": Label("GPU memory at its peak", "MB"),
    "answer_ms": Label("one answer", "ms"),
    "answer_memory_mb": Label("tensors of one answer at their peak", "MB"),
    "frames_seen": Label("frames in the language model", "number"),
}


def label(metric: str) -> Label:
    """The label of a metric; one that nobody described is called by its name."""
    if metric in ALONE:
        return ALONE[metric]
    group, _, name = metric.partition("_")
    if group in GROUPS and name in OF_GROUP:
        return Label(f"{GROUPS[group]}: {OF_GROUP[name].text}", OF_GROUP[name].unit)
    return Label(metric)


def assignments(settings: Mapping[str, object]) -> list[str]:
    """`key=value` for each; `off` and `false` are the same word there."""
    def word(value: object) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return value if isinstance(value, str) else json.dumps(value)

    return [f"{key}={word(value)}" for key, value in settings.items()]
