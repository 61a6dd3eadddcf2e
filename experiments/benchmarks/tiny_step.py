"""A training step of the laptop preset as it runs, against the same step in the plain form (`model.fast = False`)."""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from d2vlm_lab.config import read_config
from d2vlm_lab.data.batch import Batch
from d2vlm_lab.data.groups import Collator, Groups, group_by_video
from d2vlm_lab.data.rejects import preference_data
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.lab.bench import machine, peak_memory
from d2vlm_lab.learning.fpo import Preferences
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.start import start

BATCHES, TURNS, TOLERANCE = 3, 12, 2e-6
STAGES = {"sft": [], "fpo": ["parts.start=data/tiny-sft", "preference.form=fpo"]}
FORMS = {"plain": False, "fast": True}  # the value of `model.fast`


def run() -> dict:
    """Forward, backward and AdamW on batches of 8 videos with up to 4 questions each, on one thread.

    A ratio is the median over 12 turns with 3 batches. In each of them both forms take their step on the same batch,
    one right after the other, so that other work on the machine slows both alike.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # as the runs of a study have
    ratios, seconds, memory = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for stage, changes in STAGES.items():
            model, batches, preferences = prepared(folder, changes)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
            ratios[f"{stage}_loss_difference"] = loss_difference(model, batches, preferences)
            step = partial(train_step, model, preferences, optimizer)
            times = {form: [] for form in FORMS}
            for _ in range(TURNS):
                for batch in batches:
                    for form, fast in FORMS.items():
                        start_time = time.perf_counter()
                        step(batch, fast)
                        times[form].append(time.perf_counter() - start_time)
            ratios[stage] = statistics.median(plain / fast for plain, fast in zip(times["plain"], times["fast"]))
            for form, fast in FORMS.items():
                seconds[f"{stage}_{form}"] = statistics.median(times[form])
                memory[f"{stage}_{form}"] = peak_memory(partial(step, batches[0], fast), optimizer.zero_grad)
    about = machine()
    torch.set_num_threads(cores)
    return {"bench": "tiny-step", "ratios": ratios, "seconds": seconds, "memory_mb": memory, "machine": about}


def prepared(folder: str, changes: list[str]) -> tuple[D2VLM, list[Batch], Preferences | None]:
    """The model of the laptop preset, batches as its training reads them, and what a preference stage adds."""
    config = read_config("tiny", [f"data.world={Path(folder) / 'world'}", "data.world_settings=[videos=40]", *changes])
    torch.manual_seed(config.seed)
    model = prepare(start(config), config).train()
    train, _ = splits(config)
    data = preference_data(config, train.samples)
    groups = Groups(group_by_video(data.samples, config.training.texts, config.seed),
                    reader(config, model.frames, train.videos), model.tokenizer, model.prompt, model.method,
                    data.rejects)
    collate, size = Collator(model.tokenizer, model.prompt), config.training.videos
    batches = [collate([groups[i] for i in range(start, start + size)])["batch"]
               for start in range(0, BATCHES * size, size)]
    preferences = Preferences(config.preference, model) if config.preference.form != "off" else None
    return model, batches, preferences


def loss_of(model: D2VLM, batch: Batch, preferences: Preferences | None, fast: bool) -> torch.Tensor:
    model.fast = fast
    out = model(batch)
    if preferences is not None:
        out, _ = preferences(model, batch, out)
    return out.loss


def train_step(model: D2VLM, preferences: Preferences | None, optimizer, batch: Batch, fast: bool) -> None:
    optimizer.zero_grad()
    loss_of(model, batch, preferences, fast).backward()
    optimizer.step()


@torch.no_grad()
def loss_difference(model: D2VLM, batches: list[Batch], preferences: Preferences | None) -> float:
    """The largest difference between the losses of both forms, as a share of the loss; more than 2e-6 is an error."""
    losses = [[float(loss_of(model, batch, preferences, fast)) for fast in (False, True)] for batch in batches]
    largest = max(abs(fast - plain) / abs(plain) for plain, fast in losses)
    if not largest <= TOLERANCE:
        raise ValueError(f"the losses of both forms differ by {largest:.2g} of their value; {TOLERANCE:g} is expected "
                         "from the order of sums")
    return largest
