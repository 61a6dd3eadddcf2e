"""Real material for open exercises: curves of a trained model, and what it thinks of wrong answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...config import RunConfig, resolve
from ...data.groups import batch_of
from ...data.sample import Sample
from ...data.splits import reader
from ...data.world import WorldConfig, load
from ...data.world.make import make_world
from ...ideas.evidence import Event
from ...ideas.grounding import frame_overlap
from ...ideas.salience import Criterion
from ...learning.fpo import log_probabilities
from ...model.checkpoint import load as load_checkpoint
from ...model.d2vlm import D2VLM
from ...settings import override
from ..plots import draw_curve, new_figure

MODEL, WORLD, VIDEOS = "data/tiny-sft", "data/world-notebook", 40
CURVES, ANSWERS = 60, 30  # most questions whose curves are shown; most answers that are made wrong
ONE_EVENT = ("tvg", "epm", "vhd")  # tasks whose answer is one interval


@dataclass(frozen=True)
class Curves:
    """The curves of a trained model for questions that name one event."""

    curve: Tensor  # (E, F)
    mask: Tensor  # (E, F)
    logits: Tensor  # (E, F)
    truth: Tensor  # (E, 2) first and last true frame

    def overlap(self, rule: Criterion) -> float:
        """The mean overlap of the intervals that a rule reads off these curves."""
        return float(frame_overlap(rule(self.curve, self.mask, self.logits).float(), self.truth).mean())

    def draw(self, numbers: tuple[int, ...]) -> Figure:
        """Some of the curves, with the true interval in green."""
        figure, axes = new_figure(8, 1.4 * len(numbers), rows=len(numbers), squeeze=False, sharex=True)
        for ax, k in zip(axes[:, 0], numbers):
            draw_curve(self.curve[k], np.arange(self.curve.shape[1]), truth=tuple(self.truth[k].tolist()), ax=ax)
            ax.set(xlabel="", title=f"curve {k}")
        axes[-1, 0].set_xlabel("frame")
        return figure


def curves(folder: str = WORLD, videos: int = VIDEOS) -> Curves:
    vlm, samples, read = _questions(folder, videos, ONE_EVENT)
    with torch.no_grad():
        batch = batch_of(vlm, samples[:CURVES], read)
        out = vlm(batch)
    logits = out.similarity.float()
    return Curves(logits.sigmoid().masked_fill(~out.frame_mask, 0), out.frame_mask, logits,
                  batch.interval[batch.in_answer].round())


def preferred(mistake: Callable, folder: str = WORLD, videos: int = VIDEOS) -> dict[str, np.ndarray]:
    """Whether a trained model finds each right answer more probable than the one that `mistake` makes of it.

    By its words, by its intervals, and by both together: 1 for yes, 0 for no, and one half for a tie.
    """
    vlm, samples, read = _questions(folder, videos, ("dvc",))
    margins = []
    for sample in samples[:ANSWERS]:
        with torch.no_grad():
            batch = batch_of(vlm, [sample, _mistaken(sample, mistake)], read)
            log_p = log_probabilities(vlm(batch), batch, vlm.method)
        words, intervals = (float(part[0] - part[1]) for part in (log_p.text, log_p.grounding))
        margins.append((words, intervals, words + intervals))
    won = (np.array(margins) > 1e-3) + 0.5 * (np.abs(margins) <= 1e-3)
    return dict(zip(("its words", "its intervals", "both"), won.T))


def _questions(folder: str, videos: int, tasks: tuple[str, ...]) -> tuple[D2VLM, list[Sample], Callable]:
    world = load(make_world(resolve(folder), override(WorldConfig(), {"videos": videos})))
    vlm = load_checkpoint(resolve(MODEL)).eval()
    samples = [sample for sample in world.samples("val") if sample.task in tasks and sample.events]
    return vlm, samples, reader(RunConfig(), vlm.frames, world.videos)


def _mistaken(sample: Sample, mistake: Callable) -> Sample:
    """The sample with a wrong answer; its answer is a list of events, each followed by the words about it."""
    clauses = [(k, words) for k, words in zip(sample.answer[::2], sample.answer[1::2])]
    _, intervals, wrong = mistake([event.interval for event in sample.events], clauses, sample.duration)
    events = tuple(Event(float(start), float(end)) for start, end in intervals)
    return replace(sample, id=f"{sample.id}/wrong", events=events,
                   answer=tuple(piece for clause in wrong for piece in clause))
