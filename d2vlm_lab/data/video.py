"""Frames of a video at a rate, each with the second at which it is really shown.

decord reads; where it is missing (macOS on arm has no wheel) or fails on a file, PyAV does. Both count seconds from
the start of the video stream, go by the timestamps in the file (so a variable frame rate is no special case) and turn
the picture as the file asks; what a cut without re-encoding left before 0 is dropped. In trials with hundreds of
damaged files neither decoder hung or took the process with it, so they run in it. A folder of numbered pictures, as
some benchmarks ship, is a video too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from ..errors import LabError

DECODING_ERRORS: tuple[type[Exception], ...] = (av.error.FFmpegError, RuntimeError, IndexError)
try:
    import decord
    decord.logging.set_level(decord.logging.QUIET)
    DECODING_ERRORS += (decord.DECORDError, decord.DECORDLimitReachedError)
except ImportError:
    decord = None

AT_ONCE = 32  # native frames held before they are resized
FAULTS = 1e-9  # share of frames that decord may replace by a neighbour without a word: none
FOLDER_FPS = 3.0  # of folders of pictures: the rate of TVQA's, the only ones in use
PICTURES = (".jpg", ".jpeg", ".png")


class VideoError(LabError):
    """A file that holds no readable video; the message names it."""


@dataclass(frozen=True)
class VideoFrames:
    """F frames and the second at which each is shown."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    timestamps: np.ndarray  # (F,) float64


def read_frames(path: str | os.PathLike, fps: float | None = None, size: int | None = None,
                max_frames: int | None = None, reader: Literal["decord", "av"] | None = None) -> VideoFrames:
    """The frames on screen every 1/fps seconds, at most `max_frames` spread evenly; the short side becomes `size`.

    A frame appears once, however slow the video is. Without fps, every frame; `reader` insists on one decoder.
    """
    if (fps is not None and fps <= 0) or (max_frames is not None and max_frames <= 0):
        raise LabError(f"fps is {fps} and max_frames is {max_frames}; both must be positive")
    return _read(Path(path), lambda times: choose(times, fps, max_frames), size, reader)


def read_frames_at(path: str | os.PathLike, seconds: Sequence[float], size: int | None = None) -> VideoFrames:
    """The frames that are on screen at these times; fewer where several times show the same one."""
    return _read(Path(path), lambda times: np.unique(
        (np.searchsorted(times, np.asarray(seconds) + 1e-3, side="right") - 1).clip(0)), size)


def _read(path: Path, pick: Callable[[np.ndarray], np.ndarray], size: int | None,
          reader: str | None = None) -> VideoFrames:
    promised = 0.0 if path.is_dir() else _check(path)
    attempts = ["folder"] if path.is_dir() else [reader] if reader else ["decord", "av"] if decord else ["av"]
    for attempt in attempts:
        try:
            source = _READERS[attempt](path)
            _check_times(path, source.times, promised)
            chosen = pick(source.times)
            frames = np.concatenate([_resize(part, size) for part in source.read(chosen)])
            return VideoFrames(frames, source.times[chosen])
        except DECODING_ERRORS as error:
            if attempt == attempts[-1]:
                raise VideoError(f"{path}: damaged video, cannot be decoded ({_first_line(error)})") from None
    raise AssertionError("unreachable")


def choose(times: np.ndarray, fps: float | None, max_frames: int | None) -> np.ndarray:
    """Indices of the frames that are on screen at the ticks of a clock that starts with the first frame."""
    index = np.arange(len(times))
    if fps is not None:
        ticks = np.arange(int((times[-1] - times[0]) * fps + 1e-3) + 1) / fps + times[0]
        index = np.unique(np.searchsorted(times, ticks + 1e-3, side="right") - 1)
    if max_frames is not None and len(index) > max_frames:
        index = index[np.linspace(0, len(index) - 1, max_frames).round().astype(int)]
    return index


class _Decord:
    def __init__(self, path: Path):
        if decord is None:
            raise LabError("decord is not installed; use reader='av'")
        self.reader = decord.VideoReader(str(path), num_threads=1, fault_tol=FAULTS)
        times = np.array([self.reader.get_frame_timestamp(i)[0] for i in range(len(self.reader))], dtype=np.float64)
        if (times < 0).any():  # the lead-in of a cut: decord counts frames that it then does not show
            raise RuntimeError("frames before 0, of which decord loses count")
        if (np.diff(times) <= 0).any():
            raise RuntimeError("timestamps that do not increase")
        self.times = times.round(6)  # they are float32 inside

    def read(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        for part in np.split(chosen, range(AT_ONCE, len(chosen), AT_ONCE)):
            yield self.reader.get_batch(part).asnumpy()


class _Av:
    def __init__(self, path: Path):
        self.path = path
        with _open(path) as container:
            stream = container.streams.video[0]
            start = stream.start_time or 0
            packets = [(p.pts, p.is_corrupt) for p in container.demux(stream) if p.pts is not None]
            if any(corrupt for _, corrupt in packets):
                raise RuntimeError("the file is cut short")
            pts = {at for at, _ in packets}
            self.pts = np.array(sorted(p for p in pts if p >= start), dtype=np.int64)
            self.times = ((self.pts - start) * float(stream.time_base or 0)).round(6)

    def read(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        wanted, held = set(self.pts[chosen].tolist()), []
        with _open(self.path) as container:  # anew: not every format can seek back to its start
            for frame in container.decode(container.streams.video[0]):
                if frame.pts in wanted:
                    wanted.remove(frame.pts)
                    held.append(_upright(frame))
                    if len(held) == AT_ONCE or not wanted:
                        yield np.stack(held)
                        held = []
                if not wanted:
                    return
        raise RuntimeError(f"{len(wanted)} of {len(chosen)} frames are missing")


class _Folder:
    def __init__(self, path: Path):
        self.pictures = pictures(path)
        self.times = np.arange(len(self.pictures)) / FOLDER_FPS

    def read(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        for i in chosen:
            with _open(self.pictures[i]) as container:
                yield next(container.decode(video=0)).to_ndarray(format="rgb24")[None]


_READERS = {"decord": _Decord, "av": _Av, "folder": _Folder}


def pictures(folder: Path) -> list[Path]:
    """The frames of a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def _open(path: Path):
    return av.open(str(path), metadata_errors="replace")  # a title in another encoding is no reason to fail


def _check(path: Path) -> float:
    """The seconds that the file announces (0 where it does not); errors for what holds no video at all."""
    if not path.is_file():
        raise VideoError(f"{path}: no such video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        with _open(path) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: the file holds no video stream")
            stream = container.streams.video[0]
            if stream.duration is not None:
                return float(stream.duration * stream.time_base)
            alone = len(container.streams) == 1  # else the announced time may be another stream's
            return container.duration / av.time_base if alone and container.duration else 0.0
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: not a video, or damaged from the start ({_first_line(error)})") from None


def _check_times(path: Path, times: np.ndarray, promised: float) -> None:
    if not len(times):
        raise VideoError(f"{path}: no frame can be decoded")
    longest = np.diff(times).max(initial=0)  # for how long a frame may stay here
    if promised - times[-1] > max(1.0, 0.1 * promised, 3 * longest):
        raise VideoError(f"{path}: the frames end at {times[-1]:.1f} s, but the file announces {promised:.1f} s; "
                         "it is truncated")


def _upright(frame: av.VideoFrame) -> np.ndarray:
    if frame.rotation % 90:
        raise RuntimeError(f"rotated by {frame.rotation} degrees; only quarter turns can be shown")
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def _resize(frames: np.ndarray, size: int | None) -> np.ndarray:
    """(F, H, W, 3) with the short side made `size`, by one filter for both readers."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    if size is None or short == size:
        return frames
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    shape = (int(size * height / short), int(size * width / short))
    pixels = F.interpolate(pixels, shape, mode="bilinear", antialias=True)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def write_frames(path: str | os.PathLike, frames: np.ndarray | Sequence[np.ndarray], fps: float,
                 quality: int = 20) -> None:
    """(F, H, W, 3) uint8 frames as H.264, the same file for the same frames.

    That takes one thread and no B-frames: with them x264 decides differently from run to run on small pictures.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000),
                                      options={"preset": "veryfast", "crf": str(quality), "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^\[[\d:]+\] \S+: ", "", lines[0].strip())[:160] if lines else type(error).__name__
