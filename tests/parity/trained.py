"""What training would change, against what the authors' trainer would."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from d2vlm_lab.config import Adapter, RunConfig
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.reference import released_name

from .compare import EXACT, Found, compare, read_json

FRAMES = {"attention": "attention", "projector": "projector", "qformer": "all", "llm": "all"}  # their tuning modes


def trained_rows(model: D2VLM, folder: Path) -> Found:
    """For each of their settings: the names that are trained, the adapter's sizes, the two learning rates."""
    rows = []
    for name, theirs in read_json(folder / "trainable.json").items():
        case, adapter = f"training/{name}", _adapter(name, theirs)
        config = RunConfig(adapter=adapter)
        opened = prepare(deepcopy(model), config)
        ours = {_plain(parameter) for parameter, value in opened.named_parameters() if value.requires_grad}
        names = {parameter.removeprefix("base_model.model.") for parameter in theirs["trainable"]}
        rows.append(compare(case, "trained on one side only", len(ours ^ names), 0, **EXACT))
        if lora := theirs["lora"]:
            sizes = [adapter.rank, adapter.alpha, adapter.dropout]
            rows.append(compare(case, "lora", sizes, [lora[key] for key in ("r", "alpha", "dropout")], **EXACT))
            rates = sorted({group["lr"] for group in theirs["groups"]})
            training = config.training
            rows.append(compare(case, "learning_rates", [training.rest_learning_rate, training.learning_rate], rates,
                                **EXACT))
    return rows, []


def _adapter(name: str, theirs: dict) -> Adapter:
    """Their tuning mode and adapter in our words."""
    mode, modules = name.split("_")[0], theirs["lora_target_modules"] or ()
    targets = "all" if mode == "llm" else "linear" if "down_proj" in modules else "attention" if modules else "none"
    return Adapter(targets=targets, frames=FRAMES[mode])


def _plain(name: str) -> str:
    """Their name for one of our parameters, adapters included."""
    return released_name(name.replace("language.base_model.model.", "language."))
