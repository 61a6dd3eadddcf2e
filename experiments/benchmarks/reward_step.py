"""A step of the reward stage on the laptop preset against a step of supervised fine-tuning, with 8 drawn answers."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from d2vlm_lab.config import read_config
from d2vlm_lab.data.batch import Batch
from d2vlm_lab.data.groups import Collator, Groups, group_by_video
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.lab.bench import machine
from d2vlm_lab.learning.trainer import second_stage
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.start import start

BATCHES, TURNS = 6, 3
FORMS = {"sft": [], "grpo": ["reward.form=grpo"], "grpo_kl": ["reward.form=grpo", "reward.kl=0.04"],
         "exact": ["reward.form=exact"], "iou_loss": ["reward.form=iou_loss"]}


def run() -> dict:
    """Both from the checkpoint that comes along, on batches of 8 videos as each of the two reads them, on one thread.

    A supervised step learns from up to 4 true answers about each video. A step of rewards draws 8 answers to one
    question about each, rewards them, and learns from them. With `kl` the model as it was is asked as well. A ratio
    is the mean CPU time of one kind of step over that of the other; they are taken in turn.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # as the runs of a study have
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        steps = {form: Step(folder, form) for form in seconds}
        for turn in range(TURNS + 1):
            for batch in range(BATCHES):
                for form, step in steps.items():
                    spent = step(batch, turn * BATCHES + batch)
                    if turn:  # the first turn warms up
                        seconds[form].append(spent)
    about = machine()
    torch.set_num_threads(cores)
    means = {form: statistics.mean(values) for form, values in seconds.items()}
    ratios = {form: mean / means["sft"] for form, mean in means.items() if form != "sft"}
    return {"bench": "reward-step", "ratios": ratios, "seconds": means, "machine": about}


class Step:
    """A model, its optimizer and its batches; a call takes one step and gives the CPU seconds that it took."""

    def __init__(self, folder: str, form: str):
        config = read_config("tiny", [f"data.world={Path(folder) / 'world'}", "data.world_settings=[videos=60]",
                                      "parts.start=data/tiny-sft", *FORMS[form]])
        torch.manual_seed(config.seed)
        self.model = prepare(start(config), config).train()
        self.stage = second_stage(config, self.model)
        self.draws = config.reward.draws
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-6)
        train, _ = splits(config)
        groups = Groups(group_by_video(train.samples, config.texts, config.seed),
                        reader(config, self.model.frames, train.videos), self.model.tokenizer, self.model.prompt,
                        self.model.method)
        collate, size = Collator(self.model.tokenizer, self.model.prompt), config.training.videos
        self.batches = [collate([groups[k] for k in range(first, first + size)])["batch"]
                        for first in range(0, BATCHES * size, size)]

    def __call__(self, number: int, step: int) -> float:
        begun = time.process_time()
        self.optimizer.zero_grad()
        self.loss(self.batches[number], step).backward()
        self.optimizer.step()
        return time.process_time() - begun

    def loss(self, batch: Batch, step: int) -> torch.Tensor:
        if self.draws:
            draw = self.stage.draw(self.model, batch, step)
            return self.stage(self.model, draw, self.model(draw.selected.batch))[0].loss
        out = self.model(batch)
        return out.loss if self.stage is None else self.stage(self.model, batch, out)[0].loss
