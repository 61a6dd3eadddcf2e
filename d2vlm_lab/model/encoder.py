"""The frame encoder of a run without its language model, which is many times larger and encodes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..config import RunConfig
from ..errors import LabError
from .checkpoint import load
from .description import PARTS, Description, begun_with, build_frames, is_video_language
from .frames import EvaQFormer, FrameEncoder
from .language import load_tower
from .precision import cast
from .reading import read_json, tensors_of
from .reference import BERT, COUNTER, VISION, VOCABULARY, encoder_sizes, join_biases, place, read_config, weight_files
from .seal import DESCRIPTION, REST, WEIGHTS, find_checkpoint
from .start import start
from .towers.qformer import word_tokenizer
from .video_language import OWN

RELEASED = (VISION, BERT, "model.qformer_")  # beginnings of the names of the encoder's tensors in the authors' release


def start_encoder(config: RunConfig) -> FrameEncoder:
    """The encoder that `start(config).frames` uses. The tower of a video-language model still brings all of it."""
    parts, dtype = config.parts, getattr(torch, config.parts.dtype)
    if parts.frames == OWN:
        return start(config).frames
    # The width of the projector does not matter, because it is not used.
    encoder = load_tower(parts, width=1) if parts.language else encoder_of(find_checkpoint(parts.start), dtype)
    cast(encoder, dtype)
    encoder.preparation = replace(encoder.preparation, clock=config.method.frame_times == "drawn")
    return encoder.eval()


def encoder_of(folder: Path, dtype: torch.dtype) -> FrameEncoder:
    """The encoder of a checkpoint. Training never changes the tower, so the encoder of a checkpoint's base will do."""
    if not (folder / DESCRIPTION).exists() and (folder / "config.json").exists():
        return released_encoder(folder)
    if not (folder / DESCRIPTION).exists():
        return load(folder).frames  # an error that says what is missing
    description = read_json(folder / DESCRIPTION, Description)
    if description["frames"]["kind"] == OWN and (not description["base"] or is_video_language(description)):
        return load(folder, dtype=dtype).frames
    if description["base"] == PARTS:
        return load_tower(begun_with(folder, description), width=1)
    if description["base"]:
        return encoder_of(find_checkpoint(description["base"]), dtype)
    encoder = build_frames(folder, **description["frames"])
    weights = folder / (REST if (folder / REST).exists() else WEIGHTS)
    tensors = {name.removeprefix("frames."): value for name, value in some_tensors(weights, ("frames.",))}
    if missing := set(encoder.state_dict()) - set(tensors):
        raise LabError(f"{weights}: {len(missing)} tensors of the frame encoder are missing, such as "
                       f"frames.{min(missing)}")
    encoder.load_state_dict(tensors)
    return encoder


def released_encoder(folder: Path) -> FrameEncoder:
    """The encoder of a folder laid out as the authors' release."""
    config = read_config(folder)
    tensors = join_biases({name: value for file in weight_files(folder) for name, value in some_tensors(file, RELEASED)
                           if name != COUNTER})
    with torch.device("meta"):
        parts = nn.ModuleDict({"frames": EvaQFormer(config["hidden_size"], word_tokenizer(folder / VOCABULARY),
                                                    *encoder_sizes(folder, tensors))})
    place(parts, tensors, folder)
    return parts["frames"]


def some_tensors(path: Path, prefixes: tuple[str, ...]) -> Iterable[tuple[str, Tensor]]:
    """The tensors of a file whose names begin with one of the prefixes; the others are not read."""
    with tensors_of(path), safe_open(path, "pt") as file:
        yield from ((name, file.get_tensor(name)) for name in file.keys() if name.startswith(prefixes))  # noqa: SIM118
