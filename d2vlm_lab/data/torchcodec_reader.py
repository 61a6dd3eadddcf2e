"""Frames by torchcodec. Their times come from PyAV, since torchcodec tells the time of a frame only by decoding it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import LabError

CLOSE = 1e-3  # seconds by which the times of both may differ


class TorchCodecReader:
    """Reads the video stream with the number `stream`, whose frames have these `times`, the first at 0 or later."""

    def __init__(self, path: Path, times: np.ndarray, stream: int, at_once: int):
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as error:
            reason = "it is not installed" if isinstance(error, ImportError) else str(error).strip().partition(". ")[0]
            raise LabError(f"data.reader is torchcodec, which cannot be used here ({reason}); it needs a version "
                           "that fits this version of torch, and the libraries of FFmpeg") from None
        self.times, self.at_once = times, at_once
        try:
            self.decoder = VideoDecoder(os.path.abspath(path), stream_index=stream, dimension_order="NHWC")
        except ValueError as error:  # for a file that FFmpeg cannot open
            raise RuntimeError(str(error)) from None
        if len(self.decoder) != len(times):
            raise RuntimeError(f"torchcodec counts {len(self.decoder)} frames, PyAV {len(times)}")

    def read(self, index: np.ndarray) -> Iterator[np.ndarray]:
        start = None  # torchcodec does not count from the start of the stream
        for part in np.split(index, range(self.at_once, len(index), self.at_once)):
            batch = self.decoder.get_frames_at(part.tolist())
            shown = batch.pts_seconds.numpy()
            start = shown[0] - self.times[part[0]] if start is None else start
            if np.abs(shown - start - self.times[part]).max() > CLOSE:
                raise RuntimeError("torchcodec shows other frames at these times")
            yield batch.data.numpy()
