"""Where a model computes: on a GPU if there is one."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from ..errors import LabError, first_line
from ..shapes import shown

Model = TypeVar("Model", bound=nn.Module)


def on_device(model: Model, device: str | None = None, worker: int | None = None) -> Model:
    """The model, or a part of one, on `device`; without one, on a GPU if there is any.

    Of several GPUs it is the current one; workers with numbers, such as the shards of an evaluation, take the GPUs in
    turn.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and worker is not None:
            device = f"cuda:{worker % torch.cuda.device_count()}"
    try:
        return model.to(device)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise LabError(f"device is {shown(device)}, which cannot be used ({first_line(error, 90)}); use cpu, or cuda "
                       "where there is a GPU") from None
