"""The model that a run starts from: a checkpoint, or a language model and a vision tower."""

from __future__ import annotations

import torch

from ..config import RunConfig
from .checkpoint import load
from .d2vlm import D2VLM
from .language import load_language


def start(config: RunConfig) -> D2VLM:
    """The model of `config.parts` with the method of this run. Untrained heads begin from the run's seed."""
    parts = config.parts
    torch.manual_seed(config.seed)
    if parts.language:
        model = load_language(parts, config.method)
    else:
        model = load(parts.start, config.method, getattr(torch, parts.dtype))
    for line in model.added:
        print(f"{parts.start}: {line}")
    if not model.can_ground and not model.added:  # an imported checkpoint has its heads already, new or not
        reset_heads(model)
    if not model.can_ground and parts.equal_heads:  # so that similar states are similar from the start
        model.evidence_head.load_state_dict(model.frame_head.state_dict())
    return model


def reset_heads(model: D2VLM) -> None:
    """New weights for both heads."""
    for module in (*model.frame_head, *model.evidence_head):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
