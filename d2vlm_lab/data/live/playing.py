"""The raw output of sources: pairs of a second and a picture, or pairs of a kind of note and its words.

Each source is a generator that looks at `closed` while it waits, and closes what it has opened when it ends.
`sources.py` puts the frames into order.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ...errors import LabError
from ..limits import Limits, VideoError
from ..video import CONTAINERS, PICTURES, by_number, dimensions, first_line, open_file, read_picture, upright

Kind = Literal["stall", "gap", "jump", "repeat", "size", "drop", "damage", "end"]
Raw = tuple[float, np.ndarray] | tuple[Kind, str]  # a frame at a second; or a note: its kind and its words
STALL = 2.0  # seconds without a frame after which a source is said to stall
POLL = 0.1  # seconds between two looks at a folder
SETTLED = 1.0  # seconds after which a picture that cannot be read counts as damaged, not as still being written
# Protocols that connect to a sender. Protocols that wait for senders (udp, rtp) would listen on every network.
PROTOCOLS = "tcp,tls,http,https,httpproxy,crypto,rtsp,rtsps,rtmp,rtmps,srt"
WITHOUT_TIMES = ("mpjpeg", "mjpeg")  # formats of pictures alone, as many cameras send them
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


def play(path: Path, pace: float | None, closed: Event) -> Iterator[Raw]:
    """The frames of a file, `pace` times as fast as it was recorded; without a `pace`, as fast as they are used."""
    try:
        container = open_file(path)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: the file cannot be opened ({first_line(error)})") from None
    with container:
        stream = container.streams.video[0]
        Limits.of_this_machine().check(path, 0, *dimensions(stream))
        started = time.monotonic()
        try:
            for item in _decoded(container, stream.start_time or 0):
                if pace and not isinstance(item[0], str):
                    closed.wait(max(0.0, started + item[0] / pace - time.monotonic()))
                yield item
            yield "end", "the file has ended"
        except (av.error.FFmpegError, OSError) as error:
            yield "end", f"what follows in the file cannot be read ({first_line(error)})"


def receive(address: str, patience: float, closed: Event) -> Iterator[Raw]:
    """What an address or a camera (`camera:0`) sends, until nothing has come for `patience` seconds."""
    place, kind = address, None
    options = {"protocol_whitelist": PROTOCOLS, "format_whitelist": f"{CONTAINERS},rtsp,sdp,hls,mpjpeg,live_flv",
               "rtsp_transport": "tcp", "max_pixels": str(Limits.of_this_machine().probed_pixels)}
    if camera := re.fullmatch(r"camera:(\d{1,3})", address):
        if sys.platform not in CAMERAS:
            raise LabError(f"{address}: cameras can be opened on Linux and macOS only; give an address instead")
        (kind, place), options = CAMERAS[sys.platform], {}
        place = place.format(camera[1])
    try:
        container = av.open(place, format=kind, options=options, timeout=patience, metadata_errors="replace")
    except av.error.ExitError:
        raise VideoError(f"{hidden(address)}: nothing came for {patience:g} s") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{hidden(address)}: no video comes from there ({first_line(error)})") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{hidden(address)}: what comes from there holds no video")
        Limits.of_this_machine().check(hidden(address), 0, *dimensions(container.streams.video[0]))
        try:
            frames = _decoded(container, None)
            for item in _when_they_came(frames) if container.format.name in WITHOUT_TIMES else frames:
                if closed.is_set():
                    return
                yield item
            yield "end", "the sender has stopped"
        except av.error.ExitError:
            yield "end", f"nothing came for {patience:g} s"
        except (av.error.FFmpegError, OSError) as error:
            yield "end", f"the sender has stopped ({first_line(error)})"


def hidden(address: str) -> str:
    """An address in a form that may be shown: without the password that some cameras need in it."""
    address = re.sub(r"(//[^/@:]*):[^/]*@", r"\1:***@", address)
    return re.sub(r"(pas\w*?|pwd)=[^&/\s]*", r"\1=***", address, flags=re.IGNORECASE)


def _when_they_came(items: Iterator[Raw]) -> Iterator[Raw]:
    """The same frames, each at the second at which it came, since FFmpeg only counts them."""
    begun = None
    for item in items:
        if not isinstance(item[0], str):
            begun = time.monotonic() if begun is None else begun
            item = time.monotonic() - begun, item[1]
        yield item


def _decoded(container: av.container.InputContainer, start: int | None) -> Iterator[Raw]:
    """Frames with their seconds since `start`, or since the first frame. Damaged parts are reported and left out."""
    colors = VideoReformatter()
    for packet in container.demux(container.streams.video[0]):
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError) as error:
            yield "damage", f"a part cannot be decoded and is left out ({first_line(error)})"
            continue
        for frame in frames:
            if frame.pts is None:
                yield "drop", "a frame that has no time is left out"
                continue
            start = frame.pts if start is None else start
            if frame.pts >= start:
                yield round(float((frame.pts - start) * (frame.time_base or 0)), 6), _shown(frame, colors)


def _shown(frame: av.VideoFrame, colors: VideoReformatter) -> np.ndarray:
    try:
        return upright(frame, colors)
    except RuntimeError as error:  # rotated in a way that cannot be shown
        raise VideoError(f"the video is {error}") from None


def watch_folder(folder: Path, rate: float, patience: float, closed: Event) -> Iterator[Raw]:
    """The pictures of a folder by name, then each new one; `rate` of them are a second."""
    count = 0
    for item in patient(_pictures(folder, closed), patience):
        if isinstance(item, np.ndarray):
            item, count = (count / rate, item), count + 1
        yield item


def patient(arrivals: Iterable, patience: float, usual: float = 0.0) -> Iterator:
    """What arrives, `usual` seconds apart. None is a moment without an arrival: some in a row are a stall, and more are
    the end.
    """
    came, said = time.monotonic(), False
    for item in arrivals:
        if item is not None:
            yield item
            came, said = time.monotonic(), False
        elif (idle := time.monotonic() - came) > patience:
            yield "end", f"nothing came for {patience:g} s"
            return
        elif idle > STALL + usual and not said:
            said = True
            yield "stall", f"nothing came for {STALL + usual:.3g} s"


def _pictures(folder: Path, closed: Event) -> Iterator[np.ndarray | tuple[str, str] | None]:
    """The pictures of a folder, each read once its file no longer grows; pictures with later names wait for it."""
    done: set[str] = set()
    states: dict[Path, tuple] = {}
    last = ""
    while not closed.is_set():
        try:
            names = {name for name in os.listdir(folder) if name.lower().endswith(PICTURES)}
        except OSError as error:
            yield "end", f"the folder cannot be read any more ({error.strerror})"
            return
        for name in sorted(names - done, key=by_number):
            item = _when_written(folder / name, states) if by_number(name) > by_number(last) else (
                "drop", f"{name} came after {last} and is left out")
            if item is None:
                break
            done.add(name)
            last = max(last, name, key=by_number)
            yield item
        closed.wait(POLL)
        yield None


def _when_written(path: Path, states: dict[Path, tuple]) -> np.ndarray | tuple[Kind, str] | None:
    """A picture; None while its file may still be written. `states` remembers the file from one look to the next."""
    try:
        state = os.stat(path)
    except OSError:
        return "drop", f"{path.name} was gone before it was read"
    known, since = states.get(path, (None, 0.0))
    if known != (state.st_size, state.st_mtime_ns):
        states[path] = ((state.st_size, state.st_mtime_ns), time.monotonic())
        if time.time() - state.st_mtime < SETTLED:
            return None
    elif time.monotonic() - since < POLL / 2:
        return None
    picture: np.ndarray | tuple[Kind, str]
    try:
        picture = read_picture(path)
    except VideoError as error:
        if time.time() - state.st_mtime < SETTLED:
            return None
        picture = "damage", str(error)
    states.pop(path, None)
    return picture


def iterate(frames: Iterable, rate: float | None, closed: Event) -> Iterator[Raw]:
    """Pictures of an iterator, or pairs of a second and a picture. Of pictures alone, `rate` make a second; without a
    rate they are shown when they come."""
    started, frames = time.monotonic(), iter(frames)
    for count in itertools.count():
        asked = time.monotonic()
        item = next(frames, None)
        if item is None or closed.is_set():
            break
        if (waited := time.monotonic() - asked) > STALL:
            yield "stall", f"the iterator took {waited:.1f} s for a frame"
        pair = item if isinstance(item, tuple) else (
            count / rate if rate else time.monotonic() - started, item)
        yield float(pair[0]), _checked(pair[1], count)
    yield "end", "the iterator has ended"


def _checked(pixels: object, count: int) -> np.ndarray:
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[-1] == 3:
        return pixels
    found = f"{pixels.dtype} of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
    raise LabError(f"frame {count} of the iterator is {found}; it must be a uint8 array (height, width, 3)")
