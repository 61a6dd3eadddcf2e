"""What a training step makes the machine do: operators and kernels launched, waits, operations, bytes moved.

An operator is a call that computes something; a view of a tensor is none. On a GPU nearly each of them is a kernel, and
kernels that are shorter than a launch leave the GPU idle. The bytes are those of all tensors that the operators read
and write. The least that has to move are weights, gradients and what is kept for the backward pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from d2vlm_lab.lab.bench import machine
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.device import on_device

from . import cost, tiny_step

LAUNCHES, WAITS = ("cudaLaunchKernel", "cuLaunchKernel"), ("cudaStreamSynchronize", "cudaDeviceSynchronize")


class Operators(TorchDispatchMode):
    """Counts the operators that run inside it, and the bytes of the tensors that they read and write."""

    def __init__(self):
        super().__init__()
        self.count = self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.count += 1
            self.bytes += sum(tensor.nbytes for tensor in tree_leaves((args, kwargs, out))
                              if isinstance(tensor, torch.Tensor))
        return out


def run() -> dict:
    """The laptop preset in both of its forms, and a step of `bench cost`, with 8 layers of width 512."""
    counts, ratios = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for stage, changes in tiny_step.STAGES.items():
            model, batches, preferences = tiny_step.prepared(folder, changes)
            model, batch = on_device(model), batches[0].to(on_device(model).device)
            for form, fast in tiny_step.FORMS.items():
                loss = partial(tiny_step.loss_of, model, batch, preferences, fast)
                counts |= {f"{stage}, {form}: {name}": value for name, value in counted(model, loss).items()}
            ratios[f"{stage}: operators, plain over fast"] = (
                counts[f"{stage}, plain: operators"] / counts[f"{stage}, fast: operators"])
    model, batch = cost.prepared(cost.Step())
    model, batch = on_device(model), batch.to(on_device(model).device)
    counts |= {f"width 512: {name}": value for name, value in counted(model, lambda: model(batch).loss).items()}
    return {"bench": "launches", "counts": counts, "ratios": ratios, "machine": machine()}


def counted(model: D2VLM, loss: Callable[[], torch.Tensor]) -> dict[str, float]:
    """Of a forward and a backward pass; without a GPU, nothing is launched and nothing waits."""
    def step() -> None:
        loss().backward()

    step()  # what the first step alone does is not counted
    with Operators() as operators:
        step()
    counts = {"operators": operators.count, "10^9 operations": cost.counted(step) / 1e9,
              "MB moved": operators.bytes / 2**20, "MB that have to move": least_bytes(model, loss) / 2**20}
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[*torch.profiler.supported_activities()]) as profile:
            step()
        for name, calls in {"kernels launched": LAUNCHES, "waits for the device": WAITS}.items():
            counts[name] = sum(event.count for event in profile.key_averages() if event.key.startswith(calls))
    model.zero_grad(set_to_none=True)
    return counts


def least_bytes(model: D2VLM, loss: Callable[[], torch.Tensor]) -> int:
    """What has to move if nothing moves twice: weights, what is kept for the backward pass, gradients.

    The layers run twice, over the frames and over the texts, each time forward and backward: their weights are read
    four times. What is kept is written once and read once. Each gradient is written.
    """
    weights = sum(value.nbytes for value in model.parameters())
    gradients = sum(value.nbytes for value in model.parameters() if value.requires_grad)
    return 4 * weights + 2 * cost.counted_bytes(model, loss) + gradients
