"""A training step of the laptop preset as it runs, against the same step in the plain form (`model.fast = False`)."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch

from d2vlm_lab.config import read_config
from d2vlm_lab.data.batch import Batch
from d2vlm_lab.data.groups import Collator, Groups, Skips, group_by_video
from d2vlm_lab.data.rejects import preference_data
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.lab.bench import machine, medians_in_turn, peak_memory
from d2vlm_lab.learning.fpo import Preferences
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.start import start

BATCHES, REPEATS, TOLERANCE = 3, 9, 2e-6
STAGES = {"sft": [], "fpo": ["parts.start=data/tiny-sft", "preference.form=fpo"]}


def run() -> dict:
    """Forward, backward and AdamW on 3 batches of 8 videos with up to 4 questions; one thread; median of 9 in turn."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # as the runs of a study have
    steps, memory, differences = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for stage, changes in STAGES.items():
            model, batches, preferences = prepared(folder, changes)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
            differences[stage] = loss_difference(model, batches, preferences)
            for form, fast in (("plain", False), ("fast", True)):
                step = partial(train_on, model, batches, preferences, optimizer, fast)
                steps[f"{stage}_{form}"] = step
                one_batch = partial(train_on, model, batches[:1], preferences, optimizer, fast)
                memory[f"{stage}_{form}"] = peak_memory(one_batch, optimizer.zero_grad)
    seconds = {name: value / BATCHES for name, value in medians_in_turn(steps, REPEATS).items()}
    about = machine()
    torch.set_num_threads(cores)
    ratios = {stage: seconds[f"{stage}_plain"] / seconds[f"{stage}_fast"] for stage in STAGES}
    ratios |= {f"{stage}_loss_difference": value for stage, value in differences.items()}
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
                    Skips(None, len(data.samples), 1.0), data.rejects)
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


def train_on(model: D2VLM, batches: list[Batch], preferences: Preferences | None, optimizer, fast: bool) -> None:
    for batch in batches:
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
