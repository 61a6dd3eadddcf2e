"""What a training step of the laptop preset costs: samples and tokens per second, and memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from d2vlm_lab.config import read_config
from d2vlm_lab.data.groups import Collator, Groups, group_by_video
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.lab.bench import machine, median_seconds, peak_memory
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.device import on_device
from d2vlm_lab.model.start import start


def run() -> dict:
    """Forward, backward and AdamW on 8 videos with up to 4 questions each, features cached; median of 5."""
    with tempfile.TemporaryDirectory() as folder:
        config = read_config("tiny", [f"data.world={Path(folder) / 'world'}", "data.world_settings=[videos=20]"])
        model = on_device(prepare(start(config), config)).train()
        train, _ = splits(config)
        read = reader(config, model.frames, train.videos)
        shared = group_by_video(train.samples, config.training.texts, 0, model.frames.reads_question)
        groups = Groups(shared, read, model.tokenizer, model.prompt, model.method)
        batch = Collator(model.tokenizer, model.prompt)([groups[i] for i in range(config.training.videos)])["batch"]
        batch = batch.to(model.device)
        reading = median_seconds(lambda: [groups[i] for i in range(config.training.videos)])
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()

    seconds = median_seconds(step)
    tokens = int(batch.mask.sum()) + sum(len(features) for features in batch.features)
    return {"bench": "training", "ratios": {"reading_share": reading / seconds},
            "seconds": {"step": seconds, "reading": reading, "samples_per_second": len(batch.ids) / seconds,
                        "tokens_per_second": tokens / seconds},
            "memory_mb": {"step": peak_memory(step, optimizer.zero_grad, model.device)}, "machine": machine()}
