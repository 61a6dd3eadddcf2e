"""Where the patches are in what a Hugging Face vision tower returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isqrt

from torch import Tensor
from transformers import PretrainedConfig

from ...errors import LabError

MOST_EXTRA_TOKENS = 16  # class token and registers, which precede the patches


def patch_grid(states: Tensor, config: PretrainedConfig, pictures: Sequence[int]) -> Tensor:
    """The last states of a tower -> (F, C, rows, columns), for `pictures` of shape (F, 3, H, W).

    Convolutional towers return such a grid. Others return a sequence of patches, row by row, after a class token and
    registers, if there are any.
    """
    n, _, height, width = pictures
    if states.ndim == 4:
        rows, columns = states.shape[2:]
        if len(states) == n and round(height / rows) == round(width / columns):
            return states
    elif states.ndim == 3 and len(states) == n:
        for rows, columns in _grids(config, height, width, states.shape[1]):
            if 0 < rows * columns <= states.shape[1] <= rows * columns + MOST_EXTRA_TOKENS:
                return states[:, -rows * columns:].transpose(1, 2).unflatten(-1, (rows, columns))
    raise LabError(f"{config.model_type}: this tower makes states of shape {tuple(states.shape)} of {n} pictures of "
                   f"{height}x{width} pixels, in which no grid of patches can be recognized; tokens_per_frame: pooled "
                   "may work")


def _grids(config: PretrainedConfig, height: int, width: int, tokens: int) -> Iterator[tuple[int, int]]:
    """Grids that a sequence may form: one cell for each patch, or fewer in square pictures, after merging patches."""
    patch = getattr(config, "patch_stride", None) or getattr(config, "patch_size", None)
    if patch is not None:
        down, right = (patch, patch) if isinstance(patch, int) else patch
        yield height // down, width // right
    if height == width:
        yield from ((isqrt(tokens - extra),) * 2 for extra in (0, 1) if isqrt(tokens - extra) ** 2 == tokens - extra)
