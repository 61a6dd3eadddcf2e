"""What a video may demand of the machine. A small file can claim to hold hours of huge frames.

These limits belong to the machine and not to an experiment, so they are environment variables and not settings of a
run. They are checked against what the file says before anything is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LabError

SIDES = 10  # largest ratio of the two sides of a frame
KEPT_GIGABYTES = 2  # of one video's frames after they have been resized


class VideoError(LabError):
    """A file without a readable video; the message names the file."""


@dataclass(frozen=True)
class Limits:
    frames: float = 500_000  # D2VLM_LAB_MAX_FRAMES: frames in a file; 4.6 hours at 30 a second
    megapixels: float = 64  # D2VLM_LAB_MAX_MEGAPIXELS: of one frame; 8K has 33
    gigapixels: float = 1000  # D2VLM_LAB_MAX_GIGAPIXELS: of all frames of a file; two hours of 1080p have 450

    @classmethod
    def of_this_machine(cls) -> Limits:
        return cls(*(_from_environment(name, getattr(cls, name)) for name in cls.__dataclass_fields__))

    @property
    def probed_pixels(self) -> int:
        """Pixels of a frame up to which FFmpeg examines a file: more than `megapixels`, whose error comes first."""
        return int(max(4 * self.megapixels * 1e6, 2**28))

    def check(self, path: str | os.PathLike, frames: int, width: int, height: int) -> None:
        """An error that names the limit that a video exceeds."""
        long, short = max(width, height), max(1, min(width, height))
        if long > SIDES * short:
            raise VideoError(f"{path}: frames of {width}x{height} pixels; one side may be at most {SIDES} times as "
                             "long as the other")
        for name, value, words in (
                ("frames", frames, f"{frames:,} frames"), ("megapixels", width * height / 1e6, "megapixels in a frame"),
                ("gigapixels", frames * width * height / 1e9, "gigapixels in all its frames")):
            if value > getattr(self, name):
                claimed = words if name == "frames" else f"{value:,.0f} {words}"
                raise VideoError(f"{path}: {claimed}, which is above the limit of {getattr(self, name):,g}; if this is "
                                 f"right, set the environment variable {_variable(name)}")

    def check_kept(self, path: str | os.PathLike, frames: int, shape: Sequence[int]) -> None:
        """An error where the frames that are kept of a video would fill the memory."""
        height, width, channels = shape
        if (size := frames * height * width * channels / 2**30) > KEPT_GIGABYTES:
            raise VideoError(f"{path}: {frames:,} frames of {width}x{height} pixels need {size:.1f} GB of memory, more "
                             f"than {KEPT_GIGABYTES}; lower data.fps or data.max_frames")


def _variable(name: str) -> str:
    return f"D2VLM_LAB_MAX_{name.upper()}"


def _from_environment(name: str, default: float) -> float:
    if not (text := os.environ.get(_variable(name))):
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise LabError(f"the environment variable {_variable(name)} is {text!r}; it must be a positive number")
    return value
