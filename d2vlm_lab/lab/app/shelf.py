"""The videos of the app: examples, and what was dropped on the page. Only these can be asked about and sent back."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...data.sample import brief
from ...errors import LabError
from ...ideas.evidence import Event
from ..ask import TYPES, Answer, Lab, Watched

SUFFIXES = (*TYPES, ".mkv", ".avi")  # the last two are read here, although most browsers cannot play them
CHUNK = 2**20
SHOWN = 200  # characters of a name


class NotThere(LabError):
    """A video that was never here, or is here no longer."""


@dataclass(frozen=True)
class Kept:
    """A video under a name that cannot be guessed."""

    id: str
    name: str  # as its owner calls it; no path is ever made of it
    path: Path
    questions: tuple[tuple[str, tuple[Event, ...]], ...] = ()  # that fit an example, with what is true

    @property
    def about(self) -> dict[str, object]:
        """What the page knows of it."""
        return {"id": self.id, "name": self.name, "questions": [question for question, _ in self.questions]}

    def truth(self, question: str) -> tuple[Event, ...]:
        """The true events, where this is a question of an example."""
        return dict(self.questions).get(question, ())

    def open(self) -> BinaryIO:
        """The file itself, and nothing that somebody has put in its place to point elsewhere."""
        try:
            return os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except OSError:
            raise NotThere(f"{brief(self.name)} is no longer there") from None

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors inside call the video as its owner does."""
        try:
            yield
        except LabError as error:
            raise LabError(str(error).replace(str(self.path), brief(self.name))) from None


class Shelf:
    """Examples for good, and the last `keep` videos that were dropped. Several threads may use it at once."""

    def __init__(self, lab: Lab, folder: Path, keep: int = 8, limit: int = 200 * 2**20):
        self.lab, self.folder, self.keep, self.limit = lab, folder, keep, limit
        self.examples: dict[str, Kept] = {}
        self.dropped: dict[str, Kept] = {}  # the oldest first
        self._watched: dict[str, Watched] = {}
        self._changing = threading.Lock()
        self.model_in_use = threading.Lock()  # a model answers one question at a time

    def add_example(self, path: Path, questions: tuple[tuple[str, tuple[Event, ...]], ...] = ()) -> None:
        video = Kept(secrets.token_hex(16), path.name, path, questions)
        self.examples[video.id] = video

    def find(self, id: str) -> Kept:
        if (video := self.examples.get(id) or self.dropped.get(id)) is None:
            raise NotThere("this video is no longer kept; drop it on the page once more")
        return video

    def drop(self, name: str, length: int, read: Callable[[int], bytes]) -> Kept:
        """Keep a video of `length` bytes that `read` hands over, once it has been looked at by the model."""
        suffix = Path(name).suffix.lower()
        if suffix not in SUFFIXES:
            raise LabError(f"{brief(name)}: the name of a video ends with {', '.join(SUFFIXES)}")
        if not 0 < length <= self.limit:
            raise LabError(f"{brief(name)} has {length / 2**20:,.1f} MB; a video may have up to "
                           f"{self.limit / 2**20:,.0f} MB, and must not be empty")
        id = secrets.token_hex(16)
        video = Kept(id, name[:SHOWN], self.folder / f"{id}{suffix}")
        try:
            with open(video.path, "xb") as file:
                while length and (part := read(min(CHUNK, length))):
                    length -= file.write(part)
            if length:
                raise LabError(f"{brief(name)}: the connection broke before all of it was here")
            self.watched(video)
        except BaseException:
            self._forget(video)
            raise
        with self._changing:
            self.dropped[id] = video
            oldest = [self.dropped.pop(first) for first in list(self.dropped)[:-self.keep]]
        for other in oldest:
            self._forget(other)
        return video

    def watched(self, video: Kept) -> Watched:
        """The frames of a video as the model sees them, encoded once."""
        with self.model_in_use:
            if video.id not in self._watched:
                with video.open(), video.named():  # opened first, since what is in its place may point elsewhere
                    self._watched[video.id] = self.lab.watch(video.path)
            return self._watched[video.id]

    def ask(self, video: Kept, question: str) -> Answer:
        watched = self.watched(video)
        with self.model_in_use:
            return watched.ask(question)

    def _forget(self, video: Kept) -> None:
        """Remove what was dropped, once nobody asks about it."""
        with self.model_in_use:
            self._watched.pop(video.id, None)
            video.path.unlink(missing_ok=True)
