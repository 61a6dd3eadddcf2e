"""Which file of a checkpoint holds which weights, and under which names.

    d2vlm.safetensors            the heads, the frame encoder, and whatever is in no other file, by our names
    adapter_model.safetensors    what PEFT has trained: the folder of the checkpoint is one that PEFT itself loads
    model.safetensors            the language model without an adapter: the folder is one that transformers loads
    language/model.safetensors   the language model beneath an adapter, where the checkpoint has no base

An older checkpoint has one file, model.safetensors, with our names.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from ..hub import HUB_ID, is_hub_id
from .d2vlm import D2VLM
from .precision import dtype_name
from .reading import read_shapes
from .seal import ADAPTER, LANGUAGE, REST, WEIGHTS
from .video_language import VideoLanguageFrames

OURS = "language."  # before the names of the language model's weights
PEFT = "base_model.model."  # what PEFT puts before all names; below, what it puts into the names of adapted layers
LAYERS = (".base_layer", ".token_adapter")


def write_weights(model: D2VLM, tensors: Iterable[str], folder: Path, part: bool, beneath: str, tables: bool) -> None:
    """Write the `tensors`, by their names in the model, each into one file; an adapter is always written completely.

    They are a `part` of the model, or all of it. `beneath` is the name by which PEFT finds the base of an adapter. With
    `tables` the embeddings lie beside the adapter, since they are not those of that base.
    """
    state, adapted = model.state_dict(), isinstance(model.language, PeftModel)
    place = dict.fromkeys(tensors, (REST, ""))
    if adapted:
        write_adapter_config(model.language, folder, beneath)
        # Tied embeddings have two names there; PEFT needs only the first.
        place |= {ours: (ADAPTER, name) for name, ours in reversed(adapter_names(model, tables).items())}
    language = {name for name in state if name.startswith(OURS) and place.get(name, ("",))[0] != ADAPTER}
    if standing_alone(model) and (not part or not adapted and language <= set(tensors)):
        file = LANGUAGE if adapted else WEIGHTS
        write_config(model, (folder / file).parent)
        place |= {name: (file, plain_name(name)) for name in language & set(tensors)}
    files: dict[str, dict[str, Tensor]] = {REST: {}}
    for ours, (file, name) in sorted(place.items()):
        files.setdefault(file, {})[name or ours] = state[ours].detach().cpu().contiguous()
    for file, content in files.items():
        path = folder / file
        path.touch()
        mode = path.stat().st_mode  # as this user's files have it; safetensors makes some that nobody else can read
        save_file(content, path, {"format": "pt"})
        path.chmod(mode)


def stored(model: D2VLM, folder: Path) -> dict[Path, dict[str, str]]:
    """File -> name in it -> name in the model, of all weights in a checkpoint. Unknown names stay as they are."""
    files = {folder / file: {} for file in (REST, ADAPTER, WEIGHTS, LANGUAGE) if (folder / file).is_file()}
    for path in files:
        name_of = {}
        if path == folder / ADAPTER and isinstance(model.language, PeftModel):
            name_of = adapter_names(model, tables=True)
        elif path.name == Path(WEIGHTS).name and folder / REST in files:
            name_of = {plain_name(name): name for name in model.state_dict() if name.startswith(OURS)}
        files[path] = {name: name_of.get(name, name) for name in read_shapes(path)}
    return files or {folder / WEIGHTS: dict.fromkeys(read_shapes(folder / WEIGHTS))}  # an error: no such file


def adapter_names(model: D2VLM, tables: bool) -> dict[str, str]:
    """Name in a file of PEFT -> name in the model, for the adapter's weights and, with `tables`, the embeddings."""
    ours = {value.data_ptr(): name for name, value in reversed(model.state_dict().items())}
    return {name: ours[value.data_ptr()]
            for name, value in get_peft_model_state_dict(model.language, save_embedding_layers=tables).items()}


def embeddings(model: D2VLM) -> set[str]:
    """The plain names of the weights of the embeddings that lie beside an adapter if they are trained."""
    return {plain_name(name) for name in set(adapter_names(model, True)) - set(adapter_names(model, False))}


def plain_name(name: str) -> str:
    """The name that transformers has for a weight of the language model."""
    name = name.removeprefix(OURS).removeprefix(PEFT)
    for layer in LAYERS:
        name = name.replace(f"{layer}.", ".")
    return name


def standing_alone(model: D2VLM) -> bool:
    """Whether the language model is a model by itself; that of a video-language model is not, without its tower."""
    return not isinstance(model.frames, VideoLanguageFrames)


def write_adapter_config(language: PeftModel, folder: Path, beneath: str) -> None:
    """Write adapter_config.json, with the base, which PEFT finds by itself if transformers can load it."""
    config = deepcopy(language.peft_config["default"])
    if is_hub_id(beneath):
        beneath, config.revision = HUB_ID.fullmatch(beneath).groups()
    config.base_model_name_or_path, config.inference_mode, config.task_type = beneath or None, True, "CAUSAL_LM"
    config.target_modules = sorted(config.target_modules)
    config.save_pretrained(folder)


def write_config(model: D2VLM, folder: Path) -> None:
    """Write config.json, from which transformers builds the language model."""
    language = model.language.get_base_model() if isinstance(model.language, PeftModel) else model.language
    config = deepcopy(language.config)
    config.architectures, config.dtype = [type(language).__name__], dtype_name(model.dtype)
    config.save_pretrained(folder)
    language.generation_config.to_json_file(folder / "generation_config.json")  # without a check
