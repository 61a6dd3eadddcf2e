"""Ask a video: `load(checkpoint).watch(path).ask("when does the red disc spin?")`."""

from __future__ import annotations

import base64
import copy
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch

from ..config import Forget, Pruning
from ..data.batch import Clip
from ..data.live.sources import open_source
from ..data.pruning import kept_frames
from ..data.sample import Sample, validate
from ..data.video import about_file, read_frames
from ..data.world.phrases import with_options
from ..errors import LabError
from ..ideas.evidence import END, Event, Interval, Reference, seconds
from ..judging.in_blocks import answers_now
from ..judging.predict import Prediction, predict, too_long
from ..model.card import SHAPES, knows_annotations
from ..model.checkpoint import DESCRIPTION, checkpoint_id
from ..model.checkpoint import load as load_model
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding
from ..model.device import on_device
from ..model.frames import encode_all
from ..model.rate import frames_as_trained
from ..model.seal import find_checkpoint
from ..model.streaming.memory import Kept, Memory
from ..model.streaming.stream import Stream
from ..model.towers.tiny import TinyFrames
from ..shapes import fit, shown
from .live import Live
from .show.card import Answered, Card, cards_html, picture

FRAMES = 8  # shown of a video
LETTERS = "ABCDE"  # of the options of a question
TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg"}
INSIDE = 8 * 2**20  # bytes of a video that still travels inside the page


@dataclass(frozen=True, repr=False)
class Lab:
    """A checkpoint that is ready to watch videos."""

    model: D2VLM
    name: str
    fps: float
    max_frames: int
    annotated: bool = False  # trained on annotations, and so on other words than those of the synthetic world
    keep_frames: int | None = None  # of these frames, the language model sees at most so many; None means all
    pruning: Pruning = "even"  # which ones, see data/pruning.py

    @property
    def world_only(self) -> bool:
        """Trained on nothing but the synthetic world."""
        return isinstance(self.model.frames, TinyFrames) and not self.annotated

    @property
    def expect(self) -> str:
        """What answers of this checkpoint are worth."""
        if not self.model.can_ground:
            return "Never taught to ground, so the times in its answers mean nothing."
        if self.world_only:
            return ("Trained on the synthetic world alone: it knows the few words of that world, in lower case, and "
                    "its few shapes and motions. On any other video it also answers, but the answer means nothing.")
        if isinstance(self.model.frames, TinyFrames):
            return f"{SHAPES} Ask in the words of the annotations that it was trained on."
        return "Works on any video, as well as its training data allow. Ask in plain words."

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.model.parameters()) / 1e6
        kept = f", of which the language model sees {self.keep_frames}" if self.keep_frames else ""
        return (f"{self.name}: {size:,.1f} million parameters, {self.model.method.style} answers, "
                f"{self.fps:g} frames a second, at most {self.max_frames}{kept}. {self.expect}")

    def watch(self, path: str | os.PathLike) -> Watched:
        """Read a video and encode its frames, once for all questions."""
        frames, path = self.model.frames, path_of(path, "a video")
        seen = read_frames(path, self.fps, frames.preparation.frames, self.max_frames, clock=frames.preparation.clock)
        features = encode_all(frames, torch.from_numpy(seen.frames).to(self.model.device))
        kept = kept_frames(features, self.keep_frames, self.pruning)
        length = 0.0 if os.path.isdir(path) else about_file(Path(path)).seconds
        return Watched(self, Path(path), seen.frames[kept], Clip(features[kept], seen.timestamps[kept]), length=length)

    def listen(self, source, block: int | None = None, keep_seconds: float | None = None,
               keep_frames: int | None = None, forget: Forget = "oldest", sinks: int = 4,
               pace: float | None = 1.0) -> Live:
        """A video that is still running; to be used in a `with`.

        `source` is a file, which is played at its own pace times `pace` (None: as fast as it can be read), or anything
        else that `data/live/sources.py` opens. `block`: how many frames are read at a time, instead of as many as the
        checkpoint was trained with. `keep_seconds`, `keep_frames`, `forget` and `sinks` bound what is kept; they are
        explained in `model/streaming/memory.py`.
        """
        model = self.model
        if block is not None:
            model = copy.copy(model)
            model.method = replace(model.method, bidirectional_frames=True, frame_block=block)
        stream = Stream(model, Memory(keep_seconds, keep_frames, forget, sinks))
        lab = replace(self, model=model)

        def view(frames: np.ndarray, kept: Kept) -> Watched:
            return Watched(lab, Path("live"), frames, kept.clip(), kept)

        return Live(stream, open_source(source, self.fps, pace), view, self.wording)

    def wording(self, text: str) -> str:
        """The text as this checkpoint knows it: the synthetic world writes all but (A), (B), ... in lower case."""
        return re.sub(r"\([a-e]\)", lambda letter: letter[0].upper(), text.lower()) if self.world_only else text

    def unknown_words(self, text: str) -> list[str]:
        """Words of a question that a checkpoint of the world has never seen; empty for all other checkpoints."""
        if not self.world_only:
            return []
        encode = self.model.tokenizer.encode
        words = dict.fromkeys(re.findall(r"[^\W\d_]{2,}", re.sub(r"</?evi>", "", text)))
        return [word for word in words if len(encode(" " + word, add_special_tokens=False)) > 1]


@dataclass(frozen=True)
class Watched:
    """A video that a checkpoint has seen."""

    lab: Lab = field(repr=False)
    path: Path
    frames: np.ndarray = field(repr=False)  # (F, H, W, 3)
    clip: Clip = field(repr=False)
    kept: Kept | None = field(default=None, repr=False)  # of a video that is still running: what was read of it
    length: float = field(default=0.0, repr=False)  # seconds of the video, 0 where its file does not say

    @property
    def timestamps(self) -> np.ndarray:
        return self.clip.timestamps

    @property
    def step(self) -> float:
        """Seconds for which a frame stays; a single one stays to the end."""
        if len(self.timestamps) > 1:
            return float(np.median(np.diff(self.timestamps)))
        return max(0.0, self.length - float(self.timestamps[0])) or 1.0

    def sample(self, text: str, options: Sequence[str] = (), intervals: Sequence[Interval] = ()) -> Sample:
        """A question about this video; each `<evi>` in it stands for one of `intervals`, in seconds."""
        if not text.strip():
            raise LabError("the question is empty; ask something, such as 'when does the red disc spin?'")
        text = with_options(text, list(options)) if options else text
        if repeated := [option for option in options if list(options).count(option) > 1]:
            raise LabError(f"options: {shown(repeated[0])} is there twice")
        last = float(self.timestamps[-1])
        end = max(self.length, last) if self.length else last + self.step
        return validate(Sample("asked", "video", end, "", "lab", text, options=tuple(options),
                               question_intervals=tuple(intervals)))

    def check_length(self, text: str) -> None:
        """An error for a question that the language model has no room for beside the frames."""
        if problem := too_long(self.lab.model, self.clip, text):
            fewer = "load the checkpoint with fewer max_frames" if self.kept is None else "listen with keep_frames"
            raise LabError(f"{problem}; ask something shorter, or {fewer}")

    def ask(self, text: str, options: Sequence[str] = (), intervals: Sequence[Interval] = (),
            decoding: Decoding | None = None) -> Answer:
        """The model's answer; `options` make it a choice between (A), (B), ..."""
        text, options = fit(text, str, path="the question"), fit(list_of(options), list[str], path="options")
        intervals = fit(list_of(intervals), list[tuple[float, float]], path="intervals")
        if len(options) > len(LETTERS):
            raise LabError(f"options: there are {len(options)}; a question has at most {len(LETTERS)}")
        if not (decoding is None or isinstance(decoding, Decoding) and decoding.max_new_tokens > 0):
            raise LabError(f"decoding is {shown(decoding)}; it must be a Decoding with at least one new token")
        known, options = self.lab.wording(text), [self.lab.wording(option) for option in options]
        sample = self.sample(known, options, intervals)
        self.check_length(sample.question)
        if self.kept is None:
            prediction = next(predict(self.lab.model, [sample], lambda _: self.clip, decoding))
        else:
            prediction, = answers_now(self.lab.model, [sample], self.kept, decoding)
        unknown = self.lab.unknown_words(sample.question)
        notes = ["Asked in lower case, like all questions of the synthetic world."] if known != text else []
        notes += [f"This checkpoint has never seen the words: {', '.join(unknown)}."] if unknown else []
        notes += ["Cut off at the limit of new tokens."] if not prediction.generated.finished else []
        notes += ["The times mean nothing: it was never taught to ground."] if not self.lab.model.can_ground else []
        return Answer(self, prediction, " ".join(notes))


@dataclass(frozen=True)
class Answer:
    """What was answered, and the evidence for it."""

    watched: Watched = field(repr=False)
    prediction: Prediction = field(repr=False)
    note: str

    @property
    def question(self) -> str:
        return self.prediction.sample.question

    @property
    def written(self) -> str:
        """Token by token as the model wrote it, `<evi>` and `</evi>` included."""
        return self.prediction.generated.text

    @property
    def text(self) -> str:
        """With every time in seconds; what is before `</evi>` is the grounding stage."""
        return self.prediction.text

    @property
    def intervals(self) -> list[Interval]:
        """What happened when, in seconds."""
        return self.prediction.intervals

    @property
    def references(self) -> tuple[Reference, ...]:
        """The mentions of evidence inside the text."""
        return self.prediction.generated.answer.references

    @property
    def similarity(self) -> np.ndarray:
        """(E, F) one curve for each `<evi>`, in the order in which they were written."""
        curves = [evidence.curve for evidence in self.prediction.generated.evidence]
        return np.stack(curves) if curves else np.zeros((0, len(self.watched.timestamps)))

    def card(self, truth: Sequence[Event] = ()) -> Card:
        """Frames, intervals and their curves on one time line; with the `truth`, where it is known."""
        watched = self.watched
        first = len(self.prediction.generated.answer.grounded) or None  # later curves are of second mentions
        shown = np.linspace(0, len(watched.frames) - 1, min(FRAMES, len(watched.frames))).round().astype(int)
        answer = Answered(self.text, tuple(self.intervals), curves=tuple(map(tuple, self.similarity[:first])))
        frames = tuple((float(watched.timestamps[k]), picture(watched.frames[k])) for k in shown)
        player = video_source(watched.path) if watched.kept is None else ""  # a video that still runs has no file
        return Card(self.question, (answer,), tuple(truth), shown=tuple(watched.timestamps[[0, -1]].tolist()),
                    times=tuple(watched.timestamps.tolist()), step=watched.step, length=watched.length, frames=frames,
                    video=watched.path.name, player=player, note=self.note)

    def __str__(self) -> str:
        """What was grounded first, on a line of its own, then the answer in words, then what a reader should know."""
        grounded = [seconds(interval) for interval in self.prediction.generated.answer.grounded if interval]
        lines = [f"found: {', '.join(grounded)} s"] if grounded else []
        lines += [self.text.rpartition(END)[2].strip()]
        return "\n".join(lines + ([f"({self.note})"] if self.note else []))

    def _repr_html_(self) -> str:
        return f"{cards_html([self.card()])}<p><small>{escape(str(self.watched.lab))}</small></p>"


def load(checkpoint: str | os.PathLike, fps: float | None = None, max_frames: int | None = None,
         device: str | None = None, revision: str | None = None) -> Lab:
    """A checkpoint of this project, or one laid out as the authors'; it sees as many frames as it was trained with.

    It is a folder or a hub id, whose `revision` may also follow it after an `@`.

    It is put on a GPU if there is one, unless `device` says otherwise.
    """
    if not (fps is None or (type(fps) in (int, float) and 0 < fps < np.inf)):
        raise LabError(f"fps is {shown(fps)}; it must be a positive number of frames a second")
    if not (max_frames is None or type(max_frames) is int and max_frames > 0):
        raise LabError(f"max_frames is {shown(max_frames)}; it must be a positive whole number")
    folder = find_checkpoint(path_of(checkpoint, "a checkpoint"), revision)
    if not os.path.isdir(folder):
        raise LabError(f"{shown(str(checkpoint))}: no such folder; give that of a checkpoint (it holds {DESCRIPTION})")
    model = on_device(load_model(folder), device)
    name = f"{checkpoint} ({checkpoint_id(folder) if (folder / DESCRIPTION).exists() else 'imported'})"
    otherwise = 2.0 if isinstance(model.frames, TinyFrames) else 1.0
    seen = frames_as_trained(folder, fps, max_frames, otherwise)
    return Lab(model, name, seen.fps, seen.max_frames, knows_annotations(folder), seen.keep_frames, seen.pruning)


def path_of(path, what: str) -> str:
    """A path as text; anything else is an error."""
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise LabError(f"{shown(path)} is no path; give the path of {what}")
    return os.fsdecode(path)


def list_of(values) -> list:
    """A list of what was given; a text by itself is not taken apart into letters, so that it becomes an error."""
    return values.tolist() if isinstance(values, np.ndarray) else list(values) if isinstance(values, tuple) else values


def video_source(path: Path) -> str:
    """Where a page finds the video: inside the page if it is small, else at its path from the working folder."""
    if not path.is_file():
        return ""  # a folder of pictures, which no page can play, or gone since it was read
    if path.stat().st_size > INSIDE:
        return quote(Path(os.path.relpath(path)).as_posix())
    kind = TYPES.get(path.suffix.lower(), "video/mp4")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
