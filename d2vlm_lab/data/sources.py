"""Frames that come one by one, with notes about their source in between."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .video import read_frames


@dataclass(frozen=True)
class TimedFrame:
    """A frame, counted from 0, and the second at which it is shown, which only ever grows."""

    index: int
    seconds: float
    pixels: np.ndarray  # (H, W, 3) uint8


@dataclass(frozen=True)
class SourceNote:
    """What happened to a source besides a frame, and at which second of it."""

    seconds: float
    kind: str
    message: str


@contextmanager
def open_source(what, fps: float | None = None, pace: float | None = 1.0) -> Iterator[Iterable]:
    """A file, or an iterator of pairs of a second and a picture."""
    if isinstance(what, (str, os.PathLike)):
        video = read_frames(what, fps)
        what = zip(video.timestamps.tolist(), video.frames)
    yield (TimedFrame(k, seconds, pixels) for k, (seconds, pixels) in enumerate(what))
