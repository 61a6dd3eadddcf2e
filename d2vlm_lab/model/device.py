"""Where a model computes: on a GPU if there is one."""

from __future__ import annotations

import torch

from .d2vlm import D2VLM


def on_device(model: D2VLM, device: str | None = None, worker: int | None = None) -> D2VLM:
    """The model on `device`; without one, on a GPU if there is any.

    Of several GPUs it is the current one; workers with numbers, such as the shards of an evaluation, take them in turn.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and worker is not None:
            device = f"cuda:{worker % torch.cuda.device_count()}"
    return model.to(device)
