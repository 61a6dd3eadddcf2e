"""Exercises of page 03: similarity, and the rule that reads an interval off a curve."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...ideas import grounding
from ...ideas.grounding import frame_overlap, frame_targets
from ...ideas.salience import best_segment, peak_share
from .exercise import Comparison, Judgement, Mistake, prediction

generator = torch.Generator().manual_seed(3)
Frames = tuple[int, int]


def _states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


similarity = Comparison(
    "similarity", "03", "evidence frames",
    hints=("The dot product of every row of `evidence` with every row of `frames` is one matrix product.",
           "`frames` has to be transposed for it: (E, D) times (D, F) gives (E, F).",
           "Then divide by the square root of the width D, as attention does."),
    returns="(E, F) logits: one row for each evidence token, one column for each frame",
    right=grounding.similarity, learns=(0, 1),
    cases=[(torch.tensor([[2.0, 0.0, 0.0, 0.0]]), torch.tensor([[3.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])),
           (_states(2, 4), _states(3, 4)), (_states(3, 9), _states(3, 9)), (_states(1, 2), _states(1, 2))],
    mistakes=(
        Mistake("You leave the dot products as they are. In wide states they become large, and the sigmoid is then 0 "
                "or 1 everywhere; divide by the square root of the width.", lambda g, f: g @ f.T),
        Mistake("You divide by the width D itself. The dot product of random states grows with the square root of D.",
                lambda g, f: g @ f.T / f.shape[-1]),
        Mistake("You divide by the square root of the number of evidence tokens. Divide by that of the width D.",
                lambda g, f: g @ f.T / math.sqrt(g.shape[0])),
        Mistake("You apply the sigmoid already. The function returns logits; the loss and the rules need them too.",
                lambda g, f: torch.sigmoid(g @ f.T / math.sqrt(f.shape[-1]))),
        Mistake("You apply a softmax, so that the frames compete with each other. An event may span many frames, and "
                "each frame is a yes-or-no question of its own.",
                lambda g, f: torch.softmax(g @ f.T / math.sqrt(f.shape[-1]), -1)),
        Mistake("You scale the states to length 1. Then a state can no longer say how certain it is.",
                lambda g, f: torch.nn.functional.normalize(g, dim=-1) @ torch.nn.functional.normalize(f, dim=-1).T),
        Mistake("Your result is transposed: evidence tokens are the rows, frames are the columns.",
                lambda g, f: f @ g.T / math.sqrt(f.shape[-1]))))


def _runs(keep: Tensor) -> list[Frames]:
    runs: list[list[int]] = []
    for frame in keep.nonzero().flatten().tolist():
        if runs and runs[-1][1] == frame - 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return [(a, b) for a, b in runs]


def _by(score, keep=lambda curve: curve >= 0.6 * curve.max(), end=0):
    """An interval rule: the kept run with the best score, the first of those that tie."""
    def rule(curve: Tensor) -> Frames:
        first, last = max(_runs(keep(curve)), key=lambda run: float(score(curve[run[0]:run[1] + 1])))
        return first, last + end
    return rule


def _spanning(curve: Tensor) -> Frames:
    kept = (curve >= 0.6 * curve.max()).nonzero().flatten().tolist()
    return kept[0], kept[-1]


def rule_of_the_page(curve: Tensor) -> Frames:
    first, last = peak_share(curve[None], logits=curve[None])[0].tolist()
    return first, last


salient_interval = Comparison(
    "salient_interval", "03", "curve",
    hints=("Begin with the frames to keep: `keep = curve >= 0.6 * curve.max()`.",
           "Collect runs: go through the frames; a kept frame either continues the last run or begins a new one.",
           "Of all runs, choose the one whose values have the highest mean. Python's `max(runs, key=...)` returns the "
           "first of those that tie."),
    returns="a pair of two whole numbers, the first and the last frame of the interval",
    right=rule_of_the_page,
    cases=[(torch.tensor(values),) for values in (
        [0.1, 0.9, 0.8, 0.1], [0.3, 0.2, 0.0], [0.5, 0.1, 1.0, 0.7], [0.7, 0.1, 0.8, 0.8, 0.8], [1.0, 0.6, 0.1],
        [0.9, 0.0, 0.8, 0.8, 0.8, 0.0], [0.8, 0.0, 0.7, 0.7, 0.7, 0.7], [0.6, 1.0, 0.6, 0.0, 0.8, 0.8],
        [0.5, 0.0, 0.5], [0.0, 0.0, 0.0])] + [(torch.rand(12, generator=generator),) for _ in range(8)],
    mistakes=(
        Mistake("Your interval spans several runs, with everything between them: the rule takes the one run with the "
                "best mean.", _spanning),
        Mistake("You take the run in which the maximum lies. The rule compares the means of the runs, so that a short "
                "peak between low neighbours can lose.", _by(torch.max)),
        Mistake("You take the highest frame only. Take the whole run of neighbouring frames that you kept.",
                lambda curve: (int(curve.argmax()), int(curve.argmax()))),
        Mistake("You take the longest run. The rule takes the run with the best mean, so that a spike of one frame can "
                "win.", _by(len)),
        Mistake("You compare the sums of the runs, so that a long run of frames with medium values wins. Compare "
                "their means.",
                _by(torch.sum)),
        Mistake("Your threshold is always 0.6. It should be 60 % of the highest value of this curve, so that only the "
                "shape of the curve counts, not its height.",
                _by(torch.mean, lambda curve: curve >= 0.6 if (curve >= 0.6).any() else curve >= -1)),
        Mistake("A frame that reaches exactly 60 % of the maximum is kept: at least 60 %, not more than 60 %.",
                _by(torch.mean, lambda curve: curve > 0.6 * curve.max())),
        Mistake("Your interval ends one frame after the run. Both ends belong to the interval.",
                _by(torch.mean, end=1)),
        Mistake("If two runs tie, take the first of them; you take the last.",
                lambda curve: max(_runs(curve >= 0.6 * curve.max()),
                                  key=lambda run: (float(curve[run[0]:run[1] + 1].mean()), run[0])))))

BY_EYE = {"A": [0.1, 0.2, 0.9, 1.0, 0.8, 0.3, 0.1, 0.0], "B": [0.7, 0.7, 0.1, 0.2, 1.0, 0.7, 0.1, 0.0],
          "C": [1.0, 0.6, 0.6, 0.0, 0.9, 0.9, 0.8, 0.1], "D": [0.02, 0.05, 0.04, 0.01, 0.0, 0.02, 0.01, 0.0]}
by_eye = prediction(
    "by_eye", "03", truth=lambda: {name: rule_of_the_page(torch.tensor(curve)) for name, curve in BY_EYE.items()},
    hints=("First find the maximum of the curve and draw a line at 60 % of it.",
           "Which runs of frames reach the line? Estimate the mean of each run."),
    explains={"A": "there is one run; which frames reach 0.6?",
              "B": "there are two runs, with the means 0.70 and 0.85.",
              "C": "the run with the maximum also contains two lower frames, which lower its mean.",
              "D": "the whole curve is low, but the threshold follows the maximum: it is 60 % of 0.05."})


def _curve_of(values) -> Tensor | str:
    try:
        curve = torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError):
        curve = torch.zeros(0)
    if curve.dim() != 1 or len(curve) < 3:
        return "Please return one curve: a list of at least three numbers."
    if curve.min() < 0 or curve.max() > 1:
        return "Similarities lie between 0 and 1, so every number of the curve must lie there, too."
    return curve


def _peak_loses(values) -> str | None:
    if isinstance(curve := _curve_of(values), str):
        return curve
    peak, (first, last) = int(curve.argmax()), rule_of_the_page(curve)
    if len(_runs(curve >= 0.6 * curve.max())) < 2:
        return "Your curve has one run only. The peak can only lose to a second run, separate from its own."
    if (curve == curve.max()).sum() > 1:
        return "Your curve has its maximum at more than one frame; make one of them the clear peak."
    if first <= peak <= last:
        return (f"The peak is frame {peak}, and the rule takes frames {first} to {last}: the peak wins. What would "
                "lower the mean of its run?")
    return None


peak_loses = Judgement(
    "peak_loses", "03", "", look=_peak_loses,
    hints=("You need two runs: one with the peak, and another one.",
           "Give the peak neighbours that just reach 60 % of it. They belong to its run and lower its mean.",
           "Give the other run values that are all a little below the peak."))


def _rules_disagree(values) -> str | None:
    if isinstance(curve := _curve_of(values), str):
        return curve
    paper, segment = rule_of_the_page(curve), tuple(best_segment(curve[None])[0].tolist())
    if paper == segment:
        return f"Both rules take frames {paper[0]} to {paper[1]} of your curve."
    if int(frame_overlap(torch.tensor([paper]), torch.tensor([segment])) > 0):
        return (f"The rules differ (frames {paper[0]} to {paper[1]}, frames {segment[0]} to {segment[1]}), but both "
                "intervals share frames. Make them point at different moments.")
    return None


rules_disagree = Judgement(
    "rules_disagree", "03", "", look=_rules_disagree,
    hints=("The 60 % rule compares means, so that the number of frames does not count. The other rule adds up how "
           "far each frame lies above 0.72 of the maximum, so that every good frame counts.",
           "So make one run short and as high as possible, and the other one long and nearly as high, with a low frame "
           "between them."))


def _my_rule(interval, curve: Tensor, mask: Tensor, logits: Tensor) -> str | None:
    if not isinstance(interval, Tensor) or interval.shape != (len(curve), 2):
        return f"Please return a tensor of shape ({len(curve)}, 2): first and last frame for each evidence token."
    if interval.is_floating_point():
        return "Frames are whole numbers: `.long()` turns your result into whole numbers."
    first, last = interval.unbind(-1)
    if (first > last).any():
        return "One of your intervals ends before it starts."
    if (first < 0).any() or (last >= mask.sum(-1)).any():
        return "One of your intervals contains frames that do not exist: `mask` is False on them."
    best = frame_overlap(interval.float(), peak_share(curve, mask).float())
    if len(curve) == 1 and float(best) < 0.3:
        return ("This curve is high on one event and low everywhere else, but your rule points at another place. "
                "Please make your rule work on such clear cases first.")
    return None


def _clear(first: int, last: int, n: int, padding: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    curve = torch.nn.functional.pad(frame_targets(torch.tensor([[float(first), float(last)]]), n), (0, padding)) * 0.98
    return curve, torch.arange(n + padding)[None] < n, torch.logit(curve.clamp_min(1e-4))


my_rule = Judgement(
    "my_rule", "03", "curve mask logits", look=_my_rule,
    cases=[_clear(2, 4, 8), _clear(5, 7, 8, padding=3), _clear(0, 0, 1),
           tuple(torch.cat(both) for both in zip(_clear(2, 5, 9), _clear(1, 2, 6, padding=3)))],
    hints=("Start from a rule that you know, such as `peak_share`, and change one thing.",
           "`best_run(curve, keep, mask)` takes care of runs, of padding and of whole batches; you only have to decide "
           "which frames to keep."))

EXERCISES = (similarity, salient_interval, by_eye, peak_loses, rules_disagree, my_rule)
