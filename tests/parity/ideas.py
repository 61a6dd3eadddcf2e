"""The pure functions, applied to recorded curves and states."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from d2vlm_lab.config import Method
from d2vlm_lab.ideas.consistency import consistency_loss
from d2vlm_lab.ideas.grounding import frame_targets, grounding_loss, interval_log_probability, similarity
from d2vlm_lab.ideas.salience import peak_share

from .compare import LOG_PROBABILITY, LOSS, STATE, TARGET, Row, compare, read_arrays, read_json


def interval_rows(folder: Path) -> tuple[list[Row], list[str]]:
    """The salient interval of recorded curves, one row for each kind of curve, and of degenerate curves."""
    rows, kinds = [], {}
    if (folder / "cases.json").exists():
        for case in read_json(folder / "cases.json"):
            kinds.setdefault(case["kind"], []).append((case["similarity"], case["interval"]))
    for kind, cases in kinds.items():
        curves = [torch.tensor(curve, dtype=torch.float32) for curve, _ in cases]
        mask = pad_sequence([torch.ones_like(curve, dtype=torch.bool) for curve in curves], batch_first=True)
        intervals = peak_share(pad_sequence(curves, batch_first=True), mask)
        rows.append(compare(f"interval/{kind}", "interval", intervals, [interval for _, interval in cases]))
    if (folder / "degenerate.json").exists():
        rows += [_degenerate(case) for case in read_json(folder / "degenerate.json")]
    return rows, []


def _degenerate(case: dict) -> Row:
    row = partial(compare, f"interval/{case['case']}", "interval")
    try:
        interval = peak_share(torch.tensor([[float(value) for value in case["similarity"]]]))
    except (ValueError, IndexError):
        return row(0, 0 if isinstance(case["result"], str) else 1)  # both raise, or neither
    return row(interval, 0 if isinstance(case["result"], str) else case["result"])


def grounding_rows(folder: Path) -> tuple[list[Row], list[str]]:
    """Similarity, targets, losses and log-probability from recorded frame and evidence states."""
    rows = []
    for path in sorted(folder.glob("*.npz")):
        data = read_arrays(path)
        tensor = {name: torch.from_numpy(value) for name, value in data.items()}
        weights, base = Method(), float(data["alpha"])
        grounded, referenced = tensor["evidence_tokens"].chunk(2)
        logits = similarity(tensor["evidence_tokens"], tensor["frame_tokens"])
        intervals = tensor["intervals"].float().repeat(2, 1)
        targets, given = (frame_targets(i, logits.shape[-1], base) for i in (intervals.round(), intervals))
        bce, l1 = grounding_loss(logits, targets).mean(), consistency_loss(grounded, referenced).mean()
        computed = {
            "similarity_logits": (logits, STATE), "soft_targets": (targets, TARGET), "bce_mean": (bce, LOSS),
            "grounding_loss_times10": (weights.grounding_weight * bce, LOSS), "l1_mean": (l1, LOSS),
            "consistency_loss_times10": (weights.consistency_weight * l1, LOSS),
            "total_loss": (weights.grounding_weight * bce + weights.consistency_weight * l1, LOSS),
            "fpo_soft_targets_unrounded": (given, TARGET),
            "fpo_grounding_logprob": (interval_log_probability(logits, given).sum(), LOG_PROBABILITY)}
        rows += [compare(f"grounding/{path.stem}", name, value, data[name], **tolerance)
                 for name, (value, tolerance) in computed.items() if name in data]
    return rows, []


