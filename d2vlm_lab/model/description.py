"""What `d2vlm.json` says of a model: enough to build it again, apart from its weights."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal, NotRequired, TypedDict

from peft import PeftModel
from transformers import AutoConfig, AutoModel, Blip2VisionConfig

from ..config import Parts, RunConfig
from ..data.batch import PromptFormat
from ..data.preparation import Preparation
from ..errors import LabError
from ..settings import from_dict
from ..shapes import Range, Seed, fit
from .d2vlm import D2VLM
from .frames import EvaQFormer, FrameEncoder, HFFrames
from .precision import dtype_name
from .reading import LARGEST
from .reference import VOCABULARY
from .seal import DESCRIPTION, find_checkpoint
from .towers.qformer import QFormerConfig, word_tokenizer
from .towers.tiny import TinyFrames
from .video_language import OWN, VideoLanguageFrames

PARTS = "parts"  # the base of a checkpoint in the middle of a run that began with a language model and a tower
Count = Annotated[int, Range(1, LARGEST)]


class LoraSettings(TypedDict):
    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: list[str]
    use_dora: bool
    use_rslora: bool
    modules_to_save: list[str] | None
    trainable_token_indices: dict[str, list[int]] | list[int] | None


class FrameSettings(TypedDict):
    """The settings of any kind of frame encoder; each kind has some of these."""

    kind: Literal["tiny", "hf", "eva", "own"]
    words: NotRequired[list[str]]
    width: NotRequired[Count]
    features: NotRequired[Count]
    channels: NotRequired[Count]
    size: NotRequired[Count]
    tokens_per_frame: NotRequired[Count | Literal["pooled"]]
    tower: NotRequired[dict[str, object]]
    eva: NotRequired[dict[str, object]]
    qformer: NotRequired[dict[str, object]]
    preparation: NotRequired[dict[str, object] | None]
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]


class Begun(TypedDict):
    """How a run began that had no checkpoint to begin with."""

    parts: dict[str, object]
    seed: Seed


class Description(TypedDict):
    """The content of d2vlm.json."""

    base: str
    dtype: NotRequired[Literal["float32", "bfloat16", "float16"]]  # checkpoints without it are float32
    method: dict[str, object]
    prompt: PromptFormat
    grounded: bool
    frames: FrameSettings
    adapter: LoraSettings | None
    language: dict[str, object]
    hashes: NotRequired[dict[str, str]]  # of its files, by their names; older checkpoints have none
    base_hash: NotRequired[str]
    begun: NotRequired[Begun]  # if the base is PARTS


def describe(model: D2VLM, base: str, begun: RunConfig | None) -> Description:
    """All but the hashes, which are those of files that are still to be written."""
    language = model.language.config.to_dict()
    description: Description = {
        "base": base, "dtype": dtype_name(model.dtype), "method": asdict(model.method), "prompt": asdict(model.prompt),
        "grounded": model.can_ground, "frames": describe_frames(model.frames), "adapter": describe_adapter(model),
        "language": {key: value for key, value in language.items() if not key.startswith("_")}}
    if begun:
        description["begun"] = {"parts": asdict(begun.parts), "seed": begun.seed}
    return description


def begun_with(folder: Path, description: dict) -> Parts:
    """The language model and the vision tower with which the run of a checkpoint began."""
    if "begun" not in description:  # older checkpoints do not say it
        raise LabError(f"{folder}: this is the middle of a run that began with a language model and a vision tower; it "
                       "holds only what was trained. Let the same command go on with the run, whose end is saved whole")
    return from_dict(Parts, description["begun"]["parts"], f"{folder / DESCRIPTION}: begun.parts")


def is_video_language(description: dict) -> bool:
    """Whether the base of a checkpoint is a video-language model, and not a checkpoint that began with one."""
    return description["frames"]["kind"] == OWN and not (find_checkpoint(description["base"]) / DESCRIPTION).exists()


def describe_frames(frames: FrameEncoder) -> dict:
    """What `build_frames` needs to make the same encoder, apart from its weights."""
    if isinstance(frames, TinyFrames):
        return {"kind": "tiny", "words": list(frames.words), "width": frames.width, "features": frames.features,
                "channels": frames.channels, "size": frames.size}
    if isinstance(frames, HFFrames):
        return {"kind": "hf", "tower": frames.tower.config.to_dict(), "width": frames.width,
                "tokens_per_frame": "pooled" if frames.pooled else frames.tokens_per_frame,
                "preparation": asdict(replace(frames.preparation, clock=False))}
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
            return HFFrames(tower, **settings, preparation=fit(recorded, Preparation))
        # Older checkpoints know only one way: bilinear, by the short side, then the central square.
        size, mean, std = settings.pop("size"), settings.pop("mean"), settings.pop("std")
        return HFFrames(tower, **settings, preparation=Preparation.square(size, mean, std))
    return EvaQFormer(settings["width"], word_tokenizer(folder / VOCABULARY), Blip2VisionConfig(**settings["eva"]),
                      QFormerConfig(**settings["qformer"]))


def describe_adapter(model: D2VLM) -> dict | None:
    """The settings that make the same adapter again; None if the language model has none."""
    if not isinstance(model.language, PeftModel):
        return None
    fields = {name: getattr(model.language.peft_config["default"], name) for name in LoraSettings.__annotations__}
    return {name: sorted(value) if isinstance(value, set) else value for name, value in fields.items()}
