"""A world on disk: its questions, its videos, and the truth about them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

import numpy as np

from ...errors import LabError
from ...reader import read_json, read_lines
from ...settings import from_dict
from ..datasets import et_bench, et_instruct
from ..sample import Sample
from .config import WorldConfig
from .lessons import frame_labels, frame_words
from .phrases import Facts, facts
from .scene import Scene, Truth, from_truth

FILES = {"train": "train.json", "val": "val.json", "test": "etbench.json"}
TRUTH = "truth.jsonl"
TEXTS = (*FILES.values(), TRUTH)  # what a run reads of a world besides its videos
SPOKEN = "tglg.json"  # what a commentator of the test videos would say, and when


class WorldCard(TypedDict):
    """The part of world.json that is read."""

    config: dict[str, object]
    annotations: str
    videos: str


@dataclass(frozen=True)
class World:
    folder: Path
    config: WorldConfig
    fingerprint: str  # of annotations and videos

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def words(self) -> tuple[str, ...]:
        """The columns of `frame_labels`."""
        return frame_words(self.config)

    @property
    def facts(self) -> Facts:
        """What a wrong answer can change about an event, as `ideas.rejected.Words` takes it."""
        return facts(self.config.colors, self.config.shapes, self.config.actions, self.config.details)

    @property
    def baselines(self) -> dict:
        """The scores of guesses made without looking."""
        return read_json(self.folder / "baselines.json", dict)

    def samples(self, split: str) -> list[Sample]:
        """Questions of `train`, `val` or `test`; questions of `test` have no answer text, only what scoring needs."""
        return list(_samples(self._file(split), self.fingerprint))

    def truth(self, split: str) -> list[Scene]:
        """What really happens in each video of a split, even where the annotation is wrong."""
        self._file(split)
        return [scene for scene in _scenes(self.folder / TRUTH, self.fingerprint) if scene.split == split]

    def frame_labels(self, split: str) -> dict[str, np.ndarray]:
        """For each video, (F, words) float32: which words are active on each frame."""
        return {scene.video: frame_labels(scene, self.words) for scene in self.truth(split)}

    def video_path(self, sample: Sample | Scene) -> Path:
        return self.videos / sample.video

    def _file(self, split: str) -> Path:
        if split not in FILES:
            raise LabError(f"a world has no split {split!r}; it has {', '.join(FILES)}")
        return self.folder / FILES[split]


def load(folder: str | os.PathLike) -> World:
    """A world that `d2vlm-lab make-world` has made."""
    folder = Path(folder)
    if not os.path.lexists(folder / "world.json"):
        raise LabError(f"{folder} is not a world (no world.json); make one with "
                       f"`d2vlm-lab make-world --out {folder}`")
    try:
        card = read_json(folder / "world.json", WorldCard)
        return World(folder, from_dict(WorldConfig, card["config"]), card["annotations"][:16] + card["videos"][:16])
    except LabError as error:
        raise LabError(f"{folder}/world.json is damaged ({error}); make the world again") from None


@cache
def _samples(path: Path, fingerprint: str) -> tuple[Sample, ...]:
    """The samples of a file, which is read only once as long as the world has this fingerprint."""
    adapter = et_bench if path.name == FILES["test"] else et_instruct
    return tuple(adapter.read(path))


@cache
def _scenes(path: Path, fingerprint: str) -> tuple[Scene, ...]:
    try:
        return tuple(from_truth(record) for _, record in read_lines(path, Truth))
    except LabError as error:
        raise LabError(f"{error}; make the world again") from None
