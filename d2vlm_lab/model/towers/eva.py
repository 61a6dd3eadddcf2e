"""EVA-ViT, the vision transformer of the authors' frame encoder. It is never trained here.

Shapes: F frames, S pixels a side, P patches, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class EvaConfig:
    """The defaults are ViT-g/14 without its last block, as the released model uses it."""

    size: int = 224
    patch: int = 14
    width: int = 1408
    heads: int = 16
    blocks: int = 39
    hidden: int = 6144

    @property
    def patches(self) -> int:
        return (self.size // self.patch) ** 2


class EvaViT(nn.Module):
    """(F, 3, S, S) normalized pixels -> (F, 1 + P, C): a class token, then one token per patch, row by row."""

    def __init__(self, config: EvaConfig):
        super().__init__()
        self.config = config
        self.patch = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position = nn.Parameter(torch.randn(1, 1 + config.patches, config.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(patches), -1, -1), patches], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return x  # as the last block leaves it: there is no final norm


class Block(nn.Module):
    def __init__(self, config: EvaConfig):
        super().__init__()
        self.heads = config.heads
        self.norm_1 = nn.LayerNorm(config.width, eps=1e-6)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(config.width, config.hidden), nn.GELU(),
                                 nn.Linear(config.hidden, config.width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        values = F.scaled_dot_product_attention(q, k, v)  # (F, heads, 1 + P, C / heads)
        x = x + self.out(values.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))
