"""Exercises of page 02: which frames are read, where a second lies among them, and what a linear probe explains."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...data.batch import to_frames, to_seconds
from ...ideas.evidence import overlap
from ...judging import probe
from .exercise import Comparison, Mistake, prediction

UNEVEN = torch.tensor([0.0, 0.5, 1.0, 3.0, 3.5])
generator = torch.Generator().manual_seed(2)


def _times(n: int) -> Tensor:
    return torch.rand(n, generator=generator).add(0.1).cumsum(0) - 0.05


def _on_screen(times: Tensor, seconds: Tensor) -> Tensor:
    return (torch.searchsorted(times, seconds, right=True) - 1).clamp_min(0)


on_screen = Comparison(
    "on_screen", "02", "times seconds",
    hints=("A frame stays on screen from its own time until the next frame appears.",
           "So the frame at second s is the last one whose time is not later than s.",
           "`torch.searchsorted(times, seconds, right=True)` counts, for each second, the frames that have appeared. "
           "Before the first frame appears, take frame 0."),
    returns="(S,) whole numbers, one frame for each of the seconds",
    right=_on_screen,
    cases=[(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.8])), (torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0])),
           (UNEVEN, torch.tensor([0.4, 2.9, 9.0])), (torch.tensor([0.5, 1.0]), torch.tensor([0.2])),
           (_times(12), torch.linspace(0.1, 8, 9))],
    mistakes=(
        Mistake("You take the nearest frame, even if it appears only later. At that second, the viewer still sees the "
                "frame before it.", lambda times, seconds: (times[None] - seconds[:, None]).abs().argmin(1)),
        Mistake("You take the next frame, which has not appeared yet.",
                lambda times, seconds: torch.searchsorted(times, seconds).clamp_max(len(times) - 1)),
        Mistake("At exactly the time of a frame, that frame is on screen already; you still show the one before it.",
                lambda times, seconds: (torch.searchsorted(times, seconds) - 1).clamp_min(0)),
        Mistake("Before the first frame appears, your result is -1. There is no such frame; take frame 0.",
                lambda times, seconds: torch.searchsorted(times, seconds, right=True) - 1),
        Mistake("You multiply by the frame rate. The times of frames are not always evenly spaced: look them up.",
                lambda times, seconds: (seconds / (times[1] - times[0])).long())))


def _from_the_last(interval: Sequence[float], times: Sequence[float]) -> tuple[float, ...]:
    """The positions of seconds, where the frame before the first one is the last one."""
    def position(second: float) -> float:
        k = bisect_right(times, second) - 1
        return k + (second - times[k]) / (times[k + 1] - times[k]) if k + 1 < len(times) else float(k)
    return tuple(position(second) for second in interval)


frame_positions = Comparison(
    "frame_positions", "02", "interval times",
    hints=("Between two frames, the position grows evenly from the number of the one to the number of the other.",
           "If frame 2 is shown at 1 s and frame 3 at 3 s, then 2 s lies in the middle: position 2.5.",
           "NumPy has this as one function: `np.interp(seconds, times, positions)`. `tuple(...)` makes a pair of "
           "its result."),
    returns="a pair of two numbers, (start, end), in frames",
    right=lambda interval, times: to_frames(interval, np.asarray(times)),
    cases=[((0.4, 1.0), UNEVEN.tolist()), ((2.0, 3.25), UNEVEN.tolist()), ((0.0, 9.0), UNEVEN.tolist()),
           ((1.0, 2.0), [1.0, 1.5, 4.0]), ((0.2, 2.0), [1.0, 1.5, 4.0])],
    mistakes=(
        Mistake("You divide by the time between the first two frames. Later frames may be further apart: look for the "
                "two frames between which the given time lies.",
                lambda interval, times: tuple((s - times[0]) / (times[1] - times[0]) for s in interval)),
        Mistake("You round to whole frames. The exact position is still needed: the soft targets of page 04 are "
                "computed from it, and rounding comes later.",
                lambda interval, times: tuple(float(np.abs(np.asarray(times) - s).argmin()) for s in interval)),
        Mistake("You take the frame that is on screen. Return the position between two frames, which need not be a "
                "whole number.",
                lambda interval, times: tuple(float(max(0, np.searchsorted(times, s, "right") - 1)) for s in interval)),
        Mistake("Before the first frame, the position is 0. Your function looks for a frame before the first one "
                "there, and in Python `times[-1]` is the last time.", _from_the_last),
        Mistake("You return seconds. The model knows nothing about seconds, only about positions among its frames.",
                lambda interval, times: tuple(interval))))


def _columns(n: int) -> Tensor:
    return torch.randn(n, 2, generator=generator) * torch.tensor([1.0, 3.0]) + torch.tensor([0.0, 5.0])


LEVEL = torch.tensor([[1.0], [2.0], [3.0]])
explained = Comparison(
    "explained", "02", "truth predicted",
    hints=("First compute, for each column, the mean of the squared errors.",
           "Then compute the variance of the truth in that column: the mean squared error of somebody who always "
           "guesses the mean.",
           "The share that is explained is 1 minus the first divided by the second."),
    returns="(Q,) one share for each question",
    right=probe.explained,
    cases=[(LEVEL, LEVEL), (LEVEL, torch.tensor([[1.0], [2.0], [2.0]])), (LEVEL, torch.full((3, 1), 2.0)),
           (LEVEL, torch.zeros(3, 1)), ((t := _columns(8)), t + _columns(8) / 4)],
    mistakes=(
        Mistake("You return the share that is left unexplained. A perfect prediction should get 1.",
                lambda truth, predicted: (truth - predicted).square().mean(0) / truth.var(0, correction=0)),
        Mistake("You compare with somebody who always guesses 0. The comparison is with somebody who knows the mean, "
                "so subtract the mean first.",
                lambda truth, predicted: 1 - (truth - predicted).square().mean(0) / truth.square().mean(0)),
        Mistake("You mix the questions: each column needs a share of its own, because the columns have different "
                "units.",
                lambda truth, predicted: (1 - (truth - predicted).square().mean() / truth.var(correction=0))),
        Mistake("You use absolute errors. The share is defined by squared errors, so that it fits the variance.",
                lambda truth, predicted: 1 - (truth - predicted).abs().mean(0) / (truth - truth.mean(0)).abs().mean(0)),
        Mistake("You take the variance of the errors, which forgets an error that is the same everywhere. Take the "
                "mean of the squared errors.", lambda truth, predicted: 1 - (truth - predicted).var(0) / truth.var(0)),
        Mistake("You divide by the number of rows minus one in one place only. Compute the mean squared error and the "
                "variance with the same divisor.",
                lambda truth, predicted: 1 - (truth - predicted).square().mean(0) / truth.var(0))))


def _best_overlap(fps: float) -> float:
    times, truth = np.arange(0, 16, 1 / fps), (6.4, 8.4)
    return overlap(to_seconds(np.round(to_frames(truth, times)), times), truth)


how_fine = prediction(
    "how_fine", "02", truth=lambda: {f"{fps:g} fps": _best_overlap(fps) for fps in (2, 1, 0.5, 0.25)}, tolerance=0.011,
    hints=("At 1 frame per second, frames are shown at 0, 1, 2, ... seconds. Which of them is nearest to 6.4 s, and "
           "which to 8.4 s?",
           "The best answer goes from the one to the other. How much time do this answer and (6.4, 8.4) share, and how "
           "much do they cover together?",
           "At 0.25 frames per second, frames are shown at 0, 4, 8, ... seconds. Both ends are nearest to the same "
           "one."),
    explains={"2 fps": "frames are shown every half second, so the best answer is (6.5, 8.5).",
              "1 fps": "frames are shown every second, so the best answer is (6, 8).",
              "0.5 fps": "frames are shown every two seconds. Which of them are nearest to 6.4 and 8.4?",
              "0.25 fps": "frames are shown every four seconds; both ends fall on the same frame, and an interval of "
                          "one instant shares no time with the event."})

EXERCISES = (on_screen, frame_positions, explained, how_fine)
