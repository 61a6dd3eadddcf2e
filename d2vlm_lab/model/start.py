"""A model from wherever its weights are: a checkpoint, a folder laid out as the authors' release, or backbones."""

from __future__ import annotations

import torch

from ..config import Method, RunConfig, resolve
from ..errors import LabError
from .checkpoint import DESCRIPTION, load
from .d2vlm import D2VLM
from .language import load_language
from .reference import import_reference


def start(config: RunConfig) -> D2VLM:
    """The model that a run starts from, with the method of this run. Untrained heads begin from the run's seed."""
    torch.manual_seed(config.seed)
    if config.parts.language:
        model = load_language(config.parts, config.method)
    else:
        model = read_model(config.parts.start, config.method)
    if not model.can_ground:
        reset_heads(model, config.parts.equal_heads)
    return model


def read_model(checkpoint: str, method: Method | None = None) -> D2VLM:
    """A finished model, with its own method unless another is given."""
    folder = resolve(checkpoint)
    if (folder / DESCRIPTION).exists():
        return load(folder, method)
    if (folder / "config.json").exists():
        return import_reference(folder, method=method)
    raise LabError(f"{checkpoint} is neither a checkpoint of this project (no {DESCRIPTION}) "
                   "nor a folder laid out as the authors' release (no config.json)")


def reset_heads(model: D2VLM, equal: bool) -> None:
    """New weights for both heads; with `equal` the same ones, so that similar states are similar from the start."""
    for module in (*model.frame_head, *model.evidence_head):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if equal:
        model.evidence_head.load_state_dict(model.frame_head.state_dict())
