"""Exercises of page 10: what counts as found, and how sure one can be of a difference."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from torch import Tensor

from ...config import ROOT
from ...errors import LabError
from ...judging.metrics import temporal
from ..plots import COLORS, new_figure, seed_interval
from .exercise import Comparison, Judgement, Mistake, prediction

generator = torch.Generator().manual_seed(10)


def _free(overlaps: Tensor, threshold: float) -> float:
    return temporal.harmonic(*temporal.coverage(overlaps.numpy(), threshold)) if sum(overlaps.shape) else 1.0


def _f1(pairs: int, overlaps: Tensor) -> float:
    return 2 * pairs / sum(overlaps.shape) if sum(overlaps.shape) else 1.0


def _greedy(overlaps: Tensor, threshold: float, most: bool = False) -> float:
    """Every prediction takes the first free truth that it reaches, or the one that it overlaps `most`."""
    taken: set[int] = set()
    for row in overlaps.tolist():
        hits = [k for k, value in enumerate(row) if value >= threshold and k not in taken]
        taken |= set(sorted(hits, key=row.__getitem__, reverse=True)[:1] if most else hits[:1])
    return _f1(len(taken), overlaps)


def _largest_sum(overlaps: Tensor, threshold: float) -> float:
    """The pairs with the largest sum of overlaps, instead of the largest number of pairs."""
    allowed = np.where(overlaps.numpy() >= threshold, overlaps.numpy(), 0)
    return _f1(np.count_nonzero(allowed[temporal.best_pairs(allowed)]), overlaps)


def _pairs(overlaps: Tensor, threshold: float) -> int:
    return len(temporal.assign(overlaps.numpy(), threshold))


matched_f1 = Comparison(
    "matched_f1", "10", "overlaps threshold",
    hints=("Find the largest number of pairs (prediction, truth) with an overlap of at least the threshold, in which "
           "no prediction and no truth is used twice.",
           "`scipy.optimize.linear_sum_assignment(good, maximize=True)` finds the best pairs; "
           "`good = (overlaps >= threshold).numpy()` is True where a pair is allowed. Count the allowed pairs among "
           "those that it chose.",
           "F1 is twice the number of pairs, divided by the number of predictions plus the number of truths. If there "
           "is nothing on either side, nothing is wrong: 1."),
    returns="one number between 0 and 1",
    right=lambda overlaps, threshold: temporal.matched_f1(overlaps.numpy(), threshold),
    cases=[(torch.tensor([[0.9]]), 0.5), (torch.tensor([[0.5]]), 0.5), (torch.tensor([[0.1]]), 0.5),
           (torch.tensor([[0.9], [0.8]]), 0.5), (torch.tensor([[0.6, 0.7]]), 0.5),
           (torch.tensor([[0.6, 0.7], [0.8, 0.0]]), 0.5), (torch.tensor([[0.6, 0.9], [0.1, 0.8]]), 0.5),
           (torch.tensor([[0.9, 0.6], [0.8, 0.1]]), 0.5),
           (torch.tensor([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]]), 0.5),
           (torch.zeros(0, 2), 0.5), (torch.zeros(0, 0), 0.5),
           *((torch.rand(3, 4, generator=generator), 0.5) for _ in range(4))],
    mistakes=(
        Mistake("Several predictions may hit the same event in your score, or one prediction several events. Pair "
                "them one to one, so that each counts once. Predictions without an event are false alarms.", _free),
        Mistake("Each prediction takes the first event that it reaches, and so takes it away from another prediction "
                "that reaches no other event. Look for the pairing with the most pairs.", _greedy),
        Mistake("Each prediction takes the event that it overlaps most, even if another prediction reaches no other "
                "event. Look for the pairing with the most pairs.", lambda o, t: _greedy(o, t, most=True)),
        Mistake("Each event takes the prediction that overlaps it most, even if no prediction is left for another "
                "event. Look for the pairing with the most pairs.", lambda o, t: _greedy(o.T, t, most=True)),
        Mistake("You make the sum of the overlaps as large as possible. Make the number of pairs as large as "
                "possible: every allowed pair counts 1.", _largest_sum),
        Mistake("An overlap of exactly the threshold counts as found.",
                lambda o, t: temporal.matched_f1(o.numpy(), t + 1e-6)),
        Mistake("You return the precision: events that were missed do not lower it.",
                lambda o, t: _pairs(o, t) / len(o) if len(o) else float(not o.shape[1])),
        Mistake("You return the recall: surplus predictions do not lower it.",
                lambda o, t: _pairs(o, t) / o.shape[1] if o.shape[1] else float(not len(o))),
        Mistake("If nothing is true and nothing was predicted, the answer is right, and the score is 1, not 0.",
                lambda o, t: temporal.matched_f1(o.numpy(), t) if sum(o.shape) else 0.0)))


def _interval(scores: Sequence[float], reference: Sequence[float], factor: float = 1.0) -> tuple[float, float]:
    mean, half = seed_interval([a - b for a, b in zip(scores, reference)])
    return mean, half * factor


def _unpaired(scores: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    (a, wide), (b, wider) = seed_interval(scores), seed_interval(reference)
    return a - b, math.hypot(wide, wider)


SEEDS = [([0.80, 0.90], [0.70, 0.78]), ([0.5, 0.7, 0.9], [0.4, 0.65, 0.8]), ([0.3], [0.2]),
         (torch.rand(5, generator=generator, dtype=torch.float64).tolist(),
          torch.rand(5, generator=generator, dtype=torch.float64).tolist())]
paired_difference = Comparison(
    "paired_difference", "10", "scores reference",
    hints=("First subtract: one difference for each seed. What both runs of a seed have in common, such as an easy "
           "draw of training data, cancels.",
           "The standard deviation of the differences, with n - 1 below the fraction, divided by the square root of n, "
           "is the standard error of their mean.",
           "Multiply it by `scipy.stats.t.ppf(0.975, n - 1)`. With one seed there is no interval: `math.nan`."),
    returns="a pair of two numbers: the mean difference, and half the width of its interval",
    right=_interval, cases=SEEDS,
    mistakes=(
        Mistake("You compare the two variants as if their seeds had nothing to do with each other. Subtract seed by "
                "seed first: what two runs of a seed share then cancels, and the interval becomes narrower.",
                _unpaired),
        Mistake("You use 1.96, as if the standard deviation were known. From a few seeds it is only estimated, so "
                "use the factor of Student's t distribution, which is far larger.",
                lambda s, r: (_interval(s, r)[0], 1.96 * float(np.std(np.subtract(s, r), ddof=1)) / math.sqrt(len(s))
                              if len(s) > 1 else math.nan)),
        Mistake("You divide by n in the standard deviation. The mean was estimated from the same numbers, so n - 1 is "
                "right.", lambda s, r: _interval(s, r, math.sqrt((len(s) - 1) / len(s)))),
        Mistake("You do not divide by the square root of n. A mean over several seeds is known more precisely than a "
                "single run.", lambda s, r: _interval(s, r, math.sqrt(len(s)))),
        Mistake("Your difference has the wrong sign: positive means that `scores` are higher than `reference`.",
                lambda s, r: (-_interval(s, r)[0], _interval(s, r)[1])),
        Mistake("With one seed, you claim to know the difference exactly. One seed says nothing about others: `nan`.",
                lambda s, r: _interval(s, r) if len(s) > 1 else (s[0] - r[0], 0.0)),
        Mistake("You return the whole width of the interval. Return half of it.",
                lambda s, r: _interval(s, r, 2.0))))

standard_error = Comparison(
    "standard_error", "10", "share n",
    hints=("One question is right with the probability `share`. The variance of such a coin is share (1 - share).",
           "The variance of the mean of n coins is n times smaller; its square root is the standard error."),
    returns="one number",
    right=lambda share, n: math.sqrt(share * (1 - share) / n),
    cases=[(0.5, 100), (0.9, 40), (1.0, 7), (0.2, 500)],
    mistakes=(
        Mistake("You return the variance. The standard error is its square root, which has the same unit as the share.",
                lambda share, n: share * (1 - share) / n),
        Mistake("You return the standard deviation of a single question. The mean of n questions is known better.",
                lambda share, n: math.sqrt(share * (1 - share))),
        Mistake("You divide by n outside the square root. With four times as many questions, the error is halved, not "
                "divided by four.", lambda share, n: math.sqrt(share * (1 - share)) / n),
        Mistake("You forget the factor (1 - share). If all questions are right, there is no noise.",
                lambda share, n: math.sqrt(share / n))))


def _three_answers() -> dict:
    truth, everything, thrice = [(2.0, 6.0), (9.0, 12.0)], [(2.0, 12.0)], [(2.0, 6.0), (2.5, 6.0), (2.0, 5.5)]
    return {"one for all, free, 0.3": temporal.grounding_f1(everything, truth, 0.29),
            "one for all, one to one, 0.3": temporal.matched_f1(temporal.temporal_iou(everything, truth), 0.29),
            "three times, free, 0.5": temporal.grounding_f1(thrice, truth, 0.5),
            "three times, one to one, 0.5": temporal.matched_f1(temporal.temporal_iou(thrice, truth), 0.5)}


three_answers = prediction(
    "three_answers", "10", truth=_three_answers, tolerance=0.011,
    hints=("Free: the precision is the share of predictions that reach any event; the recall is the share of events "
           "that are reached by any prediction. F1 = 2PR / (P + R).",
           "One to one: twice the number of pairs, divided by predictions plus events."),
    explains={"one for all, free, 0.3": "the one prediction overlaps the events by 0.4 and 0.3, so it reaches both.",
              "one for all, one to one, 0.3": "there is one pair, one prediction, and two events.",
              "three times, free, 0.5": "every prediction reaches the first event, but one of two events is missed.",
              "three times, one to one, 0.5": "there is one pair, three predictions, and two events."})


MEASURED = {"A": ("named_F1@0.5", "factorized"), "B": ("dvc_F1@0.5", "factorized"), "C": ("named_F1@0.5", "digits"),
            "D": ("dvc_F1@0.5", "consistency")}


def measured() -> dict[str, tuple[float, float, float]]:
    """Four differences to the coupled model from the study `objective`: mean, and both ends of the interval."""
    table = pd.read_csv(ROOT / "experiments" / "results" / "objective" / "differences.csv")
    rows = {name: table[(table.metric == metric) & (table.variant == variant)].iloc[0]
            for name, (metric, variant) in MEASURED.items()}
    return {name: (float(row["mean"]), float(row.low), float(row.high)) for name, row in rows.items()}


def draw_measured() -> Figure:
    figure, ax = new_figure(7, 2.2)
    for k, (mean, low, high) in enumerate(measured().values()):
        ax.errorbar(mean, k, xerr=[[mean - low], [high - mean]], fmt="D", color=COLORS[0], ms=5, capsize=4)
    ax.axvline(0, color="#333333", lw=1)
    ax.set_yticks(range(len(MEASURED)), MEASURED)
    ax.set(ylim=(len(MEASURED) - 0.5, -0.5), xlabel="difference to the coupled model, five paired seeds, 95 % interval")
    return figure


def _clear(low: float, high: float) -> str:
    return "higher" if low > 0 else "lower" if high < 0 else "unclear"


clear_difference = prediction(
    "clear_difference", "10", truth=lambda: {name: _clear(low, high) for name, (_, low, high) in measured().items()},
    hints=("Look at the whole interval, not only at the diamond in its middle. Where is zero?",),
    explains=dict.fromkeys(MEASURED, "if the interval contains zero, then a difference of zero fits the runs as well. "
                                     "If it does not, on which side of zero does it lie?"))


def _my_study(tree) -> str | None:
    from ..study.study import read_study

    if not isinstance(tree, dict):
        return "Please return a dictionary with the keys of a study file."
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my_study.yaml"
        try:
            path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
            study, _ = read_study(str(path))
        except yaml.YAMLError:
            return ("Your dictionary holds something that a YAML file cannot hold. Use texts, numbers, lists and "
                    "dictionaries.")
        except LabError as error:
            said = str(error).removeprefix(str(path)).lstrip(": ")
            return f"The library refuses this study: {said}{'' if said.endswith('?') else '.'}"
    if len(study.seeds) < 2:
        return "With one seed, nobody can tell a difference from chance. Name at least two seeds."
    if len(study.variants) < 2:
        return "A comparison needs at least two variants, the reference and yours."
    if study.variants[study.reference]:
        return "Leave the reference as it is, `{}`, so that every variant differs from it in its own settings alone."
    crowded = [name for name, changes in study.variants.items() if len(changes) > 2]
    if crowded:
        return (f"The variant {crowded[0]!r} changes {len(study.variants[crowded[0]])} settings at once. If it wins, "
                "nobody knows why; change one thing (two where they belong together).")
    if not study.hypothesis.strip() or not study.question.strip().endswith("?"):
        return "Write down a question, with a question mark, and what you expect, before anything runs."
    return None


my_study = Judgement(
    "my_study", "10", "", look=_my_study,
    hints=("`experiments/README.md` writes a study from scratch in twelve lines, and explains every key.",
           "`d2vlm-lab settings method` lists what can be varied, and `d2vlm-lab metrics` what can be measured.",
           "A variant is a dictionary such as `{'method.target_base': 1.3}`; the reference is `{}`."))

EXERCISES = (matched_f1, paired_difference, standard_error, three_answers, clear_difference, my_study)
