"""Save and load a model: whole, or only what was trained, with a pointer to where it started. Safetensors only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, Blip2VisionConfig

from ..config import Method, Parts, resolve
from ..data.batch import PromptFormat
from ..data.preparation import Preparation
from ..errors import LabError
from ..settings import from_dict
from .adapter import adapt
from .d2vlm import D2VLM
from .frames import EvaQFormer, FrameEncoder, HFFrames
from .language import local_or_hub
from .precision import dtype_name, hold, train_in_float32
from .reading import read_json, read_tensors
from .reference import VOCABULARY, import_reference
from .towers.qformer import QFormerConfig, word_tokenizer, write_vocabulary
from .towers.tiny import TinyFrames
from .video_language import OWN, VideoLanguageFrames, build_parts, load_video_language

WEIGHTS, DESCRIPTION = "model.safetensors", "d2vlm.json"
LORA_FIELDS = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_dora", "use_rslora", "modules_to_save",
               "trainable_token_indices")


def save(model: D2VLM, folder: str | os.PathLike, base: str = "") -> Path:
    """The model in `folder`; with `base`, the checkpoint it started from, only the trained tensors are written."""
    tensors = untied(model)
    if base:
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
        tensors = {name: value for name, value in tensors.items() if name in trained}
    language = model.language.config.to_dict()
    description = {
        "base": base, "dtype": dtype_name(model.dtype), "method": asdict(model.method), "prompt": asdict(model.prompt),
        "grounded": model.can_ground, "frames": describe_frames(model.frames), "adapter": describe_adapter(model),
        "language": {key: value for key, value in language.items() if not key.startswith("_")}}
    with replaced(Path(folder)) as partial:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial / WEIGHTS)
        (partial / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        model.tokenizer.save_pretrained(partial)
        if isinstance(model.frames, EvaQFormer):
            write_vocabulary(model.frames.words, partial / VOCABULARY)
    return Path(folder)


def load(folder: str | os.PathLike, method: Method | None = None, dtype: torch.dtype | None = None) -> D2VLM:
    """A model saved by `save` or released by the authors, in evaluation mode; `method` replaces its own switches.

    Its weights keep the precision that they were saved in. With `dtype`, the frozen ones are held in that instead.
    """
    folder = resolve(str(folder))
    if not (folder / DESCRIPTION).exists():
        if (folder / "config.json").exists():
            model = import_reference(folder, method=method, dtype=dtype)
            hold(model, dtype or model.dtype)
            return model
        hint = f"; did you mean {folder / 'model'}?" if (folder / "model" / DESCRIPTION).exists() else ""
        raise LabError(f"{folder}: neither a checkpoint of this project (no {DESCRIPTION}) nor laid out as the "
                       f"authors' release (no config.json){hint}")
    description = read_json(folder / DESCRIPTION)
    method = method or from_dict(Method, description["method"], f"{folder / DESCRIPTION}.method")
    prompt = PromptFormat(**description["prompt"])
    recorded = getattr(torch, description.get("dtype", "float32"))  # checkpoints without this line are float32
    if description["base"] and is_video_language(description):
        parts = Parts(frames=OWN, frame_tokens=description["frames"]["tokens_per_frame"],
                      dtype=dtype_name(dtype or recorded))
        model = load_video_language(local_or_hub(description["base"]), parts, method)
        model.prompt = prompt
    elif description["base"]:
        model = load(description["base"], method, dtype or recorded)
        model.prompt = prompt
    elif description["frames"]["kind"] == OWN:
        settings = description["frames"]
        frames, language = build_parts(description["language"], recorded, settings["tokens_per_frame"],
                                       settings["mean"], settings["std"])
        model = D2VLM(frames, language, AutoTokenizer.from_pretrained(folder), method, prompt)
    else:
        language = AutoModelForCausalLM.from_config(AutoConfig.for_model(**description["language"]), dtype=recorded)
        model = D2VLM(build_frames(folder, **description["frames"]), language, AutoTokenizer.from_pretrained(folder),
                      method, prompt)
    if description["adapter"] and not isinstance(model.language, PeftModel):  # its base may have one already
        model.language = adapt(model.language, LoraConfig(**description["adapter"]))
    names = fill(model, folder / WEIGHTS, whole=not description["base"])
    if description["base"]:  # as it was when it was saved, so that it can be saved again
        for name, value in model.named_parameters():
            value.requires_grad_(name in names)
        train_in_float32(model)
    else:
        model.dtype = recorded
        if dtype is not None:
            hold(model, dtype)
    model.can_ground, model.added = description["grounded"], []
    return model.eval()


def is_video_language(description: dict) -> bool:
    """Whether the base of a checkpoint is a video-language model, and not a checkpoint that began with one."""
    return description["frames"]["kind"] == OWN and not (resolve(description["base"]) / DESCRIPTION).exists()


def merge(model: D2VLM) -> D2VLM:
    """The same model without an adapter: what LoRA has learned becomes part of the language model's own weights."""
    if isinstance(model.language, PeftModel):
        model.language = model.language.merge_and_unload()
    return model


def fill(model: D2VLM, path: Path, whole: bool) -> set[str]:
    """Give the model the tensors of a file, in the file's precision; returns their names.

    All must have a place; if the file is `whole`, no place stays empty.
    """
    tensors = read_tensors(path)
    for name, value in model.named_parameters():
        if name in tensors:
            value.data = value.data.to(tensors[name].dtype)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = set(missing) & set(untied(model))
    if unexpected:
        raise LabError(f"{path}: {len(unexpected)} tensors have no place in this model, such as {unexpected[0]}")
    if whole and missing:
        raise LabError(f"{path}: {len(missing)} tensors of this model are missing, such as {min(missing)}")
    return set(tensors)


def untied(model: D2VLM) -> dict[str, Tensor]:
    """The model's tensors; where several names share one, only the first."""
    first: dict[tuple, str] = {}
    state = model.state_dict()
    for name, value in state.items():
        first.setdefault((value.data_ptr(), value.shape), name)
    return {name: state[name] for name in first.values()}


def checkpoint_id(folder: str | os.PathLike) -> str:
    """A short hash of the weights, for the protocol beside a score."""
    with open(resolve(str(folder)) / WEIGHTS, "rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()[:12]


def describe_frames(frames: FrameEncoder) -> dict:
    """What `build_frames` needs to make the same encoder, apart from its weights."""
    if isinstance(frames, TinyFrames):
        return {"kind": "tiny", "words": list(frames.words), "width": frames.width, "features": frames.features,
                "channels": frames.channels, "size": frames.size}
    if isinstance(frames, HFFrames):
        return {"kind": "hf", "tower": frames.tower.config.to_dict(), "width": frames.width,
                "tokens_per_frame": "pooled" if frames.pooled else frames.tokens_per_frame,
                "preparation": asdict(frames.preparation)}
    if isinstance(frames, VideoLanguageFrames):
        return {"kind": OWN, "tokens_per_frame": frames.tokens_per_frame, "mean": frames.preparation.mean,
                "std": frames.preparation.std}
    if isinstance(frames, EvaQFormer):
        return {"kind": "eva", "eva": frames.tower.config.to_dict(), "qformer": asdict(frames.config),
                "width": frames.projector.out[1].out_features}
    raise LabError(f"{type(frames).__name__}: this frame encoder cannot be saved")


def build_frames(folder: Path, kind: str, **settings) -> FrameEncoder:
    """The frame encoder that `describe_frames` described in the checkpoint `folder`."""
    if kind == "tiny":
        return TinyFrames(**settings)
    if kind == "hf":
        tower = AutoModel.from_config(AutoConfig.for_model(**settings.pop("tower")))
        if (recorded := settings.pop("preparation", None)) is not None:
            return HFFrames(tower, **settings, preparation=Preparation.from_record(recorded))
        # Older checkpoints know one way: bilinear, by the short side, and the central square.
        size, mean, std = settings.pop("size"), settings.pop("mean"), settings.pop("std")
        return HFFrames(tower, **settings, preparation=Preparation.square(size, mean, std))
    if kind == "eva":
        return EvaQFormer(settings["width"], word_tokenizer(folder / VOCABULARY), Blip2VisionConfig(**settings["eva"]),
                          QFormerConfig(**settings["qformer"]))
    raise LabError(f"{folder}: unknown frame encoder {kind!r}; it is one of tiny, hf and eva")


def describe_adapter(model: D2VLM) -> dict | None:
    """What makes the same adapter again; None where the language model has none."""
    if not isinstance(model.language, PeftModel):
        return None
    fields = {name: getattr(model.language.peft_config["default"], name) for name in LORA_FIELDS}
    return {name: sorted(value) if isinstance(value, set) else value for name, value in fields.items()}


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A folder to write in. Once it is complete it takes the place of `folder`, and nothing of an older one is kept."""
    partial, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{ending}") for ending in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
