"""Questions on which the variants of a study disagree most, with what each of them said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .read import Results, Run


@dataclass(frozen=True)
class Example:
    """One question, its truth, and the lines of all variants about it."""

    seed: int
    answers: dict[str, dict]  # variant -> its line of predictions.jsonl
    runs: dict[str, Run]

    @property
    def asked(self) -> dict:
        """Question, truth, duration: the same in every line."""
        return next(iter(self.answers.values()))


def disagreements(results: Results, most: int = 6, of_a_task: int = 2) -> list[Example]:
    """Of the first seed that most variants have: the largest spread of overlap with the truth, a few of each task."""
    runs = _one_seed(results.done)
    answers = {name: {line["sample"]: line for line in run.predictions} for name, run in runs.items()}
    common = set.intersection(*map(set, answers.values())) if len(answers) > 1 else set()
    asked = {sample: [lines[sample] for lines in answers.values()] for sample in common}
    asked = {sample: lines for sample, lines in asked.items()
             if len({(line["question"], str(line["events"])) for line in lines}) == 1}  # names can mean two worlds
    spread = {sample: float(np.std([line["mIoU"] for line in lines])) for sample, lines in asked.items()}
    found, tasks = [], Counter()
    for sample in sorted((s for s in spread if spread[s] > 0), key=lambda s: (-spread[s], s)):
        task = asked[sample][0]["task"]
        if tasks[task] < of_a_task and len(found) < most:
            tasks[task] += 1
            found.append(Example(next(iter(runs.values())).seed, {n: a[sample] for n, a in answers.items()}, runs))
    return found


def _one_seed(runs: Sequence[Run]) -> dict[str, Run]:
    """Variant -> run, for the seed that has the most variants with predictions; the lowest of those."""
    having = [run for run in runs if run.predictions]
    if not having:
        return {}
    count = Counter(run.seed for run in having)
    seed = min(count, key=lambda seed: (-count[seed], seed))
    return {run.variant: run for run in having if run.seed == seed}
