"""A pretrained language model from a hub id, a local folder, or a GGUF file."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..config import Method, Parts, resolve
from ..data.batch import PromptFormat
from ..errors import LabError, first_line
from ..files import packaged
from ..hub import fetched
from .d2vlm import D2VLM
from .frames import HFFrames
from .precision import hold
from .towers.efficientnet_lite import efficientnet_lite0
from .video_language import OWN, load_video_language


def load_language(parts: Parts, method: Method) -> D2VLM:
    """A causal language model and a vision tower, joined by a projector that is not trained yet, or a model of both."""
    if parts.frames == OWN:
        return load_video_language(local_or_hub(parts.language), parts, method)
    dtype = getattr(torch, parts.dtype)
    language, tokenizer = read_language(parts.language, dtype)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    width = language.config.get_text_config().hidden_size
    frames = load_tower(parts, width)
    prompt = PromptFormat.of(tokenizer, parts.system or None)
    model = D2VLM(frames, language, tokenizer, method, prompt)
    hold(model, dtype)
    return model


def load_tower(parts: Parts, width: int) -> HFFrames:
    """The vision tower, with a new projector into a language model of this width.

    `package:NAME` stands for the weights of EfficientNet-Lite0 inside an installed package.
    """
    if parts.frames.startswith("package:"):
        tower, preparation = efficientnet_lite0(parts.frames.removeprefix("package:"))
        return HFFrames(tower, width, parts.frame_tokens, preparation)
    try:
        return HFFrames.from_pretrained(local_or_hub(parts.frames), width, parts.frame_tokens)
    except LabError:
        raise
    except (OSError, ValueError) as error:
        raise LabError(f"parts.frames: {parts.frames} cannot be loaded ({first_line(error)})") from None


def read_language(source: str, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model held in `dtype`, and its tokenizer.

    `package:NAME` stands for the GGUF file inside an installed package; the package is not imported.
    """
    if source.startswith("package:"):
        source = str(packaged(source.removeprefix("package:"), ".gguf"))
    is_gguf = source.endswith(".gguf")
    place = resolve(source).parent if is_gguf else local_or_hub(source)
    file = {"gguf_file": Path(source).name} if is_gguf else {}
    try:
        model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **file or {"use_safetensors": True})
        tokenizer = AutoTokenizer.from_pretrained(place, **file)
    except (OSError, ValueError) as error:
        raise LabError(f"parts.language: {source} cannot be loaded ({first_line(error)}); "
                       "give a hub id, a local folder with safetensors, or a .gguf file") from None
    if is_gguf:  # the weights are ordinary floats now
        model.hf_quantizer = None
        del model.config.quantization_config
    if (ends := model.generation_config.eos_token_id) is not None:
        model.config.eos_token_id = ends  # a checkpoint keeps the config alone
    return model, tokenizer


def local_or_hub(source: str) -> str:
    """A folder of weights, also that of a hub id, as a path that is valid everywhere; anything else as it is."""
    folder = fetched(source)
    return str(folder) if folder.is_dir() else source
