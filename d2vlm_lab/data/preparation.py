"""How a picture becomes what a vision tower expects: resized, cropped, normalized, as the tower's image processor does.

The work has two parts. `frames` resizes and crops while a video is read, so that only small uint8 pictures stay in
memory. `pixels` turns these into normalized numbers right before the tower sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import LabError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BILINEAR = 2  # the number that PIL gives to this filter
TORCH_MODES = {BILINEAR: "bilinear", 3: "bicubic"}  # resized by torch, as torchvision does; the other filters by PIL
TOLERANCE = 3.0  # largest difference, of 255 levels: torch and PIL round differently when they resize


@dataclass(frozen=True)
class Preparation:
    """Resize, then cut out the centre, then normalize."""

    resize: int | tuple[int, int] | None = None  # length of the short side, or exactly (height, width); None: as it is
    crop: tuple[int, int] | None = None  # height and width of the centre that is cut out; None: the whole picture
    resample: int = BILINEAR  # the filter, by its number in PIL
    levels: float = 255.0  # values of pixels are divided by this
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    # Draw the time of each frame on it (clock.py). The name of kept features contains this, the id of an encoder does
    # not.
    clock: bool = field(default=False, repr=False)

    @classmethod
    def square(cls, size: int, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD) -> Preparation:
        """The short side becomes `size`, and the central square is cut out."""
        (r, g, b), (dr, dg, db) = mean, std
        return cls(size, (size, size), mean=(r, g, b), std=(dr, dg, db))

    @classmethod
    def from_processor(cls, settings: dict) -> Preparation:
        """The preparation that the settings of a Hugging Face image processor describe (preprocessor_config.json).

        If transformers has a processor of this name that works here, both must prepare a picture alike.
        """
        name = settings.get("image_processor_type") or settings.get("feature_extractor_type") or "image processor"
        name = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
        processor = _processor_class(name)
        preparation = _read_settings(name, _with_defaults(settings, processor))
        if processor is not None and not _prepares_alike(preparation, processor(**settings)):
            raise LabError(f"{name}: frames cannot be prepared as this image processor does it; it may do more than "
                           "resize, cut out the centre and normalize, or its pictures have no fixed size")
        return preparation

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of every prepared frame; None where they depend on the video."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    @property
    def label(self) -> str:
        """A short name for folders: the size to which frames are resized, and the size of the crop."""
        sizes = "-".join(_label(size) for size in (self.resize, self.crop) if size is not None) or "None"
        return f"{sizes}-clock" if self.clock else sizes

    def frames(self, frames: np.ndarray) -> np.ndarray:
        """(F, H, W, 3) uint8 -> the same in the size that the tower expects."""
        height, width = frames.shape[1:3]
        target = self.resize or (height, width)
        if isinstance(target, int):
            short = min(height, width)
            target = int(target * height / short), int(target * width / short)
        if target != (height, width):
            frames = _resize(frames, target, self.resample)
        if self.crop is not None:
            top, left = ((have - keep) // 2 for have, keep in zip(target, self.crop))
            frames = frames[:, top:top + self.crop[0], left:left + self.crop[1]]
        return np.ascontiguousarray(frames)

    def pixels(self, frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(F, H, W, 3) prepared uint8 frames -> (F, 3, H, W) normalized."""
        check_frames(frames)
        if self.size is not None and tuple(frames.shape[1:3]) != self.size:
            raise LabError(f"frames are {_label((frames.shape[1], frames.shape[2]))} pixels, but this encoder sees "
                           f"{_label(self.size)}; read them with its `preparation`")
        pixels = frames.permute(0, 3, 1, 2).float() / self.levels
        mean, std = (pixels.new_tensor(value)[:, None, None] for value in (self.mean, self.std))
        return ((pixels - mean) / std).to(dtype)


def check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
        raise LabError(f"frames are {frames.dtype} of shape {tuple(frames.shape)}; they must be uint8 (F, H, W, 3)")


def _resize(frames: np.ndarray, size: tuple[int, int], resample: int) -> np.ndarray:
    if resample not in TORCH_MODES:
        return np.stack([np.asarray(Image.fromarray(frame).resize(size[::-1], resample)) for frame in frames])
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    return F.interpolate(pixels, size, mode=TORCH_MODES[resample], antialias=True).permute(0, 2, 3, 1).numpy()


def _label(size: int | tuple[int, int]) -> str:
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


# The settings of image processors.

def _processor_class(name: str) -> type | None:
    """The processor in transformers that works with PIL, or else the one for torchvision, if torchvision is there."""
    import transformers  # imported late, because reading videos does not need it
    from transformers.utils import is_torchvision_available

    return getattr(transformers, f"{name}Pil", None) or (
        getattr(transformers, name, None) if is_torchvision_available() else None)


def _with_defaults(settings: dict, processor: type | None) -> dict:
    """The settings and, for those that the file leaves out, the defaults of their class."""
    names = ("do_resize", "size", "default_to_square", "resample", "do_center_crop", "crop_size", "crop_pct",
             "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    defaults = {name: getattr(processor, name, None) for name in names}
    return {key: value for key, value in (defaults | settings).items() if value is not None}


def _read_settings(name: str, settings: dict) -> Preparation:
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    if settings.get("do_resize", True):
        resize = _size(name, settings.get("size"), settings.get("default_to_square", True))
    if settings.get("do_center_crop", False):
        if isinstance(cut := _size(name, settings.get("crop_size")), int):
            raise LabError(f"{name}: its crop_size is {settings['crop_size']}; a fixed height and width is supported")
        crop = cut
    if isinstance(resize, int) and name.startswith("Levit"):
        resize = int(256 / 224 * resize)
    if isinstance(resize, int) and "crop_pct" in settings:  # ConvNeXt: larger than the crop, or squashed into a square
        resize, crop = (int(resize / settings["crop_pct"]), (resize, resize)) if resize < 384 else (
            (resize, resize), crop)
    smallest = (resize, resize) if isinstance(resize, int) else resize
    if crop is not None and (smallest is None or min(s - c for s, c in zip(smallest, crop)) < 0):
        raise LabError(f"{name}: it cuts {_label(crop)} pixels out of pictures that may be smaller (size: "
                       f"{settings.get('size')}), which is not supported")
    preparation = Preparation(resize, crop, int(settings.get("resample", BILINEAR)))
    if settings.get("do_rescale", True):
        preparation = replace(preparation, levels=1 / settings.get("rescale_factor", 1 / 255))
    else:
        preparation = replace(preparation, levels=1.0)
    if not settings.get("do_normalize", True):
        return replace(preparation, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return replace(preparation, mean=tuple(settings.get("image_mean", CLIP_MEAN)),
                   std=tuple(settings.get("image_std", CLIP_STD)))


def _size(name: str, size: object, square: bool = True) -> int | tuple[int, int]:
    """The forms in which files give a size: a number, a pair, or a dictionary."""
    if isinstance(size, int):
        return (size, size) if square else size
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return size[0], size[1]
    if isinstance(size, dict) and {"height", "width"} <= size.keys():
        return size["height"], size["width"]
    if isinstance(size, dict) and list(size) == ["shortest_edge"]:
        return size["shortest_edge"]
    raise LabError(f"{name}: its size is {size}; a fixed height and width, or a shortest_edge, is supported")


def _prepares_alike(preparation: Preparation, processor: Any) -> bool:
    """Whether both prepare a picture of an unusual shape alike, up to the rounding of two resizing libraries."""
    coarse = np.random.default_rng(0).integers(0, 256, (1, 9, 14, 3), dtype=np.uint8)
    picture = _resize(coarse, (61, 97), BILINEAR)
    expected = torch.as_tensor(np.asarray(processor(picture[0], return_tensors="np")["pixel_values"]))
    prepared = preparation.pixels(torch.from_numpy(preparation.frames(picture)))
    if expected.shape != prepared.shape:
        return False
    std = prepared.new_tensor(preparation.std)[:, None, None]
    return bool(((expected - prepared).abs() * std * preparation.levels).max() <= TOLERANCE)
