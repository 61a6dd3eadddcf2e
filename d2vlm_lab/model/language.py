"""A pretrained backbone from wherever its weights are: hub id, local folder, or a GGUF file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..config import Method, Parts, resolve
from ..data.batch import PromptFormat
from ..errors import LabError
from .d2vlm import D2VLM
from .frames import HFFrames


def load_language(parts: Parts, method: Method) -> D2VLM:
    """A causal language model and a vision tower, joined by a projector that is not trained yet."""
    language, tokenizer = read_language(parts.language)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    width = language.config.get_text_config().hidden_size
    try:
        frames = HFFrames.from_pretrained(_place(parts.frames), width, tokens_per_frame=parts.frame_tokens)
    except OSError as error:
        raise LabError(f"parts.frames: {parts.frames} cannot be loaded ({_short(error)})") from None
    return D2VLM(frames, language, tokenizer, method, PromptFormat.of(tokenizer, parts.system or None))


def read_language(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """`package:NAME` names the GGUF file inside an installed package, which is found and never imported."""
    if source.startswith("package:"):
        source = str(gguf_in(source.removeprefix("package:")))
    place, options = _place(source), {"use_safetensors": True}
    if source.endswith(".gguf"):
        file = resolve(source)
        place, options = file.parent, {"gguf_file": file.name}
    try:
        model = AutoModelForCausalLM.from_pretrained(place, **options)
        options.pop("use_safetensors", None)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    except (OSError, ValueError) as error:
        raise LabError(f"parts.language: {source} cannot be loaded ({_short(error)}); "
                       "give a hub id, a local folder with safetensors, or a .gguf file") from None
    if source.endswith(".gguf"):  # its weights are plain floats now
        model.hf_quantizer = None
        del model.config.quantization_config
    return model, tokenizer


def gguf_in(package: str) -> Path:
    spec = find_spec(package)
    found = sorted(Path(spec.origin).parent.rglob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise LabError(f"package:{package}: no such package with a .gguf file is installed")
    return found[0]


def _place(source: str) -> str:
    """A local folder as a path that holds from anywhere; else a hub id, left as it is."""
    folder = resolve(source)
    return str(folder) if folder.is_dir() else source


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
