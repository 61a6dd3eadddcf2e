"""A model from wherever its weights are: a checkpoint, a folder laid out as the authors', or a backbone."""

from __future__ import annotations

import torch

from ..config import RunConfig, resolve
from ..errors import LabError
from .checkpoint import DESCRIPTION, load
from .d2vlm import D2VLM
from .language import load_language
from .reference import import_reference


def start(config: RunConfig) -> D2VLM:
    """The model that training starts from, under the method of this run."""
    parts = config.parts
    torch.manual_seed(config.seed)
    if parts.language:
        model = load_language(parts, config.method)
    elif (resolve(parts.start) / DESCRIPTION).exists():
        model = load(resolve(parts.start), config.method)
    elif (resolve(parts.start) / "config.json").exists():
        model = import_reference(resolve(parts.start), method=config.method)
    else:
        raise LabError(f"parts.start: {parts.start} is no checkpoint of this project, nor laid out as the authors'")
    if not model.can_ground:
        fresh_heads(model, parts.equal_heads)
    return model


def fresh_heads(model: D2VLM, equal: bool) -> None:
    """Heads that were never trained start anew with the run's seed."""
    for module in (*model.frame_head, *model.evidence_head):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if equal:
        model.evidence_head.load_state_dict(model.frame_head.state_dict())


def read_model(checkpoint: str) -> D2VLM:
    folder = resolve(checkpoint)
    return load(folder) if (folder / DESCRIPTION).exists() else import_reference(folder)
