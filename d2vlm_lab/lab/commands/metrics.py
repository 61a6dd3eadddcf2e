"""`d2vlm-lab metrics [NAME]`: the metrics that a study may compare, with their meaning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from ...judging.catalogue import CATALOGUE, Metric
from .settings import indented, select

BETTER = {True: "higher is better", False: "lower is better", None: "neither high nor low is better by itself"}


def page(metrics: Sequence[Metric]) -> str:
    """For people: a paragraph for each metric."""
    lines = []
    for metric in metrics:
        facts = [metric.label, BETTER[metric.higher_is_better]]
        if metric.unit:
            facts.append(f"unit: {metric.unit}")
        if metric.tasks:
            facts.append(f"needs questions of the task {' or '.join(metric.tasks)}")
        lines += [metric.name, *indented(metric.meaning), *indented("; ".join(facts)), ""]
    return "\n".join(lines[:-1])


def configure(parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a metric (dvc_F1@0.5) or a part of a name (dvc)")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects instead of text")


def run(args) -> None:
    metrics = list(CATALOGUE.values())
    if args.name is not None:
        metrics = select(metrics, args.name, "metric")
    print(json.dumps([asdict(metric) for metric in metrics], indent=1) if args.json else page(metrics))
