"""The figures of slides and handout by name: drawn anew from a world, the shipped checkpoint and the kept results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import torch
from matplotlib.figure import Figure

from ...config import ROOT
from ...data.groups import batch_of
from ...data.video import read_frames
from ...data.world import World
from ...errors import LabError
from ...ideas.evidence import compose, write
from ...ideas.grounding import frame_targets
from ...ideas.rejected import Recipe, Words, perturb
from ...ideas.salience import peak_share
from ...model.passes import causal
from .. import lesson, plots, report
from ..gallery import strip

FOLLOWED = 11  # the validation video that the walkthrough follows
REJECTED = {"when: shift": "shift", "when: swap": "swap", "which: delete": "delete", "what: color": "color"}
BEATEN = (0.1, 0.65, 1.0, 0.62, 0.1, 0.1, 0.9, 0.95, 0.9, 0.1)  # a curve whose best run does not hold its peak


@dataclass
class Figures:
    """`draw(name)`: a figure by its name. What several of them need is computed once."""

    world: World
    checkpoint: Path = ROOT / "data" / "tiny-sft"
    results: Path = ROOT / "experiments" / "results"

    def draw(self, name: str) -> Figure:
        """`method/semantics` is the picture of the method with that part lit; other names are those of methods."""
        kind, _, part = name.partition("/")
        makers: dict[str, Callable[[], Figure]] = {
            "method": lambda: plots.draw_method(*(part.split("+") if part else ())), "strip": self.strip,
            "tokens": self.tokens, "curves": self.curves, "rule": self.rule, "targets": self.targets,
            "mask": self.mask, "rejected": self.rejected, "objective": self.objective, "paper": self.paper,
            "evidence": self.evidence}
        if kind not in makers:
            raise LabError(f"no figure {name!r}; there are {', '.join(sorted(makers))}")
        return makers[kind]()

    @cached_property
    def model(self):
        return lesson.checkpoint(self.checkpoint, self.world)

    @property
    def scene(self):
        scenes = self.world.truth("val")
        return scenes[min(FOLLOWED, len(scenes) - 1)]

    @property
    def sample(self):
        """The question about the followed video that asks for every event."""
        return next(s for s in self.world.samples("val") if s.video == self.scene.video and s.task == "dvc")

    @cached_property
    def batch(self):
        model, read = self.model
        return batch_of(model, [self.sample], read)

    def strip(self) -> Figure:
        return plots.draw_strips([strip(self.world, self.scene, [])])

    def tokens(self) -> Figure:
        text = write(compose(self.sample.events, self.sample.answer))
        colors = {"<evi>": plots.COLORS[1], "</evi>": plots.COLORS[5]}
        return plots.draw_tokens(self.model[0].tokenizer.tokenize(text), colors)

    def curves(self) -> Figure:
        model, read = self.model
        with torch.no_grad():
            curves = model(self.batch).similarity.sigmoid().numpy()
        names = [f"event {k + 1}: {event.caption}" for k, event in enumerate(self.sample.events)]
        return plots.draw_curves(dict(zip(names, curves)), read(self.sample).timestamps,
                                 dict(zip(names, self.sample.events)))

    def rule(self) -> Figure:
        curve = torch.tensor([BEATEN])
        interval = peak_share(curve)[0].tolist()
        figure = plots.draw_curve(curve[0], range(len(BEATEN)), interval, threshold=0.6)
        figure.axes[0].set_xlabel("frame")
        return figure

    def targets(self) -> Figure:
        event = torch.tensor([[10.0, 15.0]])
        return plots.draw_targets({"hard": frame_targets(event, 32, None)[0], "soft": frame_targets(event, 32)[0]})

    def mask(self) -> Figure:
        model, _ = self.model
        with torch.no_grad():
            prefix = model.read(self.batch)
        size, text = prefix.mask.shape[1], self.batch.ids.shape[1]
        attend = causal(torch.ones(1, size + text, dtype=torch.bool))
        attend[:, :size, :size] = prefix.attend
        asked = int((self.batch.labels[0] < 0).sum())
        parts = [("start", size - prefix.frame_mask.shape[1]), ("frames", prefix.frame_mask.shape[1]),
                 ("question", asked), ("answer", text - asked)]
        return plots.draw_mask(attend[0], [part for part in parts if part[1]])

    def rejected(self) -> Figure:
        words, sample = Words(self.world.facts), self.sample
        clip = read_frames(self.world.video_path(sample))
        rows = {"chosen": sample.events}
        for name, kind in REJECTED.items():
            wrong = perturb(sample.events, sample.answer, sample.duration, kind, Recipe(), words, Random(0))
            rows |= {name: wrong.events} if wrong else {}
        return plots.draw_strips([plots.Strip(clip.frames, clip.timestamps, rows)])

    def objective(self) -> Figure:
        return self._study("objective", ["named_F1@0.5", "dvc_F1@0.5"])

    def evidence(self) -> Figure:
        return self._study("evidence", ["named_F1@0.5", "dvc_caption_F1"])

    def paper(self) -> Figure:
        return report.draw_comparison(report.find_tables("objective", [self.results]), "named_F1@0.5")

    def _study(self, name: str, metrics: list[str]) -> Figure:
        return report.draw_side_by_side(report.find_tables(name, [self.results]), metrics)
