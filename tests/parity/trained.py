"""What training would change, compared with what the authors' trainer would change."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from d2vlm_lab.config import Adapter, RunConfig
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.reference import released_name

from .compare import EXACT, Found, compare, read_json

FRAMES = {"attention": "attention", "projector": "projector", "qformer": "all", "llm": "all"}  # by tuning mode


def trained_rows(model: D2VLM, folder: Path) -> Found:
    """For each setting of the authors: the names that are trained, the adapter's sizes, the two learning rates."""
    rows = []
    for name, recorded in read_json(folder / "trainable.json").items():
        case, adapter = f"training/{name}", _adapter(name, recorded)
        config = RunConfig(adapter=adapter)
        opened = prepare(deepcopy(model), config)
        computed = {_plain(parameter) for parameter, value in opened.named_parameters() if value.requires_grad}
        names = {parameter.removeprefix("base_model.model.") for parameter in recorded["trainable"]}
        rows.append(compare(case, "trained on one side only", len(computed ^ names), 0, **EXACT))
        if lora := recorded["lora"]:
            sizes = [adapter.rank, adapter.alpha, adapter.dropout]
            rows.append(compare(case, "lora", sizes, [lora[key] for key in ("r", "alpha", "dropout")], **EXACT))
            rates = sorted({group["lr"] for group in recorded["groups"]})
            training = config.training
            rows.append(compare(case, "learning_rates", [training.rest_learning_rate, training.learning_rate], rates,
                                **EXACT))
    return rows, []


def _adapter(name: str, recorded: dict) -> Adapter:
    """A tuning mode and an adapter of the authors in our words."""
    mode, modules = name.split("_")[0], recorded["lora_target_modules"] or ()
    targets = "all" if mode == "llm" else "linear" if "down_proj" in modules else "attention" if modules else "none"
    return Adapter(targets=targets, frames=FRAMES[mode])


def _plain(name: str) -> str:
    """The released name of one of our parameters, adapters included."""
    return released_name(name.replace("language.base_model.model.", "language."))
