"""What the model sees of a video. Every frame encoder has a frozen tower, whose features are kept on disk, and a
projector from these features to the language model, which is trained.

Shapes: F frames, H x W pixels, S side of a prepared frame, P patches, C width of the features, D of the language model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from math import isqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, BertTokenizer, Blip2VisionConfig, Blip2VisionModel, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin
from transformers.image_utils import OPENAI_CLIP_MEAN as CLIP_MEAN
from transformers.image_utils import OPENAI_CLIP_STD as CLIP_STD

from ..errors import LabError
from .towers.qformer import QFormerConfig, QFormerProjector, read_questions

AT_ONCE = 64  # frames that a frozen tower sees at once, so that a long video needs no more memory than a short one

Opened = Literal["frozen", "projector", "attention", "all"]  # what of an encoder is trained


class FrameEncoder(nn.Module):
    """A frozen tower and a projector. `encode` is for a tower that sees one frame at a time; others have their own."""

    id: str  # the name of cached features: another one wherever the features would be others
    size: int  # pixels a side
    tokens_per_frame: int
    tower: nn.Module
    projector: nn.Module
    mean: Sequence[float] = CLIP_MEAN
    std: Sequence[float] = CLIP_STD

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """(F, H, W, 3) uint8 -> (F, ..., C) features, a part of the video at a time."""
        weight = next(self.tower.parameters())
        return torch.cat([
            self.encode_pixels(to_pixels(part.to(weight.device), self.size, self.mean, self.std, weight.dtype))
            for part in frames.split(AT_ONCE)])

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, S, S) normalized -> (F, ..., C) features."""
        raise NotImplementedError

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        """(F, ..., C) features -> (F * tokens_per_frame, D)."""
        raise NotImplementedError

    def project_batch(self, features: Sequence[Tensor], questions: Sequence[str | None]) -> list[Tensor]:
        """The frames of V videos, each projected with the question that is asked about it."""
        return [self.project(each, question) for each, question in zip(features, questions)]

    def open(self, what: Opened) -> None:
        """Let training change the projector, or nothing. Only a Q-Former has more choices."""
        self.requires_grad_(False)
        if what != "frozen":
            self.projector.requires_grad_(True)


class HFFrames(FrameEncoder):
    """Any Hugging Face vision tower (CLIP, SigLIP, DINOv2, ViT, ...), frozen, and a linear projector.

    Patches are averaged over a square grid of `tokens_per_frame` cells; "pooled" is the tower's own summary instead.
    """

    def __init__(self, tower: PreTrainedModel, width: int, tokens_per_frame: int | Literal["pooled"] = 1,
                 size: int | None = None, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD):
        super().__init__()
        self.pooled = tokens_per_frame == "pooled"
        self.tokens_per_frame = 1 if self.pooled else tokens_per_frame
        self.width = width
        self.grid = isqrt(self.tokens_per_frame)
        if self.grid ** 2 != self.tokens_per_frame or self.grid == 0:
            raise LabError(f"tokens_per_frame is {tokens_per_frame}; use a square (1, 4, 9, ...) or 'pooled'")
        self.tower = getattr(tower, "vision_model", tower).eval().requires_grad_(False)
        self.size = size or self.tower.config.image_size
        self.mean, self.std = tuple(mean), tuple(std)
        config = self.tower.config
        features = getattr(config, "hidden_size", None) or config.hidden_sizes[-1]  # the last stage of a convnet
        self.projector = nn.Linear(features, width)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike, width: int,
                        tokens_per_frame: int | Literal["pooled"] = 1) -> HFFrames:
        """A tower with the size, mean and deviation of its own image processor."""
        tower = AutoModel.from_pretrained(path, use_safetensors=True)
        settings, _ = ImageProcessingMixin.get_image_processor_dict(path)
        size = settings.get("crop_size" if settings.get("do_center_crop") else "size") or {}
        if not isinstance(size, int):
            size = size.get("height", size.get("shortest_edge"))
        return cls(tower, width, tokens_per_frame, size=size, mean=settings.get("image_mean", CLIP_MEAN),
                   std=settings.get("image_std", CLIP_STD))

    @cached_property
    def id(self) -> str:
        summary = "pooled" if self.pooled else f"{self.grid}x{self.grid}"
        return f"{self.tower.config.model_type}-{summary}-{fingerprint(self.tower, self.size, self.mean, self.std)}"

    def train(self, mode: bool = True) -> HFFrames:
        super().train(mode)
        self.tower.eval()  # frozen: its dropout stays off
        return self

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, S, S) normalized -> (F, tokens_per_frame, C)."""
        out = self.tower(pixel_values=pixels)
        if self.pooled:
            if out.get("pooler_output") is None:
                raise LabError(f"{self.tower.config.model_type} has no pooled output; use tokens_per_frame: 1")
            return out.pooler_output.flatten(1)[:, None]
        states = out.last_hidden_state
        if states.ndim == 3:  # a class token and registers may precede the patches
            side = self.size // self.tower.config.patch_size
            states = states[:, -side * side:].transpose(1, 2).unflatten(-1, (side, side))
        return F.adaptive_avg_pool2d(states, self.grid).flatten(2).transpose(1, 2)

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        return self.projector(features.to(self.projector.weight.dtype)).flatten(0, 1)


class EvaQFormer(FrameEncoder):
    """The authors' encoder: a frozen EVA-ViT, then a Q-Former that looks for what the question asks.

    Their EVA-ViT is the vision tower of BLIP-2, but it has no norm after its last layer.
    """

    tokens_per_frame = 1

    def __init__(self, width: int, words: BertTokenizer, eva: Blip2VisionConfig | None = None,
                 qformer: QFormerConfig | None = None):
        super().__init__()
        eva, qformer = eva or Blip2VisionConfig(), qformer or QFormerConfig()
        self.size, self.words, self.config = eva.image_size, words, qformer
        self.tower = Blip2VisionModel(eva).eval().requires_grad_(False)
        self.tower.post_layernorm = nn.Identity()
        self.projector = QFormerProjector(qformer, eva.hidden_size, width)

    @cached_property
    def id(self) -> str:
        return f"eva-{fingerprint(self.tower, self.tower.config.num_attention_heads)}"

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, S, S) normalized -> (F, P, C) patches, without the class token."""
        return self.tower(pixels).last_hidden_state[:, 1:]

    def open(self, what: Opened) -> None:
        """projector: what follows the BERT. attention: also the queries and every attention. all: everything."""
        self.requires_grad_(False)
        for name, value in self.projector.named_parameters():
            pools = name.startswith(("expand.", "query.", "key.", "out."))
            attends = not name.startswith("bert.") or "attention" in name
            value.requires_grad_({"projector": pools, "attention": attends, "all": True}.get(what, False))

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        return self.project_batch([features], [question])[0]

    def project_batch(self, features: Sequence[Tensor], questions: Sequence[str | None]) -> list[Tensor]:
        """All frames of all videos at once, each beside the words of its own question."""
        lengths = [len(each) for each in features]
        patches = torch.cat(list(features)).to(self.projector.queries.dtype)
        video = torch.repeat_interleave(torch.tensor(lengths)).to(patches.device)
        ids, mask = (each.to(patches.device) for each in read_questions(self.words, questions))
        return list(self.projector(patches, ids[video], mask[video]).split(lengths))


def check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
        raise LabError(f"frames are {frames.dtype} of shape {tuple(frames.shape)}; they must be uint8 (F, H, W, 3)")


def to_pixels(frames: Tensor, size: int, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD,
              dtype: torch.dtype = torch.float32) -> Tensor:
    """(F, H, W, 3) uint8 -> (F, 3, S, S): the short side becomes S, the centre is cut out, values are normalized."""
    check_frames(frames)
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    height, width = pixels.shape[-2:]
    short = min(height, width)
    height, width = int(size * height / short), int(size * width / short)
    pixels = F.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    top, left = (height - size) // 2, (width - size) // 2
    pixels = pixels[..., top:top + size, left:left + size]
    mean, std = (pixels.new_tensor(value)[:, None, None] for value in (mean, std))
    return ((pixels - mean) / std).to(dtype)


def fingerprint(module: nn.Module, *settings) -> str:
    """A short hash of a module's weights and of what else decides its features."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
