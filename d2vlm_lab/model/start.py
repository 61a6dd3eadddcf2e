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
    model = load_language(parts, config.method) if parts.language else load(parts.start, config.method)
    if not model.can_ground:
        reset_heads(model, parts.equal_heads)
    return model


def reset_heads(model: D2VLM, equal: bool) -> None:
    """New weights for both heads; with `equal` the same ones, so that similar states are similar from the start."""
    for module in (*model.frame_head, *model.evidence_head):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if equal:
        model.evidence_head.load_state_dict(model.frame_head.state_dict())
