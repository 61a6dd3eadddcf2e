"""Videos of the shelf that are watched live. One request is one session: its answer goes on while the video runs.

A session lives as long as its connection. Once that is gone, because somebody has stopped the video, left the page or
ended the app, the source is closed, and the thread that answers the request ends with everything that it holds.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from ...data.live.sources import Source, SourceNote, open_source
from ...data.video import about_file
from ...errors import LabError
from ...model.d2vlm import D2VLM
from ...model.streaming.standing import StandingQuestion, Update, check_stands
from ...model.streaming.stream import check_streams
from ..live import Live
from .shelf import Kept, Shelf

DESCRIBE = "describe every event and when it happens."
AT_ONCE = 3  # videos that may be watched live at the same time
QUESTIONS, CHARACTERS = 3, 2000  # most questions in one session; most characters of each
LOOK = 0.25  # seconds between two looks at whether the page is still there


class Gone(Exception):
    """Nobody watches any more."""


class TooMany(LabError):
    """No further session can begin now."""


def why_not(model: D2VLM) -> str:
    """Why a checkpoint cannot watch a video live; empty where it can."""
    if model.method.block is None:
        return ("its frames look at all later frames, which are not there yet while a video runs. A checkpoint that "
                "was trained with method.frame_block can be used live, such as data/tiny-live")
    try:
        check_streams(model)
        check_stands(model)
    except LabError as error:
        return str(error)
    return ""


class Sessions:
    """What is being watched right now."""

    def __init__(self, shelf: Shelf):
        self.shelf, self.running, self.ended = shelf, set[Source](), False
        self.changed = threading.Condition()

    @contextmanager
    def watch(self, video: Kept, questions: Sequence[str], connection: socket.socket) -> Iterator[Iterator[dict]]:
        """The lines that the page gets, for as long as the connection is there."""
        lab = self.shelf.lab
        if reason := why_not(lab.model):
            raise LabError(f"this checkpoint cannot watch a video live: {reason}")
        asked = tuple(dict.fromkeys(lab.wording(question) for question in questions))
        if not 1 <= len(asked) <= QUESTIONS or any(len(question) > CHARACTERS for question in asked):
            raise LabError(f"questions: there are {len(asked)}; ask one to {QUESTIONS} at a time, each with up to "
                           f"{CHARACTERS:,} characters")
        with video.open():  # nobody has put anything else in its place
            with video.named():
                seconds, source = about_file(video.path).seconds, open_source(video.path, lab.fps)
            with self.listed(source), lab.listen(source, keep_frames=lab.max_frames) as live:
                live.turn = lambda: self.turn(source)
                with live.turn():
                    for question in asked:
                        live.wait_for(question)
                watcher = threading.Thread(target=close_when_left, args=(source, connection), daemon=True)
                watcher.start()
                try:
                    yield self.lines(live, video, seconds)
                finally:
                    source.closed.set()
                    watcher.join()

    @contextmanager
    def listed(self, source: Source) -> Iterator[None]:
        """Count a source among the sessions that run, of which only a few may run at once."""
        with self.changed:
            if self.ended or len(self.running) >= AT_ONCE:
                raise TooMany(f"{AT_ONCE} videos are already being watched live; stop one of them first")
            self.running.add(source)
        try:
            yield
        finally:
            with self.changed:
                self.running.discard(source)
                self.changed.notify_all()

    @contextmanager
    def turn(self, source: Source) -> Iterator[None]:
        """The model for this session alone, unless it is over."""
        with self.shelf.model_in_use:
            if source.closed.is_set():
                raise Gone
            yield

    def lines(self, live: Live, video: Kept, seconds: float) -> Iterator[dict]:
        """What is sent to the page: first about the session, then after every frame, and at last why it is over."""
        lab, shown = self.shelf.lab, [0] * len(live.questions)
        names = [standing.question for standing in live.questions]
        yield {"name": video.name, "end": seconds, "step": 1 / lab.fps, "questions": [
            {"text": name, "unknown": lab.unknown_words(name)} for name in names]}
        try:
            with video.named():
                for moment in live.moments():
                    curves = [newest(standing, before) for standing, before in zip(live.questions, shown)]
                    shown = [standing.speaker.frame for standing in live.questions]
                    yield {"now": live.now, "curves": curves,
                           "updates": [about(item, names) for item in moment if isinstance(item, Update)],
                           "notes": [item.message for item in moment if isinstance(item, SourceNote)]}
            yield {"over": "The video has ended."}
        except LabError as error:
            yield {"over": str(error), "failed": True}

    def end(self, patience: float) -> None:
        """End all sessions, let none begin, and wait until what they hold is free."""
        with self.changed:
            self.ended = True
            for source in self.running:
                source.closed.set()
            self.changed.wait_for(lambda: not self.running, patience)


def newest(standing: StandingQuestion, before: int) -> list[tuple[float, float]]:
    """Second and value of each frame of a curve after the first `before` frames."""
    skipped = len(standing.curve) - (standing.speaker.frame - before)
    return [(seconds, round(value, 4)) for seconds, value in islice(zip(standing.seconds, standing.curve),
                                                                  max(0, skipped), None)]


def about(update: Update, names: Sequence[str]) -> dict[str, object]:
    """An update as the page gets it."""
    return {"kind": type(update).__name__.lower(), "question": names.index(update.question), "number": update.number,
            "seconds": update.seconds, "interval": update.interval, "confidence": update.confidence,
            "latency": update.latency, "text": getattr(update, "text", "")}


def close_when_left(source: Source, connection: socket.socket) -> None:
    """A page that waits for an answer sends nothing. When something can be read, it has left or stopped.

    The source is only told: what it has opened is closed by the thread that reads from it.
    """
    while not source.closed.wait(LOOK):
        if select.select([connection], [], [], 0)[0]:
            source.closed.set()
