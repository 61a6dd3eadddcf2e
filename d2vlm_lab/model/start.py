"""The model that a run starts from: a checkpoint, or a language model and a vision tower."""

from __future__ import annotations

import torch

from .. import processes
from ..config import Method, RunConfig
from ..errors import LabError
from ..reader import read_json
from ..settings import flatten
from ..shapes import shown
from . import families
from .backbone import family
from .checkpoint import load
from .d2vlm import D2VLM
from .language import load_language
from .seal import DESCRIPTION, find_checkpoint
from .streaming.stream import check_streams


def start(config: RunConfig) -> D2VLM:
    """The model of `config.parts` with the method of this run. Untrained heads begin from the run's seed."""
    parts = config.parts
    torch.manual_seed(config.seed)
    if parts.language:
        model = load_language(parts, config.method)
    else:
        model = load(parts.start, config.method, getattr(torch, parts.dtype))
    if parts.start and model.can_ground and not processes.number():
        tell_differences(parts.start, config.method)
    check_live(model, config)
    if parts.attention != "auto":
        attend_with(model, parts.attention)
    for line in model.added:
        print(f"{parts.start}: {line}")
    if not model.can_ground and not model.added:  # an imported checkpoint has heads already, new or not
        reset_heads(model)
    if not model.can_ground and parts.equal_heads:  # so that similar states are similar from the start
        model.evidence_head.load_state_dict(model.frame_head.state_dict())
    return model


def tell_differences(checkpoint: str, method: Method) -> None:
    """Print a line if a run goes on with another method than its checkpoint was trained with, which may be intended."""
    folder = find_checkpoint(checkpoint)
    if not (folder / DESCRIPTION).exists():  # the authors' release
        return
    before, now = read_json(folder / DESCRIPTION, dict)["method"], flatten(method)
    if changed := [name for name in now if now[name] != before.get(name, now[name])]:
        was, becomes = (", ".join(f"method.{name}={shown(values[name])}" for name in changed)
                        for values in (before, now))
        print(f"{checkpoint} was trained with {was}; this run goes on with {becomes}")


def check_live(model: D2VLM, config: RunConfig) -> None:
    """An error for a setting about videos that are still running, if the model cannot read such videos."""
    for name, wanted in (("method.standing_weight", config.method.standing_weight),
                         ("data.ask_early", config.data.ask_early),
                         ("evaluation.keep_frames", config.evaluation.keep_frames)):
        if wanted:
            try:
                check_streams(model)
            except LabError as error:
                raise LabError(f"{name}: {error}") from None


def attend_with(model: D2VLM, attention: str) -> None:
    """Use another implementation of attention, with which our logits must equal those of the family's own forward."""
    if attention == "flex_attention" and not torch.cuda.is_available():
        raise LabError("parts.attention=flex_attention can be trained on a GPU only, and there is none; use sdpa")
    try:
        model.language.set_attn_implementation(attention)
    except ValueError:
        raise LabError(f"parts.attention is {attention}, which {family(model.language)} language models do not have; "
                       "use auto") from None
    families.check(model.language)


def reset_heads(model: D2VLM) -> None:
    """New weights for both heads."""
    for module in (*model.frame_head, *model.evidence_head):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
