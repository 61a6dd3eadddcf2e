"""Frames of a video at a rate, each with the second at which it is really shown.

decord reads the file, and PyAV where decord is missing (macOS on arm has no wheel) or fails. Both count seconds from
the start of the video stream, use the timestamps in the file, so that a variable frame rate needs no special care, and
rotate pictures as the file asks. Frames before 0, which a cut without re-encoding leaves, are dropped. In trials with
hundreds of damaged files neither decoder hung or crashed, so they run inside this process. A folder of numbered
pictures, as some benchmarks ship, is a video too.
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

AT_ONCE = 32  # frames in their full size that are in memory before they are resized
FAULTS = 1e-9  # share of damaged frames that decord may silently replace by a neighbour: none
FOLDER_FPS = 3.0  # of a folder of pictures: the rate of those of TVQA, the only ones in use
PICTURES = (".jpg", ".jpeg", ".png")

Prepare = Callable[[np.ndarray], np.ndarray]  # (F, H, W, 3) uint8 -> the same in another size; see preparation.py


class VideoError(LabError):
    """A file without a readable video; the message names the file."""


@dataclass(frozen=True)
class VideoFrames:
    """F frames and the second at which each is shown."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    timestamps: np.ndarray  # (F,) float64


def read_frames(path: str | os.PathLike, fps: float | None = None, prepare: Prepare | None = None,
                max_frames: int | None = None, reader: Literal["decord", "av"] | None = None) -> VideoFrames:
    """The frames on screen every 1/fps seconds, or all of them without `fps`; at most `max_frames`, spread evenly.

    Each frame appears once, however slow the video is. `prepare` resizes frames, a part of the video at a time.
    `reader` allows one decoder only.
    """
    if (fps is not None and fps <= 0) or (max_frames is not None and max_frames <= 0):
        raise LabError(f"fps is {fps} and max_frames is {max_frames}; both must be positive")
    return _read(Path(path), lambda times: choose(times, fps, max_frames), prepare, reader)


def read_frames_at(path: str | os.PathLike, seconds: Sequence[float], prepare: Prepare | None = None) -> VideoFrames:
    """The frames that are on screen at these times, each of them once."""
    return _read(Path(path), lambda times: _on_screen(times, np.asarray(seconds)), prepare)


def _read(path: Path, pick: Callable[[np.ndarray], np.ndarray], prepare: Prepare | None,
          reader: str | None = None) -> VideoFrames:
    announced = 0.0 if path.is_dir() else _announced_seconds(path)
    readers = ["folder"] if path.is_dir() else [reader] if reader else ["decord", "av"] if decord else ["av"]
    for name in readers:
        try:
            video = _READERS[name](path)
            _check_times(path, video.times, announced)
            index = pick(video.times)
            frames = np.concatenate([prepare(part) if prepare else part for part in video.read(index)])
            return VideoFrames(frames, video.times[index])
        except DECODING_ERRORS as error:
            reason = _first_line(error)
    raise VideoError(f"{path}: damaged video, cannot be decoded ({reason})")


def choose(times: np.ndarray, fps: float | None, max_frames: int | None) -> np.ndarray:
    """Indices of the frames that are on screen at the ticks of a clock that starts with the first frame."""
    index = np.arange(len(times))
    if fps is not None:
        ticks = np.arange(int((times[-1] - times[0]) * fps + 1e-3) + 1) / fps + times[0]
        index = _on_screen(times, ticks)
    if max_frames is not None and len(index) > max_frames:
        index = index[np.linspace(0, len(index) - 1, max_frames).round().astype(int)]
    return index


def _on_screen(times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Indices of the frames that are shown at these seconds, by the times at which frames appear."""
    return np.unique((np.searchsorted(times, seconds + 1e-3, side="right") - 1).clip(0))


class _Decord:
    def __init__(self, path: Path):
        if decord is None:
            raise LabError("decord is not installed; use reader='av'")
        self.reader = decord.VideoReader(str(path), num_threads=1, fault_tol=FAULTS)
        times = np.array([self.reader.get_frame_timestamp(i)[0] for i in range(len(self.reader))], dtype=np.float64)
        if (times < 0).any():  # decord counts these frames, but does not return them
            raise RuntimeError("frames before 0, which decord miscounts")
        if (np.diff(times) <= 0).any():
            raise RuntimeError("timestamps that do not increase")
        self.times = times.round(6)  # they are float32 inside

    def read(self, index: np.ndarray) -> Iterator[np.ndarray]:
        for part in np.split(index, range(AT_ONCE, len(index), AT_ONCE)):
            yield self.reader.get_batch(part).asnumpy()


class _Av:
    def __init__(self, path: Path):
        self.path = path
        with _open(path) as container:
            stream = container.streams.video[0]
            start = stream.start_time or 0
            packets = [packet for packet in container.demux(stream) if packet.pts is not None]
            if any(packet.is_corrupt for packet in packets):
                raise RuntimeError("the file is cut short")
            self.pts = np.array(sorted({packet.pts for packet in packets if packet.pts >= start}), dtype=np.int64)
            self.times = ((self.pts - start) * float(stream.time_base or 0)).round(6)

    def read(self, index: np.ndarray) -> Iterator[np.ndarray]:
        wanted, held = set(self.pts[index].tolist()), []
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
        raise RuntimeError(f"{len(wanted)} of {len(index)} frames are missing")


class _Folder:
    def __init__(self, path: Path):
        self.pictures = pictures(path)
        self.times = np.arange(len(self.pictures)) / FOLDER_FPS

    def read(self, index: np.ndarray) -> Iterator[np.ndarray]:
        for i in index:
            with _open(self.pictures[i]) as container:
                yield next(container.decode(video=0)).to_ndarray(format="rgb24")[None]


_READERS = {"decord": _Decord, "av": _Av, "folder": _Folder}


def pictures(folder: Path) -> list[Path]:
    """The frames of a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def _open(path: Path):
    return av.open(str(path), metadata_errors="replace")  # a title in another encoding is no reason to fail


def _announced_seconds(path: Path) -> float:
    """How long the file says that it is, 0 where it does not say; an error where it holds no video at all."""
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
            alone = len(container.streams) == 1  # otherwise that duration may be another stream's
            return container.duration / av.time_base if alone and container.duration else 0.0
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: not a video, or damaged from the start ({_first_line(error)})") from None


def _check_times(path: Path, times: np.ndarray, announced: float) -> None:
    if not len(times):
        raise VideoError(f"{path}: no frame can be decoded")
    longest = np.diff(times).max(initial=0)  # a frame may stay on screen for so long in this file
    if announced - times[-1] > max(1.0, 0.1 * announced, 3 * longest):
        raise VideoError(f"{path}: the frames end at {times[-1]:.1f} s, but the file announces {announced:.1f} s; "
                         "it is truncated")


def _upright(frame: av.VideoFrame) -> np.ndarray:
    if frame.rotation % 90:
        raise RuntimeError(f"rotated by {frame.rotation} degrees; only quarter turns can be shown")
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def write_frames(path: str | os.PathLike, frames: np.ndarray | Sequence[np.ndarray], fps: float,
                 quality: int = 20) -> None:
    """(F, H, W, 3) uint8 frames as H.264. The same frames always give the same file.

    This needs one thread and no B-frames, with which x264 decides differently from run to run on small pictures.
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
