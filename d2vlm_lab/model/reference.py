"""Read a checkpoint laid out as the authors' released one into our modules; every tensor finds its place or is named.

Only safetensors are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Phi3Config, PreTrainedModel, PreTrainedTokenizerFast

from ..config import Method
from ..data.batch import PromptFormat
from ..errors import LabError
from ..ideas.evidence import END, EVIDENCE
from .d2vlm import D2VLM, head
from .frames import EvaQFormer
from .towers.eva import EvaConfig
from .towers.qformer import QFormerConfig, word_tokenizer

# our part: (its name in the authors' checkpoint, our words and theirs inside it)
NAMES = {
    "frame_head": ("frm_head", {}),
    "evidence_head": ("evi_head", {}),
    "language": ("", {}),
    "frames.tower": ("model.vision_tower.vision_tower", {
        "cls": "cls_token", "position": "pos_embed", "patch": "patch_embed.proj",
        "norm_1": "norm1", "norm_2": "norm2", "qkv": "attn.qkv", "out": "attn.proj",
        "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}),
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
COUNTER = f"{BERT}.embeddings.position_ids"  # 0, 1, 2, ...: nothing learned
NEEDED = {"vision_tower": "eva_vit", "mm_projector": "qformer", "vision_output_token": "patch", "conv_type": "phi3",
          "use_evidence": True, "use_matching": False, "use_time_tag": False}
PROMPT = PromptFormat("<|system|>\nYou are a helpful AI assistant.<|end|>\n<|user|>\n",
                      "\n{question}<|end|>\n<|assistant|>\n", "<|end|>")


@dataclass
class ReferenceParts:
    """A checkpoint of the authors as separate modules."""

    frames: EvaQFormer
    language: PreTrainedModel
    frame_head: nn.Module
    evidence_head: nn.Module
    tokenizer: PreTrainedTokenizerFast
    method: Method


def import_reference(folder: str | os.PathLike, vocabulary: str | os.PathLike | None = None, attention: str = "eager",
                     dtype: torch.dtype | None = None, method: Method | None = None) -> D2VLM:
    """The authors' checkpoint in `folder` as a model of ours, in evaluation mode, with its own switches or `method`.

    `vocabulary` is the vocab.txt of the Q-Former's BERT where the checkpoint does not bring its own.
    """
    parts = reference_parts(folder, vocabulary, attention, dtype)
    model = D2VLM(parts.frames, parts.language, parts.tokenizer, method or parts.method, PROMPT)
    model.frame_head, model.evidence_head = parts.frame_head, parts.evidence_head
    model.can_ground = True
    return model.eval()


def reference_parts(folder: str | os.PathLike, vocabulary: str | os.PathLike | None = None,
                    attention: str = "eager", dtype: torch.dtype | None = None) -> ReferenceParts:
    folder = Path(folder)
    config, tokenizer = read_config(folder), read_tokenizer(folder)
    tensors = _join_biases(read_tensors(folder))
    tensors.pop(COUNTER, None)
    if dtype is not None:
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    words = word_tokenizer(vocabulary or folder / "qformer_tokenizer" / "vocab.txt")
    with torch.device("meta"):  # shapes only; the tensors that were read become the parameters
        frames = EvaQFormer(config["hidden_size"], words, *encoder_sizes(folder, tensors))
        parts = nn.ModuleDict({"frame_head": head(config["hidden_size"]), "evidence_head": head(config["hidden_size"])})
        language = AutoModelForCausalLM.from_config(_phi3_config(config), attn_implementation=attention)
    parts["frames"], parts["language"] = frames, language
    _place(parts, tensors, folder)
    language.model.rotary_emb = type(language.model.rotary_emb)(language.config)  # its frequencies are in no file
    method = Method(target_base=float(config.get("alpha", 2.0)), bidirectional_frames=config.get("bi_attention", True),
                    consistency_weight=10.0 if config.get("consistency_loss", True) else 0.0)
    return ReferenceParts(frames.eval(), language.eval(), parts["frame_head"].eval(), parts["evidence_head"].eval(),
                          tokenizer, method)


def their_name(name: str) -> str:
    """The name of one of our tensors in the authors' checkpoint."""
    ours = next(part for part in sorted(NAMES, key=len, reverse=True) if name.startswith(f"{part}."))
    part, words = NAMES[ours]
    rest = name[len(ours):] + "."
    for word, their_word in words.items():
        rest = rest.replace(f".{word}.", f".{their_word}.")
    return (part + rest).strip(".")


def read_config(folder: Path) -> dict:
    """config.json, checked for what this import can hold."""
    config = _read_json(folder / "config.json")
    for field in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        if not isinstance(config.get(field), int):
            raise LabError(f"{folder / 'config.json'}: {field} is {config.get(field)!r}; it must be a whole number")
    for field, value in NEEDED.items():
        if config.get(field, value) != value:
            raise LabError(f"{folder / 'config.json'}: {field} is {config[field]!r}; only {value!r} can be imported")
    return config


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise LabError(f"{folder}: no tokenizer.json")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    if missing := [token for token in (EVIDENCE, END) if token not in tokenizer.get_vocab()]:
        raise LabError(f"{folder / 'tokenizer.json'}: the token {missing[0]} is missing")
    return tokenizer


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of model.safetensors, or of the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(_read_json(index).get("weight_map", {}).values()))
        if unsafe := [name for name in files if Path(name).name != name or not name.endswith(".safetensors")]:
            raise LabError(f"{index}: {unsafe[0]!r} is not a safetensors file in this folder")
    else:
        files = ["model.safetensors"]
    tensors: dict[str, Tensor] = {}
    for name in files:
        try:
            tensors |= load_file(folder / name)
        except FileNotFoundError:
            raise LabError(f"{folder / name}: no such file; weights are read from safetensors only") from None
        except SafetensorError as error:
            raise LabError(f"{folder / name}: not readable as safetensors ({error})") from None
    return tensors


def _place(parts: nn.ModuleDict, tensors: dict[str, Tensor], folder: Path) -> None:
    """Give every parameter the tensor of its name; what is missing, left over or of another shape is an error."""
    wanted = {name: their_name(name) for name in parts.state_dict()}
    problems = []
    if missing := sorted(set(wanted.values()) - set(tensors)):
        problems.append(f"not found: {', '.join(missing)}")
    if left := sorted(set(tensors) - set(wanted.values())):
        problems.append(f"without a place: {', '.join(left)}")
    for name, shape in ((name, tensor.shape) for name, tensor in parts.state_dict().items()):
        found = tensors.get(wanted[name])
        if found is not None and found.shape != shape:
            problems.append(f"{wanted[name]} is {list(found.shape)} where {list(shape)} is needed")
    if problems:
        raise LabError(f"{folder}: {'; '.join(problems)}")
    parts.load_state_dict({name: tensors[theirs] for name, theirs in wanted.items()}, assign=True)


def _join_biases(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their vision blocks keep the biases of queries and values apart and have none for keys; ours keep one."""
    joined = dict(tensors)
    for name in tensors:
        value = name.removesuffix("q_bias") + "v_bias"
        if name.startswith(VISION) and name.endswith("attn.q_bias") and value in tensors:
            q, v = joined.pop(name), joined.pop(value)
            joined[name.removesuffix("q_bias") + "qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return joined


def _phi3_config(config: dict) -> Phi3Config:
    kept = {key: value for key, value in config.items() if key in Phi3Config.__dataclass_fields__}
    scaling = config.get("rope_scaling") or {}
    rope = {"rope_theta": config.get("rope_theta", 10000.0), "rope_type": scaling.get("type", "default"), **scaling}
    kept |= {"rope_parameters": rope, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}
    return Phi3Config(**kept | {"sliding_window": None})  # theirs is named in the config but was never applied


def encoder_sizes(folder: Path, tensors: dict[str, Tensor]) -> tuple[EvaConfig, QFormerConfig]:
    """Sizes of the frame encoder as its tensors show them; the number of heads, which none shows, is told or known."""
    eva_heads, qformer_heads = _attention_heads(folder, tensors)
    patch = _tensor(tensors, f"{VISION}.patch_embed.proj.weight").shape[-1]
    side = round((_tensor(tensors, f"{VISION}.pos_embed").shape[1] - 1) ** 0.5)
    hidden, width = _tensor(tensors, f"{VISION}.blocks.0.mlp.fc1.weight").shape
    eva = EvaConfig(side * patch, patch, width, eva_heads, _count(tensors, f"{VISION}.blocks."), hidden)
    layer = f"{BERT}.encoder.layer."
    hidden, width = _tensor(tensors, f"{layer}0.intermediate.dense.weight").shape
    layers, looking = _count(tensors, layer), _count([n for n in tensors if ".crossattention." in n], layer)
    return eva, QFormerConfig(
        vocabulary=len(_tensor(tensors, f"{BERT}.embeddings.word_embeddings.weight")), width=width, layers=layers,
        heads=qformer_heads, hidden=hidden,
        positions=len(_tensor(tensors, f"{BERT}.embeddings.position_embeddings.weight")),
        queries=_tensor(tensors, "model.qformer_query").shape[1], look_every=-(-layers // max(looking, 1)))


def _attention_heads(folder: Path, tensors: dict[str, Tensor]) -> tuple[int, int]:
    """Of the vision tower and the Q-Former: from tiny_dims.json, else by the released widths of a head, 88 and 64."""
    if (told := folder / "tiny_dims.json").is_file():
        dims = _read_json(told)
        try:
            return dims["vision"]["num_heads"], dims["qformer"]["num_attention_heads"]
        except (KeyError, TypeError):
            raise LabError(f"{told}: needs vision.num_heads and qformer.num_attention_heads") from None
    eva, qformer = (_tensor(tensors, name).shape[-1] for name in (f"{VISION}.cls_token", "model.qformer_query"))
    if eva % 88 or qformer % 64:
        raise LabError(f"{folder}: widths {eva} and {qformer} of vision tower and Q-Former are no multiples of 88 and "
                       "64, the released widths of a head; put the numbers of heads in tiny_dims.json")
    return eva // 88, qformer // 64


def _tensor(tensors: dict[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise LabError(f"the checkpoint has no tensor {name}")
    return tensors[name]


def _count(names: Iterable[str], prefix: str) -> int:
    """How many numbered modules follow `prefix`."""
    return len({name[len(prefix):].split(".")[0] for name in names if name.startswith(prefix)})


def _read_json(path: Path) -> dict:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(data, dict):
        raise LabError(f"{path}: expected an object, found {type(data).__name__}")
    return data
