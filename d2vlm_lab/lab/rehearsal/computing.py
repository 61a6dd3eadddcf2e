"""What a trained model computes for the true answers to a few questions, and how far its precision matters."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from ...config import RunConfig
from ...data.batch import Batch
from ...data.groups import batch_of
from ...data.splits import reader, splits
from ...errors import LabError
from ...model.adapter import prepare
from ...model.checkpoint import load
from ...model.d2vlm import D2VLM
from ...model.device import on_device

SAME_LOSS = 0.05  # largest difference of a loss in bfloat16, as a share of that in float32
STEPS = 3  # how many are timed


def true_answers(model: D2VLM, config: RunConfig) -> Batch:
    """The first two questions of the training data with their answers, on the model's device."""
    split, _ = splits(config)
    return batch_of(model, split.samples[:2], reader(config, model.frames, split.videos))


@torch.no_grad()
def logits(model: D2VLM, config: RunConfig) -> Tensor:
    """The logits of the answers' tokens; where two heads give them, the log-probabilities of these tokens."""
    on_device(model)
    out = model.eval()(true_answers(model, config))
    return (out.log_p if out.logits is None else out.logits).float().cpu()


def compare_precisions(trained: Path, config: RunConfig) -> str:
    """Frozen weights in bfloat16 against float32: the loss, and the tokens of a training step in a second."""
    losses, speeds = {}, {}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        model = prepare(on_device(load(trained, dtype=dtype)), config)
        batch = true_answers(model, config)
        with torch.no_grad():
            losses[name] = float(model.eval()(batch).loss)
        speeds[name] = tokens_per_second(model, batch)
    change = abs(losses["bfloat16"] / losses["float32"] - 1)
    if not change <= SAME_LOSS:
        raise LabError(f"the loss is {losses['float32']:.4g} in float32 and {losses['bfloat16']:.4g} in bfloat16")
    return (f"bfloat16 changes the loss by {change:.2%}; {speeds['bfloat16']:,.0f} tokens a second, "
            f"{speeds['float32']:,.0f} in float32")


def tokens_per_second(model: D2VLM, batch: Batch) -> float:
    """How many a forward and backward pass reads in a second, frame tokens included."""
    model.train()
    for step in range(STEPS + 1):
        if step == 1:  # the first one warms up
            wait_for(model)
            started = time.perf_counter()
        model(batch).loss.backward()
        model.zero_grad(set_to_none=True)
    wait_for(model)
    frames = sum(len(features) for features in batch.features) * model.frames.tokens_per_frame
    return STEPS * (int(batch.mask.sum()) + frames) / (time.perf_counter() - started)


def wait_for(model: D2VLM) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()
