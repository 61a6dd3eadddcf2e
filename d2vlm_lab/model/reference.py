"""Read a checkpoint that is laid out as the authors' release: every tensor finds its place in our modules, or is named.

The authors train from stage 2 of E.T. Chat, which has neither heads nor evidence tokens yet. Stage 3 has a frame head,
and a head for its token `<vid>`, which has no place here. What such a checkpoint lacks is made new, and `model.added`
says what that was. Only safetensors are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Blip2VisionConfig, Phi3Config, PreTrainedTokenizerFast

from ..config import Method
from ..data.batch import PromptFormat, new_evidence_tokens
from ..errors import LabError
from .d2vlm import D2VLM
from .frames import EvaQFormer
from .heads import head
from .reading import read_json, read_tensors
from .towers.qformer import QFormerConfig, word_tokenizer

# a part of our model: (its name in the release, {a word of our names inside it: the word in the release})
NAMES = {
    "frame_head": ("frm_head", {}),
    "evidence_head": ("evi_head", {}),
    "language": ("", {}),
    "frames.tower": ("model.vision_tower.vision_tower", {
        "embeddings.class_embedding": "cls_token", "embeddings.position_embedding": "pos_embed",
        "embeddings.patch_embedding": "patch_embed.proj", "encoder.layers": "blocks", "layer_norm1": "norm1",
        "layer_norm2": "norm2", "self_attn.qkv": "attn.qkv", "self_attn.projection": "attn.proj"}),
    "frames.projector.bert": ("model.qformer_bert.bert", {
        "words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings",
        "attention.norm": "attention.output.LayerNorm", "cross_attention.norm": "cross_attention.output.LayerNorm",
        "feed_words.norm": "output.LayerNorm", "feed_queries.norm": "output_query.LayerNorm",
        "norm": "embeddings.LayerNorm", "layers": "encoder.layer", "cross_attention": "crossattention",
        "query": "self.query", "key": "self.key", "value": "self.value", "out": "output.dense",
        "feed_words.up": "intermediate.dense", "feed_words.down": "output.dense",
        "feed_queries.up": "intermediate_query.dense", "feed_queries.down": "output_query.dense"}),
    "frames.projector": ("model", {
        "queries": "qformer_query", "patch_norm": "qformer_ln", "expand": "qformer_proj",
        "query": "qformer_q_proj", "key": "qformer_k_proj", "out": "qformer_v_proj"}),
}
VISION, BERT = NAMES["frames.tower"][0], NAMES["frames.projector.bert"][0]
COUNTER = f"{BERT}.embeddings.position_ids"  # 0, 1, 2, ..., which are not learned
NEEDED = {"vision_tower": "eva_vit", "mm_projector": "qformer", "vision_output_token": "patch", "conv_type": "phi3",
          "use_evidence": True, "use_time_tag": False}
HEADS, FOREIGN = ("frm_head.", "evi_head."), "vid_head."  # heads of this method; head of stage 3 of E.T. Chat
VOCABULARY = Path("qformer_tokenizer") / "vocab.txt"
PROMPT = PromptFormat("<|system|>\nYou are a helpful AI assistant.<|end|>\n<|user|>\n",
                      "\n{question}<|end|>\n<|assistant|>\n", "<|end|>")


def import_reference(folder: str | os.PathLike, attention: str = "sdpa", dtype: torch.dtype | None = None,
                     method: Method | None = None) -> D2VLM:
    """The authors' checkpoint in `folder` as a D2VLM in evaluation mode, with its own switches or with `method`.

    The authors compute attention as `eager` does; `sdpa` gives the same and is faster.
    """
    folder = Path(folder)
    config, tokenizer = read_config(folder), read_tokenizer(folder)
    tensors = join_biases({name: value for file in weight_files(folder) for name, value in read_tensors(file).items()})
    tensors.pop(COUNTER, None)
    trained_to_ground = any(name.startswith(HEADS[1]) for name in tensors)
    if not trained_to_ground:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(FOREIGN)}
    if dtype is not None:
        tensors = {name: tensor if name.startswith(HEADS) else tensor.to(dtype) for name, tensor in tensors.items()}
    words, width = word_tokenizer(folder / VOCABULARY), config["hidden_size"]
    with torch.device("meta"):  # shapes only: the tensors that were read become the parameters
        parts = nn.ModuleDict({
            "frames": EvaQFormer(width, words, *encoder_sizes(folder, tensors)),
            "language": AutoModelForCausalLM.from_config(language_config(config), attn_implementation=attention),
            "frame_head": head(width), "evidence_head": head(width)})
    added = [] if trained_to_ground else new_heads(parts, tensors)
    place(parts, tensors, folder)
    decoder = parts["language"].model
    decoder.rotary_emb = type(decoder.rotary_emb)(parts["language"].config)  # its frequencies are in no file
    method = method or Method(
        ties="span",
        target_base=float(config.get("alpha", 2.0)), bidirectional_frames=config.get("bi_attention", True),
        consistency_weight=10.0 if config.get("consistency_loss", True) else 0.0)
    rows = len(parts["language"].get_input_embeddings().weight)
    for number, token in enumerate(new_evidence_tokens(tokenizer), len(tokenizer)):
        row = "the row that the vocabulary has for it" if number < rows else "a new row in the vocabulary"
        added.append(f"{token} is a new token, number {number}, with {row}")
    model = D2VLM(parts["frames"], parts["language"], tokenizer, method, PROMPT)
    model.frame_head, model.evidence_head = parts["frame_head"], parts["evidence_head"]
    model.can_ground, model.added = trained_to_ground, added
    return model.eval()


def new_heads(parts: nn.ModuleDict, tensors: dict[str, Tensor]) -> list[str]:
    """Weights for the heads, drawn as the language model draws its own, where `tensors` has none that fit.

    Returns what was made, in words. The weights depend on torch's seed.
    """
    language, added = parts["language"], []
    like = next(iter(tensors.values()))
    for name in ("frame_head", "evidence_head"):
        fresh = head(language.config.hidden_size).to(like.device, like.dtype)
        fresh.apply(language._init_weights)
        state = {released_name(f"{name}.{key}"): value for key, value in fresh.state_dict().items()}
        kept = [key for key, value in state.items() if key in tensors and tensors[key].shape == value.shape]
        tensors |= {key: value for key, value in state.items() if key not in kept}
        if len(kept) < len(state):
            exceptions = f", except {', '.join(kept)}" if kept else ""
            added.append(f"the {name.replace('_', ' ')} has new weights, drawn as the language model draws its own"
                         f"{exceptions}")
    return added


def released_name(name: str) -> str:
    """The name that one of our tensors has in the release."""
    part = next(part for part in sorted(NAMES, key=len, reverse=True) if name.startswith(f"{part}."))
    released_part, words = NAMES[part]
    rest = name[len(part):] + "."
    for word, released_word in words.items():
        rest = rest.replace(f".{word}.", f".{released_word}.")
    return (released_part + rest).strip(".")


def read_config(folder: Path) -> dict:
    """The content of config.json, after a check that this import can represent it."""
    path = folder / "config.json"
    config = read_json(path)
    for field in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        if not isinstance(config.get(field), int):
            raise LabError(f"{path}: {field} is {config.get(field)!r}; it must be a whole number")
    for field, value in NEEDED.items():
        if config.get(field, value) != value:
            raise LabError(f"{path}: {field} is {config[field]!r}; only {value!r} can be imported")
    return config


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise LabError(f"{folder}: no tokenizer.json")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or the files that its index names."""
    index, files = folder / "model.safetensors.index.json", ["model.safetensors"]
    if index.is_file():
        files = sorted(set(read_json(index).get("weight_map", {}).values()))
        if unsafe := [name for name in files if Path(name).name != name or not name.endswith(".safetensors")]:
            raise LabError(f"{index}: {unsafe[0]!r} is not a safetensors file in this folder")
    elif not (folder / files[0]).is_file() and list(folder.glob("adapter_model.*")):
        base = read_json(folder / "config.json").get("model_name_or_path", "its base model")
        raise LabError(f"{folder} holds only a part of a model: an adapter and what was trained beside it, on top of "
                       f"{base}. Merge them first, with the authors' code: load this folder with its loader, call "
                       "merge_and_unload() of the loaded model and save_pretrained() with safetensors into a new "
                       "folder, and save the tokenizer there too; then give that folder")
    return [folder / file for file in files]


def join_biases(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The released vision blocks have separate biases for queries and values, and none for keys; ours have one bias."""
    joined = dict(tensors)
    for name in tensors:
        block = name.removesuffix("q_bias")
        if name.startswith(VISION) and name.endswith("attn.q_bias") and f"{block}v_bias" in tensors:
            q, v = joined.pop(name), joined.pop(f"{block}v_bias")
            joined[f"{block}qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return joined


def place(parts: nn.ModuleDict, tensors: dict[str, Tensor], folder: Path) -> None:
    """Give every parameter the tensor of its name. What is missing, left over or of another shape is an error."""
    names = {name: released_name(name) for name in parts.state_dict()}
    problems = []
    if missing := sorted(set(names.values()) - set(tensors)):
        problems.append(f"not found: {', '.join(missing)}")
    if left := sorted(set(tensors) - set(names.values())):
        problems.append(f"without a place: {', '.join(left)}")
    for name, parameter in parts.state_dict().items():
        tensor = tensors.get(names[name], parameter)
        if tensor.shape != parameter.shape:
            problems.append(f"{names[name]} is {list(tensor.shape)} where {list(parameter.shape)} is needed")
    if problems:
        raise LabError(f"{folder}: {'; '.join(problems)}")
    parts.load_state_dict({name: tensors[released] for name, released in names.items()}, assign=True)


def language_config(config: dict) -> Phi3Config:
    kept = {key: value for key, value in config.items() if key in Phi3Config.__dataclass_fields__}
    scaling = config.get("rope_scaling") or {}
    rope = {"rope_theta": config.get("rope_theta", 10000.0), "rope_type": scaling.get("type", "default"), **scaling}
    kept |= {"rope_parameters": rope, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}
    return Phi3Config(**kept | {"sliding_window": None})  # named in the released config, but never applied


def encoder_sizes(folder: Path, tensors: dict[str, Tensor]) -> tuple[Blip2VisionConfig, QFormerConfig]:
    """Sizes of the frame encoder as its tensors show them, and its numbers of heads, which no tensor shows."""
    def shape(name: str) -> torch.Size:
        if name not in tensors:
            raise LabError(f"{folder}: the checkpoint has no tensor {name}")
        return tensors[name].shape

    eva_hidden, eva_width = shape(f"{VISION}.blocks.0.mlp.fc1.weight")
    patch = shape(f"{VISION}.patch_embed.proj.weight")[-1]
    side = round((shape(f"{VISION}.pos_embed")[1] - 1) ** 0.5)  # patches in a row; one more token is the class
    layer = f"{BERT}.encoder.layer."
    hidden, width = shape(f"{layer}0.intermediate.dense.weight")
    layers = count(tensors, layer)
    looking = count((name for name in tensors if ".crossattention." in name), layer)
    queries = shape("model.qformer_query")[1]
    eva_heads, heads = attention_heads(folder, eva_width, width)
    eva = Blip2VisionConfig(
        image_size=side * patch, patch_size=patch, hidden_size=eva_width, num_attention_heads=eva_heads,
        num_hidden_layers=count(tensors, f"{VISION}.blocks."), intermediate_size=eva_hidden)
    return eva, QFormerConfig(
        vocabulary=shape(f"{BERT}.embeddings.word_embeddings.weight")[0], width=width, layers=layers, heads=heads,
        hidden=hidden, positions=shape(f"{BERT}.embeddings.position_embeddings.weight")[0], queries=queries,
        look_every=-(-layers // max(looking, 1)))


def attention_heads(folder: Path, eva_width: int, qformer_width: int) -> tuple[int, int]:
    """Heads of vision tower and Q-Former: from tiny_dims.json, or by the released widths of a head, 88 and 64."""
    if (sizes := folder / "tiny_dims.json").is_file():
        dims = read_json(sizes)
        try:
            return dims["vision"]["num_heads"], dims["qformer"]["num_attention_heads"]
        except (KeyError, TypeError):
            raise LabError(f"{sizes}: needs vision.num_heads and qformer.num_attention_heads") from None
    if eva_width % 88 or qformer_width % 64:
        raise LabError(f"{folder}: vision tower and Q-Former have the widths {eva_width} and {qformer_width}, not "
                       "multiples of 88 and 64, the released widths of a head; give their numbers of heads in "
                       "tiny_dims.json")
    return eva_width // 88, qformer_width // 64


def count(names: Iterable[str], prefix: str) -> int:
    """How many numbered modules follow `prefix`."""
    return len({name[len(prefix):].split(".")[0] for name in names if name.startswith(prefix)})
