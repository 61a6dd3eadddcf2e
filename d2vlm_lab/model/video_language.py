"""Video-language models as a start: their own vision tower and merger see the frames, their text model answers.

A video-language model has a *tower*, which turns the patches of a picture into states; a *merger*, which joins a square
of neighbouring patches into one token of the text model; and the text model itself. Here the first two become the frame
encoder, tower frozen and merger trained like any projector, and the rest becomes the language model. All three come
from one folder, with the tokenizer and its chat template.

Frames are squeezed into squares, as large as the wanted number of tokens needs. (SmolVLM2 does so itself. Qwen keeps
the shape of a picture, but here all frames of all videos have the same number of tokens.) Every frame is seen by
itself, because it needs its own tokens to be found by an `<evi>`. Qwen's towers take frames in pairs along the time;
here a pair is the same frame twice, which is also how these families see a single picture.

Shapes: F frames, S pixels a side, N tokens of a frame, M patches that become one token, C width of the tower, L 1 + the
number of added layers, D width of the language model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils import cached_file

from ..config import Method, Parts
from ..data.batch import PromptFormat
from ..data.preparation import CLIP_MEAN, CLIP_STD, Preparation
from ..errors import LabError, first_line
from .backbone import window_size
from .d2vlm import D2VLM
from .frames import FrameEncoder, fingerprint
from .precision import dtype_of, hold

OWN = "own"  # as `parts.frames`: the tower of the video-language model in `parts.language`


class VideoLanguageFrames(FrameEncoder):
    """The tower and the merger of a video-language model, which are taken out of it."""

    resample: int  # the filter with which frames are resized, by its number in PIL

    def __init__(self, tower: PreTrainedModel, projector: nn.Module, tokens_per_frame: int, pixels: int,
                 mean: tuple[float, ...] = CLIP_MEAN, std: tuple[float, ...] = CLIP_STD):
        """`pixels`: how many of a side become one token."""
        super().__init__()
        side = isqrt(tokens_per_frame)
        if side ** 2 != tokens_per_frame or side == 0:
            raise LabError(f"parts.frame_tokens is {tokens_per_frame}; use a square (16, 36, 64, ...): "
                           f"a frame of {family_of(tower)} has one token for each square of {pixels} x {pixels} pixels")
        self.tower, self.projector = tower.eval().requires_grad_(False), projector
        self.tokens_per_frame, self.size = tokens_per_frame, side * pixels
        self.preparation = Preparation((self.size, self.size), resample=self.resample, mean=tuple(mean), std=tuple(std))

    @cached_property
    def id(self) -> str:
        return f"{family_of(self.tower)}-{fingerprint(self.tower, self.preparation)}"

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        return self.projector(features.to(dtype_of(self.projector)))


class QwenFrames(VideoLanguageFrames):
    """Encoder of Qwen2.5-VL and Qwen3-VL. Features (F, N, L, M * C): what its merger and DeepStack's mergers will join.

    In DeepStack, of Qwen3-VL, further mergers read the states of some earlier layers of the tower, and their tokens are
    added to the states of the frames after the first layers of the language model.
    """

    resample = 3  # bicubic

    def __init__(self, model: PreTrainedModel, tokens_per_frame: int, mean: tuple[float, ...], std: tuple[float, ...]):
        tower, config = model.visual, model.visual.config
        mergers = [tower.merger, *getattr(tower, "deepstack_merger_list", ())]
        self.added_layers = len(mergers) - 1
        super().__init__(tower, QwenMergers(mergers, config.hidden_size), tokens_per_frame,
                         config.patch_size * config.spatial_merge_size, mean, std)
        # What remains of a merger in the tower puts the patches of a token side by side, in the same order:
        # (F * N * M, C) -> (F * N, M * C).
        tower.merger = nn.Sequential(nn.Unflatten(0, (-1, config.spatial_merge_size ** 2)), nn.Flatten())
        if self.added_layers:
            tower.deepstack_merger_list = nn.ModuleList([tower.merger] * self.added_layers)
        del model.visual

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, S, S) normalized -> (F, N, L, M * C)."""
        config, side = self.tower.config, self.size // self.tower.config.patch_size
        patches = cut(pixels, config.patch_size, config.spatial_merge_size, config.temporal_patch_size)
        grid = torch.tensor([[1, side, side]] * len(pixels), device=pixels.device)
        out = self.tower(patches, grid_thw=grid)
        joined = [out.pooler_output, *(out.deepstack_features if self.added_layers else ())]
        return torch.stack(joined, 1).unflatten(0, (len(pixels), -1))


def cut(pixels: Tensor, patch: int, merge: int, repeat: int) -> Tensor:
    """(F, 3, S, S) -> (F * N * M, 3 * repeat * patch * patch): the patches of a token follow each other."""
    side = pixels.shape[-1] // (patch * merge)
    cells = pixels.unflatten(3, (side, merge, patch)).unflatten(2, (side, merge, patch))  # (F, 3, s, m, p, s, m, p)
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (F, s, s, m, m, 3, p, p)
    return cells.unsqueeze(6).expand(*[-1] * 6, repeat, -1, -1).flatten(5).flatten(0, 4)


class QwenMergers(nn.Module):
    """(F, N, L, M * C) -> (F * N, L * D): one merger for each of the L layers, their tokens side by side."""

    def __init__(self, mergers: list[nn.Module], width: int):
        super().__init__()
        self.mergers, self.width = nn.ModuleList(mergers), width

    def forward(self, features: Tensor) -> Tensor:
        layers = features.flatten(0, 1).unbind(1)
        return torch.cat([merger(each.reshape(-1, self.width)) for merger, each in zip(self.mergers, layers)], -1)


class SmolFrames(VideoLanguageFrames):
    """Encoder of SmolVLM2. Features (F, N * M, C): the patches that its connector will join."""

    resample = 1  # Lanczos

    def __init__(self, model: PreTrainedModel, tokens_per_frame: int, mean: tuple[float, ...], std: tuple[float, ...]):
        config = model.config.vision_config
        super().__init__(model.vision_model, model.connector, tokens_per_frame,
                         config.patch_size * model.config.scale_factor, mean, std)
        if self.size > config.image_size:
            most = (config.image_size // config.patch_size // model.config.scale_factor) ** 2
            raise LabError(f"parts.frame_tokens is {tokens_per_frame}; this tower sees {config.image_size} pixels a "
                           f"side, which are at most {most} tokens")
        del model.vision_model, model.connector

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, S, S) normalized -> (F, N * M, C)."""
        return self.tower(pixel_values=pixels).last_hidden_state

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        return super().project(features, question).flatten(0, 1)


@dataclass(frozen=True)
class Family:
    """What differs between families besides the shapes."""

    frames: type[QwenFrames] | type[SmolFrames]
    opens: str  # stands before a picture
    closes: str  # stands after a picture
    time: str  # says when a frame is shown
    each: bool = True  # whether every frame is a picture of its own, or the whole video is one
    leads: str = ""  # stands between the video and the question


FAMILIES = {
    "qwen2_5_vl": Family(QwenFrames, "<|vision_start|>", "<|vision_end|>", "<{seconds:.1f} seconds>", each=False),
    "qwen3_vl": Family(QwenFrames, "<|vision_start|>", "<|vision_end|>", "<{seconds:.1f} seconds>"),
    "smolvlm": Family(SmolFrames, "<fake_token_around_image><global-img>", "<fake_token_around_image>",
                      "\nFrame from {clock}:", leads="\n\n")}


def load_video_language(place: str, parts: Parts, method: Method) -> D2VLM:
    """A model whose parts all come from one folder or hub id."""
    dtype = getattr(torch, parts.dtype)
    frames, language = read_parts(place, dtype, parts.frame_tokens)
    tokenizer = read_tokenizer(place)
    prompt = prompt_format(tokenizer, FAMILIES[language.config.model_type], parts)
    model = D2VLM(frames, language, tokenizer, method, prompt)
    hold(model, dtype)
    return model


def read_parts(place: str, dtype: torch.dtype, frame_tokens: int) -> tuple[VideoLanguageFrames, PreTrainedModel]:
    """The frame encoder and the language model of a folder or hub id."""
    try:
        config = AutoConfig.from_pretrained(place)
        if config.model_type not in FAMILIES:
            raise LabError(f"parts.frames=own: {place} is a {config.model_type} model; of video-language models, those "
                           f"of the families {', '.join(FAMILIES)} are known. For a language model without a tower, "
                           "name one in parts.frames")
        model = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype, use_safetensors=True)
        settings, _ = ImageProcessingMixin.get_image_processor_dict(place)
    except LabError:
        raise
    except (OSError, ValueError) as error:
        raise LabError(f"parts.language: {place} cannot be loaded ({first_line(error)}); with "
                       "parts.frames=own give a hub id or a local folder with safetensors") from None
    return take_apart(model, frame_tokens, settings.get("image_mean", CLIP_MEAN), settings.get("image_std", CLIP_STD))


def build_parts(config: dict, dtype: torch.dtype, frame_tokens: int, mean: tuple[float, ...],
                std: tuple[float, ...]) -> tuple[VideoLanguageFrames, PreTrainedModel]:
    """The same parts with new weights, from a config as a dict, for a checkpoint that has all weights itself."""
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**config), dtype=dtype)
    return take_apart(model, frame_tokens, mean, std)


def take_apart(model: PreTrainedModel, frame_tokens: int, mean: tuple[float, ...],
               std: tuple[float, ...]) -> tuple[VideoLanguageFrames, PreTrainedModel]:
    """The encoder, and the model without it, which is left as a causal language model."""
    frames = FAMILIES[model.config.model_type].frames(model.model, frame_tokens, mean, std)
    if window_size(model) is not None and hasattr(frames.tower.config, "spatial_merge_size"):
        raise LabError(f"{model.config.model_type}: its text model has a sliding window, which cannot be combined "
                       "with position ids of three parts here")
    return frames, model


def read_tokenizer(place: str) -> PreTrainedTokenizerBase:
    """The tokenizer, with the chat template of the processor if it has none itself."""
    tokenizer = AutoTokenizer.from_pretrained(place)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        path = cached_file(place, "chat_template.json", _raise_exceptions_for_missing_entries=False)
        if path is not None:
            tokenizer.chat_template = json.loads(Path(path).read_text(encoding="utf-8"))["chat_template"]
    return tokenizer


class TypedContent:
    """Lets a chat template that wants messages as lists of parts with a type take messages of plain text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer

    def __getattr__(self, name: str):
        return getattr(self.tokenizer, name)

    def apply_chat_template(self, messages: list[dict], **settings) -> str:
        typed = [each | {"content": [{"type": "text", "text": each["content"]}]} for each in messages]
        return self.tokenizer.apply_chat_template(typed, **settings)


def prompt_format(tokenizer: PreTrainedTokenizerBase, family: Family, parts: Parts) -> PromptFormat:
    """The family's chat format, with its marks around the frames and its way to write their times."""
    form = PromptFormat.of(TypedContent(tokenizer), parts.system or None)
    after = family.leads + form.after.removeprefix("\n")
    form = replace(form, after=after, time=family.time)
    if family.each:
        return replace(form, around_frame=f"{family.opens}{{frame}}{family.closes}")
    return replace(form, before=form.before + family.opens, after=family.closes + after)


def family_of(tower: PreTrainedModel) -> str:
    return tower.config.model_type.removesuffix("_vision")
