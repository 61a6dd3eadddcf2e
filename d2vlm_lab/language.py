"""A pretrained backbone from wherever its weights are: hub id, local folder, or a GGUF file."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .batch import PromptFormat
from .config import Method, Parts, resolve
from .errors import LabError
from .frames import HFFrames
from .model import D2VLM

CONVERTED = "data/cache/gguf"


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
    place = from_gguf(resolve(source)) if source.endswith(".gguf") else _place(source)
    try:
        model = AutoModelForCausalLM.from_pretrained(place, use_safetensors=True)
        return model, AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise LabError(f"parts.language: {source} cannot be loaded ({_short(error)}); "
                       "give a hub id, a local folder with safetensors, or a .gguf file") from None


def from_gguf(file: Path) -> Path:
    """The folder of a converted GGUF file. Converting takes a minute, so it is done once and kept."""
    if not file.is_file():
        raise LabError(f"{file}: no such GGUF file")
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = resolve(CONVERTED) / f"{file.stem}-{key}"
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(partial)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(partial)
        os.replace(partial, folder)
    return folder


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
