"""Questions on which the variants of a study disagree most, with what each of them answered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from ...ideas.evidence import Event
from ..show.card import Answered, Card
from .read import Results, Run


def examples(results: Results, pages: Mapping[str, str], most: int = 6, of_a_task: int = 2) -> list[Card]:
    """From the first seed that most variants have: the largest spread of overlap with the truth, a few of each task."""
    runs = _one_seed(results)
    asked: dict[tuple, dict[str, dict]] = defaultdict(dict)  # the same name can mean a sample of another world
    for variant, run in runs.items():
        for line in run.predictions:
            asked[line["sample"], line["question"], str(line["events"])][variant] = line
    spread = {key: float(np.std([line["mIoU"] for line in lines.values()])) for key, lines in asked.items()
              if len(lines) == len(runs)}
    cards, tasks = [], Counter()
    for key in sorted((key for key in spread if spread[key] > 0), key=lambda key: (-spread[key], key)):
        task = next(iter(asked[key].values()))["task"]
        if tasks[task] < of_a_task and len(cards) < most:
            tasks[task] += 1
            cards.append(_card(asked[key], runs, pages))
    return cards


def _card(lines: Mapping[str, dict], runs: Mapping[str, Run], pages: Mapping[str, str]) -> Card:
    asked = next(iter(lines.values()))
    answers = [Answered(line["answer"], tuple(map(tuple, line["intervals"])), name=name, score=line["mIoU"],
                        link=pages.get(runs[name].id, "")) for name, line in lines.items()]
    return Card(asked["question"], tuple(answers), truth=tuple(Event(a, b, "") for a, b in asked["events"]),
                right=asked["truth"], shown=(0.0, asked["duration"]), task=asked["task"], video=asked["video"],
                id=asked["sample"])


def _one_seed(results: Results) -> dict[str, Run]:
    """Variant -> run, for the seed that has the most variants with predictions; the lowest of those."""
    answered = [run for run in results.done if run.predictions]
    count = Counter(run.seed for run in answered)
    seed = min(count, key=lambda seed: (-count[seed], seed), default=None)
    return {run.variant: run for run in answered if run.seed == seed}
