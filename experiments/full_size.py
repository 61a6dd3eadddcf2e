"""The paper's model at its full size on a CPU: made, imported, asked, and trained for a step, with time and memory.

    python -m experiments.full_size make FOLDER   # random weights in the layout of stage 2, 10 GB
    python -m experiments.full_size use FOLDER    # needs 18 GB of memory

`experiments/results/full-size.md` is what these two commands printed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from d2vlm_lab.config import read_config
from d2vlm_lab.data.groups import batch_of
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.files import peak_megabytes
from d2vlm_lab.judging.predict import predict
from d2vlm_lab.lab.rehearsal.data import write_data
from d2vlm_lab.lab.rehearsal.miniature import write_stage_2
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.decoding import Decoding
from d2vlm_lab.model.start import start
from d2vlm_lab.settings import override

NEW_TOKENS = 4
started = time.perf_counter()


def note(line: str) -> None:
    """A line of the transcript: seconds since the last one, and the most memory so far."""
    global started
    now = time.perf_counter()
    print(f"{now - started:7.1f} s {peak_megabytes() / 2**10:6.1f} GB  {line}", flush=True)
    started = now


def make(folder: Path) -> None:
    config = read_config("paper")
    world, _ = write_data(config.data, folder)
    torch.manual_seed(0)
    write_stage_2(folder / "stage-2", [sample.question for sample in world.samples("train")],
                  config.method.semantic_layer, torch.bfloat16, full=True)
    size = sum(file.stat().st_size for file in (folder / "stage-2").rglob("*") if file.is_file()) / 2**30
    note(f"a folder in the layout of stage 2, with random weights, {size:.1f} GB")


def use(folder: Path) -> None:
    config = read_config("paper")
    _, data = write_data(config.data, folder)
    config = override(config, {**data, "parts.start": str(folder / "stage-2"), "data.cache": "off"})
    model = start(config)
    parameters = {name: sum(value.numel() for value in part.parameters()) / 1e6 for name, part in (
        ("vision tower", model.frames.tower), ("Q-Former", model.frames.projector), ("Phi-3", model.language))}
    note("imported: " + ", ".join(f"{name} {millions:,.0f} million" for name, millions in parameters.items()))
    split, _ = splits(config)
    sample = next(sample for sample in split.samples if sample.events and not sample.question_intervals)
    read = reader(config, model.frames, split.videos)
    clip = read(sample)
    note(f"{len(clip.timestamps)} frames of a video read")
    prediction = next(predict(model, [sample], lambda _: clip, Decoding(NEW_TOKENS)))
    note(f"asked {sample.question!r}, answered {prediction.generated.text!r} ({NEW_TOKENS} tokens)")
    model = prepare(model, config).train()
    trained = [value for value in model.parameters() if value.requires_grad]
    note(f"{sum(value.numel() for value in trained) / 1e6:,.0f} million parameters are trained, in float32")
    batch = batch_of(model, [sample], lambda _: clip)
    optimizer = torch.optim.AdamW(trained, lr=2e-5, weight_decay=0.0, foreach=False)
    for step in (1, 2):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch).loss
        note(f"step {step}: forward, loss {float(loss.detach()):.3f}")
        if step == 2:
            break
        loss.backward()
        note(f"step {step}: backward")
        optimizer.step()
        optimizer.zero_grad()
        note(f"step {step}: AdamW")


if __name__ == "__main__":
    steps = {"make": make, "use": use}
    if len(sys.argv) != 3 or sys.argv[1] not in steps:
        raise SystemExit(__doc__)
    steps[sys.argv[1]](Path(sys.argv[2]).absolute())
