"""Models with random weights in the very layout of a preset's own: folders that look as downloaded ones do, but small.

Each class, each data type and each file is that of the real model. Only numbers of layers and widths are smaller,
unless `full` asks for the published sizes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Blip2VisionConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ...config import RunConfig, resolve
from ...errors import LabError
from ...hub import fetched
from ...model.frames import EvaQFormer
from ...model.reference import COUNTER, VOCABULARY
from ...model.reference import released_name as name_in_release
from ...model.towers.qformer import QFormerConfig, word_tokenizer
from ...model.video_language import OWN, read_tokenizer
from .architectures import LANGUAGE, PHI3, PHI3_MINI, TOWERS, Chat, preprocessor
from .video_language import PREPROCESSOR, SMALL_FRAME_TOKENS, VIDEO_LANGUAGE, resized_parts

WIDTH, HEADS, HIDDEN, TOWER_WIDTH = 64, 4, 128, 32  # of small language models and of small towers
EVA, QFORMER = Blip2VisionConfig(), QFormerConfig()  # as published
SMALL_EVA = Blip2VisionConfig(image_size=28, patch_size=14, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                              num_attention_heads=2)
SMALL_QFORMER = replace(QFORMER, vocabulary=2001, width=32, layers=4, heads=4, hidden=64)


def write_parts(config: RunConfig, folder: Path, texts: list[str], full: bool = False) -> dict[str, str]:
    """Folders for everything that `config.parts` loads; returns the settings that name them.

    A checkpoint of this project, which comes along, stays as it is. `texts` train the tokenizers.
    """
    parts, dtype = config.parts, weights_dtype(config)
    layers = max(4, config.method.semantic_layer + 2)
    if parts.frames == OWN:
        write_video_language(parts.language, folder / "language", texts, layers, dtype, full)
        tokens = parts.frame_tokens if full else SMALL_FRAME_TOKENS
        return {"parts.language": str(folder / "language"), "parts.frame_tokens": tokens}
    if parts.language:
        write_language(parts.language, folder / "language", texts, layers, dtype, full)
        write_tower(parts.frames, folder / "tower", full)
        return {"parts.language": str(folder / "language"), "parts.frames": str(folder / "tower")}
    if ((begun := fetched(parts.start)) / "d2vlm.json").exists():
        return {"parts.start": str(begun.absolute())}
    write_stage_2(folder / "stage-2", texts, layers, dtype, full)
    return {"parts.start": str(folder / "stage-2")}


def has_adapter(start: str | None) -> bool:
    """Whether a run begins with an adapter that was trained before."""
    path = Path(start or "", "d2vlm.json")
    return bool(start) and path.exists() and json.loads(path.read_text(encoding="utf-8"))["adapter"] is not None


def weights_dtype(config: RunConfig) -> torch.dtype:
    """The type of the published weights: 16 bits for the models that are trained in 16 bits."""
    return torch.bfloat16 if config.training.bfloat16 else torch.float32


@contextmanager
def made_as(dtype: torch.dtype) -> Iterator[None]:
    """New modules get this type at once, on the GPU where there is one: large random models are made quickly there."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def write_language(source: str, folder: Path, texts: list[str], layers: int, dtype: torch.dtype, full: bool) -> None:
    """A causal language model and its tokenizer, as a folder from the hub."""
    config, tokenizer, rows = architecture(source, texts, LANGUAGE, "models")
    config = resized(config, tokenizer, None if full else layers, rows)
    with made_as(dtype):
        model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = config.eos_token_id
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_video_language(source: str, folder: Path, texts: list[str], layers: int, dtype: torch.dtype,
                         full: bool) -> None:
    """A video-language model with its tokenizer and the settings of its image processor, as a folder from the hub."""
    config, tokenizer, rows = architecture(source, texts, VIDEO_LANGUAGE, "video-language models")
    config = resized_parts(config, tokenizer, None if full else layers, rows)
    with made_as(dtype):
        model = AutoModelForImageTextToText.from_config(config)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR), encoding="utf-8")


def architecture(source: str, texts: list[str], known: dict[str, tuple[PreTrainedConfig, Chat]],
                 kind: str) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase, int]:
    """The config of a `known` model or of a folder, a tokenizer for it, and the rows of its vocabulary."""
    if source in known:
        config, chat = known[source]
        tokenizer = chat_tokenizer(texts, chat)
        return config, tokenizer, len(tokenizer) + chat.spare_rows
    if not (resolve(source) / "config.json").is_file():
        raise LabError(f"parts.language: {source} is neither a folder with config.json nor one of the {kind} whose "
                       f"architecture is known here: {', '.join(known)}")
    config, tokenizer = AutoConfig.from_pretrained(resolve(source)), read_tokenizer(str(resolve(source)))
    return config, tokenizer, max(config.get_text_config().vocab_size, len(tokenizer))


def resized(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, layers: int | None,
            rows: int) -> PreTrainedConfig:
    """The config of the same family for another tokenizer; with `layers`, with small widths and so many layers.

    `rows` is then the size of the vocabulary.
    """
    settings = {key: value for key, value in config.to_dict().items() if key != "layer_types"}
    settings |= {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if layers is not None:
        grouped = config.num_key_value_heads < config.num_attention_heads
        settings |= {"vocab_size": rows, "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": layers,
                     "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2 if grouped else HEADS}
        settings |= {"head_dim": WIDTH // HEADS} if settings.get("head_dim") else {}
    return type(config)(**settings)


def chat_tokenizer(texts: Iterable[str], chat: Chat) -> PreTrainedTokenizerFast:
    """Byte-level pieces of some texts, then the special tokens of a family, with its chat template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    core.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in chat.tokens])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=chat.eos, pad_token="<|endoftext|>")
    tokenizer.chat_template = chat.template
    return tokenizer


def write_tower(source: str, folder: Path, full: bool) -> None:
    """A vision tower with its image processor's settings; CLIP and SigLIP come with their text halves, as published."""
    if source in TOWERS:
        config = TOWERS[source]
        config = config if full else small_tower(config)
        settings = json.dumps(preprocessor(config), indent=1)
    elif (resolve(source) / "config.json").is_file():
        config = AutoConfig.from_pretrained(resolve(source))
        config = config if full else small_tower(config)
        path = resolve(source) / "preprocessor_config.json"
        settings = path.read_text(encoding="utf-8") if full and path.exists() else ""
    else:
        raise LabError(f"parts.frames: {source} is neither a folder with config.json nor one of the towers whose "
                       f"architecture is known here: {', '.join(TOWERS)}")
    with made_as(torch.float32):
        AutoModel.from_config(config).save_pretrained(folder)
    if settings:
        (folder / "preprocessor_config.json").write_text(settings, encoding="utf-8")


def small_tower(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same family with two layers, small widths and pictures of two by two patches."""
    if hasattr(config, "vision_config"):
        text, vision = config.text_config, config.vision_config
        return type(config)(text_config=_shrunk(text, {"vocab_size": 100}), vision_config=small_tower(vision).to_dict(),
                            projection_dim=TOWER_WIDTH)
    return type(config)(**_shrunk(config, {"image_size": 2 * config.patch_size}))


def _shrunk(config: PreTrainedConfig, further: dict) -> dict:
    return config.to_dict() | {"hidden_size": TOWER_WIDTH, "intermediate_size": 2 * TOWER_WIDTH, "num_hidden_layers": 2,
                               "num_attention_heads": 2, "projection_dim": TOWER_WIDTH, "projection_size": TOWER_WIDTH,
                               "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0} | further


def write_stage_2(folder: Path, texts: list[str], layers: int, dtype: torch.dtype, full: bool) -> None:
    """The folder that the authors train from: E.T. Chat's stage 2, without heads and without evidence tokens."""
    folder.mkdir(parents=True)
    tokenizer = chat_tokenizer(texts, PHI3)
    config = resized(PHI3_MINI, tokenizer, None if full else layers, len(tokenizer) + PHI3.spare_rows)
    eva, qformer = (EVA, QFORMER) if full else (SMALL_EVA, SMALL_QFORMER)
    write_bert_vocabulary(folder / VOCABULARY, texts, qformer.vocabulary - 1)
    with made_as(dtype):
        language = AutoModelForCausalLM.from_config(config)
        frames = EvaQFormer(config.hidden_size, word_tokenizer(folder / VOCABULARY), eva, qformer)
    modules = {"language": language, "frames": frames}
    tensors = {name_in_release(f"{part}.{name}"): value.cpu() for part, module in modules.items()
               for name, value in module.to(dtype).state_dict().items()}
    tensors[COUNTER] = torch.arange(qformer.positions)[None]
    save_torch_state_dict(split_biases(tensors), folder, max_shard_size="5GB" if full else "300KB")
    tokenizer.save_pretrained(folder)
    settings = config.to_dict() | {
        "model_type": "etchat_phi3", "architectures": ["ETChatPhi3ForCausalLM"], "language_model": "phi3",
        "conv_type": "phi3", "mm_projector": "qformer", "vision_tower": "eva_vit", "vision_output_layer": -2,
        "vision_output_token": "patch", "vision_processor": f"clip_center_{eva.image_size}", "use_matching": False,
        "bi_attention": True, "alpha": 2.0, "rope_theta": 10000.0, "rope_scaling": None, "torch_dtype": str(dtype)[6:]}
    (folder / "config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    if not full:
        heads = {"vision": {"num_heads": eva.num_attention_heads}, "qformer": {"num_attention_heads": qformer.heads}}
        (folder / "tiny_dims.json").write_text(json.dumps(heads), encoding="utf-8")


def split_biases(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published vision blocks keep the biases of queries and values apart, and have none for keys."""
    split = {}
    for name, value in tensors.items():
        if name.endswith("attn.qkv.bias"):
            query, _, values = (part.clone() for part in value.chunk(3))
            split |= {name.replace("qkv.bias", "q_bias"): query, name.replace("qkv.bias", "v_bias"): values}
        else:
            split[name] = value
    return split


def write_bert_vocabulary(path: Path, texts: Iterable[str], size: int) -> None:
    """A vocab.txt of BERT's form: special tokens, the words of some texts, letters, and unused rows up to `size`."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789?.,()-:'/"
    words = sorted({word for text in texts for word in text.lower().split() if word.isalpha() and len(word) > 1})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    pieces += [f"[unused{k}]" for k in range(size - len(pieces))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
