"""The questions of a benchmark, in portions that are answered together, so that each video is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from ..data.batch import Clip
from ..data.groups import Reader
from ..data.sample import Sample
from ..data.video import VideoError
from ..model.d2vlm import D2VLM
from ..model.frames import encoded
from .benchmarks import Question, video_path

AT_ONCE = 128  # questions of a portion, after which their answers are written
ROOM = 2**30  # bytes of frames or features that are held for a portion; one video may be larger


class Once:
    """A reader that remembers what it has read, so that a video is read once for all questions about it.

    With a model, frames without features in a cache are encoded here, so that this, too, is done once.
    """

    def __init__(self, read: Reader, model: D2VLM | None = None):
        self.read, self.model = read, model
        self.clips: dict[str, Clip | VideoError] = {}
        self.bytes = 0  # of all clips

    def __call__(self, sample: Sample) -> Clip:
        if sample.video not in self.clips:
            try:
                clip = self.clips[sample.video] = self.encoded(self.read(sample))
                self.bytes += clip.features.nbytes
            except VideoError as error:
                self.clips[sample.video] = error
        clip = self.clips[sample.video]
        if isinstance(clip, VideoError):
            raise clip
        return clip

    def encoded(self, clip: Clip) -> Clip:
        if self.model is None or clip.features.dtype != torch.uint8:
            return clip
        features, = encoded(self.model.frames, [clip.features.to(self.model.device)])
        return replace(clip, features=features)

    def keep_last(self) -> None:
        """Forget all but the last one, about which there may be more questions."""
        last = list(self.clips)[-1]
        self.clips = {last: self.clips[last]}
        self.bytes = 0 if isinstance(self.clips[last], VideoError) else self.clips[last].features.nbytes


def video_numbers(questions: Sequence[Question], videos: Path) -> list[int]:
    """The number of each question's video, in the order in which the videos first appear."""
    files = [video_path(videos, sample.video) for sample, _ in questions]
    number = {file: k for k, file in enumerate(dict.fromkeys(files))}
    return [number[file] for file in files]


def in_shard(questions: Sequence[Question], videos: Path, index: int, count: int) -> list[Question]:
    """The questions about every `count`-th video from the `index`-th on: all about one video are in one shard."""
    return [question for question, number in zip(questions, video_numbers(questions, videos))
            if number % count == index]


def by_video(questions: Sequence[Question], videos: Path) -> list[Question]:
    """The questions about a video one after the other, the videos in the order in which they first appear."""
    numbers = video_numbers(questions, videos)
    return [questions[k] for k in sorted(range(len(questions)), key=numbers.__getitem__)]


def portions(questions: Sequence[Question], read: Reader, once: Once) -> Iterator[list[Question]]:
    """Questions to be answered together: not too many, and about videos that fit into memory together."""
    portion = []
    for question in questions:
        portion.append(question)
        with suppress(VideoError):
            read(question[0])
        if len(portion) == AT_ONCE or once.bytes > ROOM:
            yield portion
            portion = []
            once.keep_last()
    if portion:
        yield portion
