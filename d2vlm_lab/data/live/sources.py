"""Frames that come one by one: from a file that plays, a camera, an address, a folder that grows, or any iterator.

Whatever else a source does - it stalls, jumps, repeats itself, changes its size, ends - a note in the same stream says
so, and the stream goes on wherever it can. Frames are thinned to `fps` exactly as `video.read_frames` chooses them, so
that a file gives the same frames live and as a whole.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Condition, Event, Lock, Thread
from typing import Any

import numpy as np

from ...errors import LabError
from ...shapes import shown
from ..video import FOLDER_FPS, about_file
from .playing import POLL, PROTOCOLS, Kind, Raw, hidden, iterate, patient, play, receive, watch_folder

PAUSE = 3.0  # a pause of at least a second that is this many times as long as usual is a gap
JUMP = 3600.0  # seconds: a longer pause is not a gap, but a clock that was set anew
FROZEN = 5.0  # seconds for which a picture may stay the same to the last bit before a note says so
CLOSE = 1e-3  # seconds by which a frame may miss a tick of the clock, as in `video.choose`
GIVEN_UP = 1.0  # seconds for which leaving a source waits for its thread
WAITING = 256 * 2**20  # most bytes of frames from an address that wait to be used; beyond that, the oldest are lost


@dataclass(frozen=True)
class TimedFrame:
    """A frame, counted from 0 without gaps, and the second at which it is shown, which only ever grows."""

    index: int
    seconds: float
    pixels: np.ndarray  # (H, W, 3) uint8


@dataclass(frozen=True)
class SourceNote:
    """What happened to a source besides a frame, and at which second of it."""

    seconds: float
    kind: Kind
    message: str


Item = TimedFrame | SourceNote


class Source:
    """An iterable of frames and notes, to be used in a `with`: leaving it stops threads and closes files.

    A thread that waits for a silent sender ends when its patience does.
    """

    def __init__(self, start: Callable[[Event], Iterator[Raw]], fps: float | None = None, lossy: bool = False):
        if not (fps is None or 0 < fps < math.inf):
            raise LabError(f"fps is {shown(fps)}; it must be a positive number of frames a second")
        self.closed = Event()
        items = thinned(steady(start(self.closed)), fps)
        self._items = _numbered(buffered(items, self.closed, 1 / fps if fps else 0.0) if lossy else items, self.closed)
        self._reading = Lock()  # held by whoever is inside `_items`

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._reading:
            item = next(self._items)
            if self.closed.is_set():  # meanwhile, by another thread
                self._items.close()
                raise StopIteration
            return item

    def close(self) -> None:
        """Another thread may call this, too; the one that iterates then gets no more items, and closes what is open."""
        self.closed.set()
        if self._reading.acquire(blocking=False):
            self._items.close()
            self._reading.release()


def open_source(what: str | os.PathLike | Iterable | Source, fps: float | None = None, pace: float | None = 1.0,
                rate: float | None = None, patience: float = 10.0) -> Source:
    """A source for a file, an address such as rtsp://..., a camera (`camera:0`), a folder that grows, or an iterator.

    fps: largest number of frames a second that are kept. pace: how many times as fast a file is played as it was
    recorded; None reads it as fast as it is used. rate: how many pictures of a folder, or of an iterator without times,
    make a second (default for a folder: 3; for an iterator: each is shown when it comes). patience: number of seconds
    without a frame after which an address or a folder counts as ended.
    """
    for name, value in (("pace", pace), ("rate", rate), ("patience", patience)):
        if not (value is None and name != "patience" or isinstance(value, (int, float)) and 0 < value < math.inf):
            raise LabError(f"{name} is {shown(value)}; it must be a positive number")
    if isinstance(what, Source):
        return what
    if not isinstance(what, (str, os.PathLike)):
        if not isinstance(what, Iterable):
            raise LabError(f"{shown(what)} is no source; give a file, an address, a folder or an iterator of frames")
        return Source(partial(iterate, what, rate), fps)
    text = os.fsdecode(what)
    if text.startswith("camera:") or "://" in text:
        check_address(text)
        return Source(partial(receive, text, patience), fps, True)
    if os.path.isdir(text):
        return Source(partial(watch_folder, Path(text), rate or FOLDER_FPS, patience), fps)
    about_file(Path(text))  # an error where it holds no video
    return Source(partial(play, Path(text), pace), fps)


def check_address(address: str) -> None:
    """An error for an address that would read a file, or wait for others to connect to this machine."""
    kind, _, rest = address.partition(":")
    if kind not in (*PROTOCOLS.split(","), "camera"):
        raise LabError(f"{shown(hidden(address))}: an address begins with one of {', '.join(PROTOCOLS.split(','))}")
    if "listen" in rest.partition("?")[2]:
        raise LabError(f"{shown(hidden(address))}: this would wait for others to connect; give the address of a sender")


class _TimeLine:
    """Decides where each frame of a source belongs in time, and what is odd about the frame."""

    def __init__(self):
        self.now = self.unchanged = -math.inf  # times of the last frame, and of the first one with the same picture
        self.usual = self.offset = 0.0  # seconds between two frames; seconds that the source's clock has lost
        self.pixels: np.ndarray | None = None

    def place(self, seconds: float, pixels: np.ndarray) -> tuple[float | None, list[tuple[Kind, str]]]:
        """The second of a frame, or None for a frame that is left out, and notes."""
        seconds += self.offset
        if not math.isfinite(seconds):
            return None, [("drop", f"a frame whose time is {seconds} is left out")]
        notes: list[tuple[Kind, str]] = []
        step = seconds - self.now
        if self.pixels is None:
            self.unchanged = seconds
        elif step < -1 or step > JUMP:
            notes.append(("jump", f"the time jumps by {step:+.1f} s; it goes on from {self.now:.1f} s"))
            self.offset -= step - (self.usual or 1 / 30)
            seconds = self.now + (self.usual or 1 / 30)
        elif step <= 0:
            return None, [("drop", f"a frame for {seconds:.3f} s came after that for {self.now:.3f} s and is left out")]
        elif self.usual and step > max(1.0, PAUSE * self.usual):
            notes.append(("gap", f"no frame for {step:.1f} s"))
        else:
            self.usual = 0.9 * self.usual + 0.1 * step if self.usual else step
        notes += self._compare(seconds, pixels)
        self.now, self.pixels = seconds, pixels
        return seconds, notes

    def _compare(self, seconds: float, pixels: np.ndarray) -> Iterator[tuple[Kind, str]]:
        if self.pixels is None:
            return
        if pixels.shape != self.pixels.shape:
            sizes = ["{1}x{0}".format(*each.shape) for each in (self.pixels, pixels)]
            yield "size", "frames of {} pixels are now {}".format(*sizes)
        elif np.array_equal(pixels, self.pixels):
            if self.now - self.unchanged < FROZEN <= seconds - self.unchanged:
                yield "repeat", f"the picture has been the same to the last bit for {FROZEN:g} s"
            return
        self.unchanged = seconds


def steady(raw: Iterator[Raw]) -> Iterator[tuple[float, np.ndarray] | SourceNote]:
    """Frames whose time only grows, with notes on what is odd. Of equal notes in a row, only the first is given."""
    line, said = _TimeLine(), set()
    for item in raw:
        notes: list[tuple[Kind, str]]
        seconds, notes = (None, [item]) if isinstance(item[0], str) else line.place(*item)  # type: ignore[list-item]
        for kind, message in notes:
            if kind not in said:
                yield SourceNote(max(0.0, line.now), kind, message)
        said = {kind for kind, _ in notes}
        if seconds is not None:
            yield seconds, item[1]  # type: ignore[misc]


def thinned(items: Iterator, fps: float | None) -> Generator:
    """The frames on screen at the ticks of a clock that starts with the first frame, as `video.choose` finds them."""
    held, first, ticks = None, None, 0  # the newest frame, until it is known whether a tick shows it; ticks before it
    for item in items:
        if isinstance(item, SourceNote) or fps is None:
            yield item
            continue
        seconds = item[0]
        first = seconds if first is None else first
        before = max(0, math.ceil((seconds - first - CLOSE) * fps))
        if held is not None and before > ticks:
            yield held
        held, ticks = item, before
        if ticks <= (seconds - first) * fps + CLOSE * min(1.0, fps):  # no later frame can replace it before that tick
            yield item
            held = None
    if held is not None and ticks <= (held[0] - first) * fps + CLOSE:
        yield held


def _numbered(items: Generator, closed: Event) -> Generator[Item]:
    count = 0
    try:
        for item in items:
            if closed.is_set():
                return
            if not isinstance(item, SourceNote):
                item, count = TimedFrame(count, *item), count + 1
            yield item
    finally:
        items.close()


class _Inbox:
    """Holds what another thread has read from a source. If frames are not fetched in time, the oldest are lost."""

    def __init__(self):
        self.items: deque = deque()
        self.changed = Condition()
        self.held, self.lost, self.over = 0, 0, False
        self.error: BaseException | None = None

    def fill(self, items: Generator, closed: Event) -> None:
        try:
            for item in items:
                if closed.is_set():
                    break
                self._put(item)
        except BaseException as error:  # raised again where the items are used
            self.error = error
        finally:
            items.close()
            with self.changed:
                self.over = True
                self.changed.notify()

    def _put(self, item: Any) -> None:
        with self.changed:
            self.items.append(item)
            self.held += _bytes(item)
            notes = []
            while self.held > WAITING and len(self.items) > 1:
                old = self.items.popleft()
                if isinstance(old, SourceNote):
                    notes.append(old)
                else:
                    self.held, self.lost = self.held - _bytes(old), self.lost + 1
            self.items.extendleft(reversed(notes))
            self.changed.notify()

    def taken(self) -> Iterator:
        """Items as they come; None when there is none for a moment."""
        while True:
            with self.changed:
                if not self.items and not self.over:
                    self.changed.wait(POLL)
                lost, self.lost = self.lost, 0
                item = self.items.popleft() if self.items else None
                self.held -= _bytes(item)
                done = item is None and self.over
            if lost:
                yield "drop", f"{lost} frames came faster than they were used and are lost"
            if done:
                if self.error:
                    raise self.error
                return
            yield item


def buffered(items: Generator, closed: Event, usual: float) -> Generator:
    """The same items, some `usual` seconds apart, but read in a separate thread, so that a sender never has to wait."""
    inbox, now = _Inbox(), 0.0
    thread = Thread(target=inbox.fill, args=(items, closed), name="d2vlm-lab source", daemon=True)
    thread.start()
    try:
        for item in patient(inbox.taken(), math.inf, usual):
            if isinstance(item, SourceNote):
                now = item.seconds
            elif isinstance(item[0], str):
                item = SourceNote(now, *item)
            else:
                now = item[0]
            yield item
    finally:
        closed.set()
        thread.join(GIVEN_UP)


def _bytes(item: Any) -> int:
    return 0 if item is None or isinstance(item, SourceNote) else item[1].nbytes
