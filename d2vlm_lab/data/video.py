"""Frames of a video at a rate, each with the second at which it is really shown.

PyAV reads the file, or decord if PyAV fails; torchcodec only if it is asked for. All count seconds from the
start of the video stream, use the timestamps in the file, so that a variable frame rate needs no special care, and
rotate pictures as the file asks (experiments/results/readers.md compares them). Frames before 0, which a cut without
re-encoding leaves, are dropped. In trials with hundreds of damaged files neither decoder hung or crashed, so they run
inside this process. A folder of numbered pictures, as some benchmarks ship, is a video too. What a file may demand of
the machine is limited; see limits.py.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..errors import LabError
from .clock import draw_times
from .limits import Limits, VideoError
from .torchcodec_reader import TorchCodecReader

DECODING_ERRORS: tuple[type[Exception], ...] = (av.error.FFmpegError, RuntimeError, IndexError, MemoryError)
try:
    import decord
    decord.logging.set_level(decord.logging.QUIET)
    DECODING_ERRORS += (decord.DECORDError, decord.DECORDLimitReachedError)
except ImportError:  # macOS on arm has no wheel
    decord = None
AUTO = ("av", "decord") if decord else ("av",)  # decoders that are tried one after the other

AT_ONCE = 32  # frames in their full size that are in memory before they are resized, or fewer where they are large:
AT_ONCE_BYTES = 2**28
FAULTS = 1e-9  # share of damaged frames that decord may silently replace by a neighbour: none
FOLDER_FPS = 3.0  # rate of a folder of pictures: that of TVQA, the only such folders in use
PICTURES = (".jpg", ".jpeg", ".png")
# What FFmpeg may read. Playlists are not among them, since they can point to other files, nor are single pictures, nor
# bare H.264 and its followers, whose frames have no times.
CONTAINERS = ("mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,ivf,mxf,nut,rm,wtv,dv,av1,obu,m4v,mjpeg,"
              "yuv4mpegpipe")
PICTURE_FILES = "png_pipe,jpeg_pipe,image2"
TICKS = 10_000_000  # of the clock by which frames are chosen

Decoder = Literal["auto", "torchcodec", "decord", "av"]
T = TypeVar("T")
Parts = Iterator[np.ndarray]  # of the frames of a video, (N, H, W, 3) uint8 each
Prepare = Callable[[np.ndarray], np.ndarray]  # (F, H, W, 3) uint8 -> the same in another size; see preparation.py


@dataclass(frozen=True)
class VideoFrames:
    """F frames and the second at which each is shown."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    timestamps: np.ndarray  # (F,) float64


@dataclass(frozen=True)
class About:
    """What a file says about itself before anything is decoded."""

    seconds: float = 0.0  # 0 where it does not say
    frames: int = 0  # likewise
    size: tuple[int, int] = (0, 0)  # width and height of a frame

    @property
    def at_once(self) -> int:
        """How many frames in their full size are in memory at a time."""
        return max(1, min(AT_ONCE, AT_ONCE_BYTES // max(1, 3 * self.size[0] * self.size[1])))


def find_video(videos: Path, name: str) -> Path:
    """The file of a video: at its path below the folder, or directly in the folder under its file name."""
    path = videos / name
    return videos / path.name if not os.path.exists(path) and os.path.exists(videos / path.name) else path


def read_frames(path: str | os.PathLike, fps: float | None = None, prepare: Prepare | None = None,
                max_frames: int | None = None, reader: Decoder = "auto", clock: bool = False) -> VideoFrames:
    """The frames on screen every 1/fps seconds, or all of them without `fps`; at most `max_frames`, spread evenly.

    Each frame appears once, however slow the video is. `prepare` resizes frames, a part of the video at a time.
    `reader` other than auto allows one decoder only. With `clock`, the time of each frame is drawn on it.
    """
    return read_parts(path, partial(_together, Path(path)), fps, prepare, max_frames, reader, clock)


def read_parts(path: str | os.PathLike, collect: Callable[[Parts, np.ndarray], T], fps: float | None = None,
               prepare: Prepare | None = None, max_frames: int | None = None,
               reader: Decoder = "auto", clock: bool = False) -> T:
    """What `collect` makes of these frames, which it gets in parts, and of their times; never are all in memory.

    If one decoder fails and there is another, `collect` is called again from the beginning.
    """
    if not (fps is None or 0 < fps < np.inf) or (max_frames is not None and max_frames <= 0):
        raise LabError(f"fps is {fps} and max_frames is {max_frames}; both must be positive")
    begin = collect if not clock else lambda parts, times: collect(_with_times(parts, times), times)
    return _read(Path(path), lambda times: choose(times, fps, max_frames, str(path)), begin, prepare, reader)


def _with_times(parts: Parts, times: np.ndarray) -> Parts:
    """The frames, each with its time drawn on it."""
    begun = 0
    for frames in parts:
        frames = np.array(frames)  # a copy, since a decoder may still need its own
        draw_times(frames, times[begun:begun + len(frames)])
        begun += len(frames)
        yield frames


def read_frames_at(path: str | os.PathLike, seconds: Sequence[float], prepare: Prepare | None = None) -> VideoFrames:
    """The frames that are on screen at these times, each of them once."""
    return _read(Path(path), lambda times: _on_screen(times, np.asarray(seconds)),
                 partial(_together, Path(path)), prepare)


def length(path: str | os.PathLike) -> float:
    """How many seconds a video lasts: by its header or by its last frame, whichever is later."""
    last = float(read_frames_at(path, [0.0, np.inf]).timestamps[-1])
    return max(last, 0.0 if os.path.isdir(path) else about_file(Path(path)).seconds)


def _read(path: Path, pick: Callable[[np.ndarray], np.ndarray], collect: Callable[[Parts, np.ndarray], T],
          prepare: Prepare | None, reader: Decoder = "auto") -> T:
    is_folder, limits = os.path.isdir(path), Limits.of_this_machine()
    about = About() if is_folder else about_file(path)
    limits.check(path, about.frames, *about.size)
    reasons = []
    for name in ["folder"] if is_folder else AUTO if reader == "auto" else [reader]:
        try:
            video = _READERS[name](path, about)
            _check_times(path, video.times, about.seconds)
            limits.check(path, len(video.times), *about.size)
            index = pick(video.times)
        except DECODING_ERRORS as error:
            reasons.append(first_line(error))
            continue
        try:
            return collect(_prepared(video.read(index), prepare), video.times[index])
        except _Damaged as error:
            reasons.append(str(error))
    raise VideoError(f"{path}: damaged video, cannot be decoded ({reasons[0]})")


class _Damaged(Exception):
    """A decoder failed on a part of a file; other errors come from whatever uses the frames."""


def _prepared(parts: Parts, prepare: Prepare | None) -> Parts:
    shape = None
    try:
        for part in parts:
            part = prepare(part) if prepare else part
            if shape not in (None, part.shape[1:]):
                raise RuntimeError(f"its frames have several sizes, {_size(shape)} and {_size(part.shape[1:])}")
            shape = part.shape[1:]
            yield part
    except DECODING_ERRORS as error:
        raise _Damaged(first_line(error)) from None


def _together(path: Path, parts: Parts, times: np.ndarray) -> VideoFrames:
    """All frames in one array, which is filled part by part."""
    frames, filled = None, 0
    for part in parts:
        if frames is None:
            Limits.of_this_machine().check_kept(path, len(times), part.shape[1:])
            frames = np.empty((len(times), *part.shape[1:]), np.uint8)
        frames[filled:filled + len(part)] = part
        filled += len(part)
    if frames is None:
        raise VideoError(f"{path}: no frame of it can be read")
    return VideoFrames(frames, times)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def choose(times: np.ndarray, fps: float | None, max_frames: int | None, name: str = "") -> np.ndarray:
    """Indices of the frames that are on screen at the ticks of a clock that starts with the first frame.

    An error says the `name` of the video.
    """
    index = np.arange(len(times))
    if fps is not None:
        if (span := times[-1] - times[0]) * fps > TICKS:
            raise VideoError(f"{name}: its frames span {span:,.0f} s, which at {fps:g} frames a second are more "
                             f"than {TICKS:,}; lower data.fps")
        ticks = np.arange(int(span * fps + 1e-3) + 1) / fps + times[0]
        index = _on_screen(times, ticks)
    if max_frames is not None and len(index) > max_frames:
        index = index[np.linspace(0, len(index) - 1, max_frames).round().astype(int)]
    return index


def _on_screen(times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Indices of the frames that are shown at these seconds, by the times at which frames appear."""
    return np.unique((np.searchsorted(times, seconds + 1e-3, side="right") - 1).clip(0))


class _Decord:
    def __init__(self, path: Path, about: About):
        if decord is None:
            raise LabError("decord is not installed; use reader='av'")
        self.at_once = about.at_once
        self.reader = decord.VideoReader(os.path.abspath(path), num_threads=1, fault_tol=FAULTS)
        times = np.array([self.reader.get_frame_timestamp(i)[0] for i in range(len(self.reader))], dtype=np.float64)
        if (times < 0).any():  # decord counts these frames, but does not return them
            raise RuntimeError("frames before 0, which decord miscounts")
        if (np.diff(times) <= 0).any():
            raise RuntimeError("timestamps that do not increase")
        self.times = times.round(6)  # they are float32 inside

    def read(self, index: np.ndarray) -> Iterator[np.ndarray]:
        for part in np.split(index, range(self.at_once, len(index), self.at_once)):
            yield self.reader.get_batch(part).asnumpy()


class _Av:
    def __init__(self, path: Path, about: About):
        self.path, self.at_once = path, about.at_once
        with open_file(path) as container:
            stream = container.streams.video[0]
            start, self.stream = stream.start_time or 0, stream.index
            known = set()
            for packet in container.demux(stream):  # no packet is kept: together they are as large as the file
                if packet.pts is not None and packet.is_corrupt:
                    raise RuntimeError("the file is cut short")
                if packet.pts is not None and packet.pts >= start:
                    known.add(packet.pts)
            self.pts = np.array(sorted(known), dtype=np.int64)
            self.times = ((self.pts - start) * float(stream.time_base or 0)).round(6)

    def read(self, index: np.ndarray) -> Iterator[np.ndarray]:
        wanted, held, colors = set(self.pts[index].tolist()), [], VideoReformatter()
        with open_file(self.path) as container:  # opened again: not every format can seek back to its start
            for frame in container.decode(container.streams.video[0]):
                if frame.pts in wanted:
                    wanted.remove(frame.pts)
                    held.append(upright(frame, colors))
                    if any(one.shape != other.shape for one, other in pairwise(held)):
                        raise RuntimeError("its frames have several sizes")
                    if len(held) == self.at_once or not wanted:
                        yield np.stack(held)
                        held = []
                if not wanted:
                    return
        raise RuntimeError(f"{len(wanted)} of {len(index)} frames are missing")


class _Folder:
    def __init__(self, path: Path, about: About):
        self.path, self.pictures = path, pictures(path)
        if not self.pictures:
            raise VideoError(f"{path}: no picture in this folder; a video is a file, or a folder of pictures "
                             f"({', '.join(PICTURES)})")
        self.times = np.arange(len(self.pictures)) / FOLDER_FPS

    def read(self, index: np.ndarray) -> Iterator[np.ndarray]:
        for i in index:
            yield read_picture(self.pictures[i])[None]


def _torchcodec(path: Path, about: About) -> TorchCodecReader:
    found = _Av(path, about)
    return TorchCodecReader(path, found.times, found.stream, found.at_once)


_READERS: dict[str, Callable[[Path, About], Any]] = {"torchcodec": _torchcodec, "decord": _Decord, "av": _Av,
                                                    "folder": _Folder}


def pictures(folder: Path) -> list[Path]:
    """The frames of a folder, by name."""
    try:
        found = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES and file.is_file()]
    except OSError as error:
        raise VideoError(f"{folder}: the folder cannot be read ({error.strerror})") from None
    return sorted(found, key=lambda file: by_number(file.name))


def by_number(name: str) -> tuple[list[int | str], str]:
    """Sorts names by the numbers in them: 9.png comes before 10.png, however many zeros they begin with."""
    parts = re.split(r"(\d+)", os.path.splitext(name)[0])
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], name


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 pixels of a picture in a file."""
    try:
        with open_file(path, PICTURE_FILES) as container:
            Limits.of_this_machine().check(path, 1, *dimensions(container.streams.video[0]))
            return next(container.decode(video=0)).to_ndarray(format="rgb24")
    except DECODING_ERRORS + (StopIteration,) as error:
        raise VideoError(f"{path}: not a picture, or a damaged one ({first_line(error)})") from None


def open_file(path: Path, formats: str = CONTAINERS) -> av.container.InputContainer:
    """Open the file itself, whatever its name: FFmpeg would take some names for addresses. A title in another encoding
    is no reason to fail."""
    options = {"format_whitelist": formats, "protocol_whitelist": "file",
               "max_pixels": str(Limits.of_this_machine().probed_pixels)}
    return av.open(os.path.abspath(path), metadata_errors="replace", options=options)


def about_file(path: Path) -> About:
    """What the header says; an error where the file holds no video at all."""
    check_file(path)
    try:
        with open_file(path) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: the file holds no video stream")
            stream = container.streams.video[0]
            seconds = 0.0
            if stream.duration is not None:
                seconds = float(stream.duration * (stream.time_base or 0))
            elif len(container.streams) == 1 and container.duration:  # otherwise it may be another stream's
                seconds = container.duration / av.time_base
            return About(seconds, stream.frames, dimensions(stream))
    except av.error.FFmpegError as error:
        not_allowed = error.errno == errno.EINVAL  # the error for a format that is not in the list
        reason = "a picture, a playlist or another format" if not_allowed else first_line(error)
        raise VideoError(f"{path}: not a video, or damaged from the start ({reason})") from None


def check_file(path: Path) -> None:
    """An error where there is no regular file with something in it, such as a missing file or a named pipe."""
    try:
        state = os.stat(path)
    except (OSError, ValueError) as error:
        reason = "a broken link" if os.path.islink(path) else getattr(error, "strerror", error)
        raise VideoError(f"{path}: no such video file ({reason})") from None
    if not stat.S_ISREG(state.st_mode):
        raise VideoError(f"{path}: not a regular file")
    if not state.st_size:
        raise VideoError(f"{path}: the file is empty")


def dimensions(stream: av.VideoStream) -> tuple[int, int]:
    codec = stream.codec_context  # None where FFmpeg knows no decoder
    return (codec.width, codec.height) if codec else (0, 0)


def _check_times(path: Path, times: np.ndarray, announced: float) -> None:
    if not len(times):
        raise VideoError(f"{path}: no frame can be decoded")
    longest = np.diff(times).max(initial=0)  # the longest time for which a frame stays on screen in this file
    if announced - times[-1] > max(1.0, 0.1 * announced, 3 * longest):
        raise VideoError(f"{path}: the frames end at {times[-1]:.1f} s, but the file announces {announced:.1f} s; "
                         "it is truncated")


def upright(frame: av.VideoFrame, colors: VideoReformatter) -> np.ndarray:
    """A frame in RGB, turned upright. All frames share the converter `colors`, since making one takes time."""
    if frame.rotation % 90:
        raise RuntimeError(f"rotated by {frame.rotation} degrees; only quarter turns can be shown")
    return np.rot90(colors.reformat(frame, format="rgb24", threads=1).to_ndarray(), frame.rotation // 90)


def write_frames(path: str | os.PathLike, frames: np.ndarray | Sequence[np.ndarray], fps: float) -> None:
    """(F, H, W, 3) uint8 frames as H.264. The same frames always give the same file.

    This needs one thread and no B-frames, with which x264 decides differently from run to run on small pictures.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000),
                                      options={"preset": "veryfast", "crf": "20", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def first_line(error: Exception) -> str:
    """What went wrong, without the decoder's addresses and prefixes."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if isinstance(error, av.error.FFmpegError):
        lines = [error.strerror or type(error).__name__]
    return re.sub(r"^\[[\d:]+\] \S+: ", "", lines[0].strip())[:160] if lines else type(error).__name__
