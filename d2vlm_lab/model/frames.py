"""What the model sees of a video. Every frame encoder has a frozen tower, whose features are kept on disk, and a
trained projector from these features to the language model.

Shapes: F frames, H x W pixels, P patches, C width of the features, D of the language model.
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
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModel,
    BertTokenizer,
    Blip2VisionConfig,
    Blip2VisionModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.image_processing_base import ImageProcessingMixin

from ..data.features import BLOCK, in_blocks
from ..data.preparation import Preparation
from ..errors import LabError, first_line
from .precision import full_precision
from .towers.grid import patch_grid
from .towers.qformer import QFormerConfig, QFormerProjector, read_questions

AT_ONCE = 64  # frames that a tower or a Q-Former sees at once, so that a long video needs little more memory

Opened = Literal["frozen", "projector", "attention", "all"]  # which part of an encoder is trained


class FrameEncoder(nn.Module):
    """A frozen tower and a projector. `encode` is for towers that see one frame at a time; others have their own."""

    id: str  # the name of cached features, which differs whenever the features would differ
    preparation: Preparation  # how frames are resized while they are read, and normalized before the tower sees them
    tokens_per_frame: int
    added_layers: int = 0  # number of further vectors for each token, which are added after the first decoder layers
    around: int = 0  # how many frames before and after a frame decide what the tower sees in it
    reads_question: bool = False  # whether what it sees depends on the question
    tower: nn.Module
    projector: nn.Module

    def train(self, mode: bool = True) -> FrameEncoder:
        """The tower stays in evaluation mode: it is frozen, and its features must not depend on chance."""
        super().train(mode)
        if isinstance(getattr(self, "tower", None), nn.Module):
            self.tower.eval()
        return self

    @torch.no_grad()
    def encode(self, frames: Tensor, before: int = 0, after: int = 0) -> Tensor:
        """(F, H, W, 3) prepared uint8 frames -> (F, ..., C) features, a part of the video at a time.

        The first `before` and the last `after` of them are only looked at, and have no features in the result.
        """
        frames = frames[before:len(frames) - after]
        weight = next(self.tower.parameters())
        return torch.cat([self.encode_pixels(self.preparation.pixels(part.to(weight.device), weight.dtype))
                          for part in frames.split(AT_ONCE)])

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, H, W) normalized -> (F, ..., C) features."""
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
                 preparation: Preparation | None = None):
        super().__init__()
        self.pooled = tokens_per_frame == "pooled"
        self.tokens_per_frame = 1 if self.pooled else tokens_per_frame
        self.width = width
        self.grid = isqrt(self.tokens_per_frame)
        if self.grid ** 2 != self.tokens_per_frame or self.grid == 0:
            raise LabError(f"tokens_per_frame is {tokens_per_frame}; use a square (1, 4, 9, ...) or 'pooled'")
        self.tower = getattr(tower, "vision_model", tower).eval().requires_grad_(False)
        self.preparation = preparation or _preparation_for(self.tower.config)
        self.projector = nn.Linear(self._width_of_features(), width)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike, width: int,
                        tokens_per_frame: int | Literal["pooled"] = 1) -> HFFrames:
        """A tower that gets its frames as its own image processor would prepare them."""
        tower = AutoModel.from_pretrained(path, use_safetensors=True)
        settings, _ = ImageProcessingMixin.get_image_processor_dict(path)
        return cls(tower, width, tokens_per_frame, Preparation.from_processor(settings))

    @cached_property
    def id(self) -> str:
        summary = "pooled" if self.pooled else f"{self.grid}x{self.grid}"
        return f"{self.tower.config.model_type}-{summary}-{fingerprint(self.tower, self.preparation)}"

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, H, W) normalized -> (F, tokens_per_frame, C)."""
        out = self.tower(pixel_values=pixels)
        if self.pooled:
            if out.get("pooler_output") is None:
                raise LabError(f"{self.tower.config.model_type} has no pooled output; use tokens_per_frame: 1")
            return out.pooler_output.flatten(1)[:, None]
        patches = patch_grid(out.last_hidden_state, self.tower.config, pixels.shape)
        return F.adaptive_avg_pool2d(patches, self.grid).flatten(2).transpose(1, 2)

    def _width_of_features(self) -> int:
        """C, from a trial with two equal pictures of noise, in which the tower must see the same."""
        family, size = self.tower.config.model_type, self.preparation.size
        if size is None:
            raise LabError(f"{family}: its image processor keeps the shape of a picture, but a tower needs frames of "
                           "one height and width")
        noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0), device="cpu")
        try:
            features = self.encode_pixels(noise.to(next(self.tower.parameters())).expand(2, -1, -1, -1))
        except LabError:
            raise
        except Exception as error:  # a tower may do anything with pictures that it does not expect
            raise LabError(f"{family}: this tower cannot see single pictures of {size[0]}x{size[1]} pixels "
                           f"({first_line(error)})") from error
        if not features.is_meta and not torch.allclose(*features.float(), atol=1e-2, rtol=1e-2):
            raise LabError(f"{family}: this tower sees something else each time it looks at the same picture")
        return features.shape[-1]

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        return self.projector(features.to(self.projector.weight.dtype)).flatten(0, 1)


class EvaQFormer(FrameEncoder):
    """The authors' encoder: a frozen EVA-ViT, then a Q-Former that looks for what the question asks.

    Their EVA-ViT is the vision tower of BLIP-2, but it has no norm after its last layer.
    """

    tokens_per_frame = 1
    reads_question = True

    def __init__(self, width: int, words: BertTokenizer, eva: Blip2VisionConfig | None = None,
                 qformer: QFormerConfig | None = None):
        super().__init__()
        eva, qformer = eva or Blip2VisionConfig(), qformer or QFormerConfig()
        self.preparation, self.words, self.config = Preparation.square(eva.image_size), words, qformer
        self.tower = Blip2VisionModel(eva).eval().requires_grad_(False)
        self.tower.post_layernorm = nn.Identity()
        self.projector = QFormerProjector(qformer, eva.hidden_size, width)

    @cached_property
    def id(self) -> str:
        return f"eva-{fingerprint(self.tower, self.tower.config.num_attention_heads)}"

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(F, 3, H, W) normalized -> (F, P, C) patches, without the class token."""
        return self.tower(pixels).last_hidden_state[:, 1:]

    def open(self, what: Opened) -> None:
        """projector: what follows the BERT. attention: also the queries and every attention. all: everything."""
        self.requires_grad_(False)
        for name, value in self.projector.named_parameters():
            pools = name.startswith(("expand.", "query.", "key.", "out."))
            attends = not name.startswith("bert.") or "attention" in name
            value.requires_grad_({"projector": pools, "attention": attends, "all": True}.get(what, False))

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        """Project part of the video at a time, since patches are large; for gradients, each part is computed again."""
        weight = self.projector.queries
        ids, mask = (each.to(weight.device) for each in read_questions(self.words, [question]))

        def look(patches: Tensor) -> Tensor:
            n = len(patches)
            return self.projector(patches.to(weight), ids.expand(n, -1), mask.expand(n, -1))

        parts = features.split(AT_ONCE)
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([look(part) for part in parts])
        return torch.cat([checkpoint(look, part, use_reentrant=False) for part in parts])


def _preparation_for(config: PretrainedConfig) -> Preparation:
    """The preparation for a tower without an image processor: pictures of the size for which it was configured."""
    size = getattr(config, "image_size", None) or 224
    return Preparation.square(size) if isinstance(size, int) else Preparation(tuple(size))


@torch.no_grad()
def encoded(encoder: FrameEncoder, videos: Sequence[Tensor]) -> list[Tensor]:
    """Features of V videos. Videos that come as uint8 frames are encoded now, exactly as for the cache."""
    return [encode_all(encoder, video) if video.dtype == torch.uint8 else video for video in videos]


def encode_all(encoder: FrameEncoder, frames: Tensor) -> Tensor:
    """The features of all frames of a video, a block of BLOCK frames at a time, as for the cache."""
    with full_precision(frames):
        return torch.cat([encoder.encode(*block) for block in in_blocks([frames], BLOCK, encoder.around)])


def fingerprint(module: nn.Module, *settings) -> str:
    """A short hash of a module's weights and of what else decides its features."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
