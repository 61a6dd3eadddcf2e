"""Rewards for sets of intervals, and times as distributions over bins, against numbers from the rivals' code."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from d2vlm_lab.ideas import bins, rewards

from .compare import Found, compare, read_json

TOLERANCE = {"atol": 1e-6, "rtol": 1e-6}  # times up to 32 bins are recorded in float32
BY_SETS = {"iou": rewards.iou, "giou": rewards.giou, "matched_giou": rewards.matched_giou,
           "precision_iou": rewards.precision_iou}
BY_DISTANCE = {"wasserstein": rewards.wasserstein, "wasserstein2": rewards.wasserstein2}


def rival_rows(folder: Path) -> Found:
    """One row for each reward over all recorded sets, and for each number of each recorded batch of bins."""
    recorded = read_json(folder / "recorded.json")
    rows, left = [], []
    cases = recorded.get("rewards", [])
    for name in dict.fromkeys(key for case in cases for key in case if key not in ("predicted", "true")):
        if (reward := reward_named(name)) is None:
            left.append(f"rivals/rewards: no reward is called {name}")
            continue
        known = [case for case in cases if case.get(name) is not None]
        computed = [reward(*([tuple(span) for span in case[side]] for side in ("predicted", "true")))
                    for case in known]
        rows.append(compare("rivals/rewards", name, computed, [case[name] for case in known], **TOLERANCE))
    for number, case in enumerate(recorded.get("time_bins", [])):
        logits = torch.tensor(case["logits"]).unflatten(-1, (2, case["bins"] + 1))
        target = torch.tensor(case["target"])
        expected = bins.expected_anchors(logits)
        computed = {"expected_times": expected,
                    "dfl_sum_over_both_ends_divided_by_bins": bins.distribution_focal_loss(logits, target).sum(),
                    "diou_mean": bins.diou_loss(expected, target).mean()}
        rows += [compare(f"rivals/time_bins/{number}", name, value, case[name], **TOLERANCE)
                 for name, value in computed.items() if name in case]
    return rows, left


def reward_named(name: str):
    """`wasserstein_beta3` is the reward `wasserstein` at beta 3; None where there is no such reward."""
    base, _, beta = name.partition("_beta")
    if beta and base in BY_DISTANCE:
        return partial(BY_DISTANCE[base], beta=float(beta))
    return BY_SETS.get(name)
