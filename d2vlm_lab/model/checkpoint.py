"""Save and load a model: whole, or only what was trained beside a pointer to where it started. Safetensors only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from ..config import Method, resolve
from ..data.batch import PromptFormat
from ..errors import LabError
from ..settings import from_dict
from .adapter import adapt
from .d2vlm import D2VLM
from .frames import HFFrames
from .towers.tiny import TinyFrames

WEIGHTS, DESCRIPTION = "model.safetensors", "d2vlm.json"


def save(model: D2VLM, folder: str | os.PathLike, base: str = "") -> Path:
    """The model in `folder`; with `base`, the checkpoint it started from, only the trained tensors are written."""
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = trained(model) if base else set(model.state_dict())
    tensors = {name: value.detach().cpu().contiguous() for name, value in _once(model).items() if name in kept}
    description = {"method": asdict(model.method), "prompt": asdict(model.prompt), "base": base,
                   "frames": describe_frames(model.frames), "language": _language_config(model),
                   "adapter": _adapter(model), "grounded": model.can_ground}
    try:
        save_file(tensors, partial / WEIGHTS)
        (partial / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        model.tokenizer.save_pretrained(partial)
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def load(folder: str | os.PathLike, method: Method | None = None) -> D2VLM:
    """A model saved by `save`, in evaluation mode; `method` replaces the switches it was saved with."""
    folder = resolve(str(folder))
    description = read_description(folder)
    method = method or from_dict(Method, description["method"], f"{folder / DESCRIPTION}.method")
    prompt = PromptFormat(**description["prompt"])
    if description["base"]:
        model = load(description["base"], method)
        model.prompt = prompt
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        config = AutoConfig.for_model(**description["language"])
        model = D2VLM(build_frames(**description["frames"]), AutoModelForCausalLM.from_config(config), tokenizer,
                      method, prompt)
    if description["adapter"] and not isinstance(model.language, PeftModel):  # the base may have brought it along
        model.language = adapt(model.language, LoraConfig(**description["adapter"]))
    fill(model, folder / WEIGHTS, whole=not description["base"])
    model.can_ground = description["grounded"]
    return model.eval()


def fill(model: D2VLM, path: Path, whole: bool) -> None:
    """Put tensors in their places; one without a place, or a place without a tensor, is an error."""
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise LabError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise LabError(f"{path}: damaged ({error})") from None
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = set(missing) & set(_once(model))
    if unexpected:
        raise LabError(f"{path}: {len(unexpected)} tensors have no place in this model, such as {unexpected[0]}")
    if whole and missing:
        raise LabError(f"{path}: {len(missing)} tensors of this model are missing, such as {min(missing)}")


def _once(model: D2VLM) -> dict[str, Tensor]:
    """The model's tensors; of tied ones only the first name."""
    places: dict[tuple, str] = {}
    state = model.state_dict()
    for name, value in state.items():
        places.setdefault((value.data_ptr(), value.shape), name)
    return {name: state[name] for name in places.values()}


def read_description(folder: Path) -> dict:
    try:
        return json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{folder}: not a checkpoint of this project (no {DESCRIPTION})") from None
    except json.JSONDecodeError as error:
        raise LabError(f"{folder / DESCRIPTION}: damaged ({error})") from None


def checkpoint_id(folder: str | os.PathLike) -> str:
    """A short hash of the weights, for the protocol beside a score."""
    return hashlib.sha256((resolve(str(folder)) / WEIGHTS).read_bytes()).hexdigest()[:12]


def trained(model: D2VLM) -> set[str]:
    """Names of the tensors that training may have changed."""
    return {name for name, value in model.named_parameters() if value.requires_grad}


def merge(model: D2VLM) -> D2VLM:
    """Fold the adapter into the language model, as the authors save theirs."""
    if isinstance(model.language, PeftModel):
        model.language = model.language.merge_and_unload()
    return model


def describe_frames(frames) -> dict:
    """What `build_frames` needs to make the same encoder, weights aside."""
    if isinstance(frames, TinyFrames):
        return {"kind": "tiny", "words": list(frames.words), "width": frames.width, "features": frames.features,
                "channels": frames.channels, "size": frames.size}
    if isinstance(frames, HFFrames):
        tower = frames.tower.config.to_dict()
        return {"kind": "hf", "tower": tower, "width": frames.width,
                "tokens_per_frame": "pooled" if frames.pooled else frames.tokens_per_frame,
                "size": frames.size, "mean": list(frames.mean), "std": list(frames.std)}
    raise LabError(f"{type(frames).__name__}: this frame encoder is saved only beside its original; give `base`")


def build_frames(kind: str, **settings):
    if kind == "tiny":
        return TinyFrames(**settings)
    if kind == "hf":
        tower = settings.pop("tower")
        return HFFrames(AutoModel.from_config(AutoConfig.for_model(**tower)), **settings)
    raise LabError(f"unknown frame encoder {kind!r}: tiny or hf")


def _language_config(model: D2VLM) -> dict:
    config = model.language.config.to_dict()
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _adapter(model: D2VLM) -> dict | None:
    if not isinstance(model.language, PeftModel):
        return None
    config = model.language.peft_config["default"]
    keep = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_dora", "use_rslora", "modules_to_save",
            "trainable_token_indices")
    return {key: sorted(value) if isinstance(value, set) else value
            for key, value in ((key, getattr(config, key)) for key in keep)}


def _swap(partial: Path, folder: Path) -> None:
    """The finished folder under its final name; an older one there is replaced, never mixed with it."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)

