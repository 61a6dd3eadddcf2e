"""A synthetic world of short videos in which it is known exactly what happens when."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from ...errors import LabError
from ...settings import from_dict
from ..datasets import et_bench, et_instruct
from ..sample import Sample
from .config import PRESETS, WorldConfig
from .labels import frame_labels, frame_words
from .phrases import facts
from .scene import Scene, from_truth

__all__ = ["PRESETS", "Scene", "World", "WorldConfig", "load", "world_facts"]

FILES = {"train": "train.json", "val": "val.json", "test": "etbench.json"}


@dataclass(frozen=True)
class World:
    folder: Path
    config: WorldConfig
    fingerprint: str  # of annotations and videos

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The columns of `frame_labels`."""
        return frame_words(self.config)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word and sign of all questions, answers and captions, and the words of the frames."""
        samples = [sample for split in FILES for sample in self.samples(split)]
        texts = {text for s in samples for text in (s.question, *s.answer, *s.options, *(e.caption for e in s.events))
                 if isinstance(text, str)}
        words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.replace("<evi>", ""))}
        return tuple(sorted(words | set(self.words)))

    def samples(self, split: str) -> list[Sample]:
        """Questions of `train`, `val` or `test`; those of `test` have no answer text, only what scoring needs."""
        return list(_samples(self._file(split), self.fingerprint))

    def truth(self, split: str) -> list[Scene]:
        """What really happens in each video of a split, whatever the annotation says."""
        self._file(split)
        return [scene for scene in _scenes(self.folder / "truth.jsonl", self.fingerprint) if scene.split == split]

    def frame_labels(self, split: str) -> dict[str, np.ndarray]:
        """By video, (F, words) float32: which words are active on each frame."""
        return {scene.video: frame_labels(scene, self.words) for scene in self.truth(split)}

    def video_path(self, sample: Sample | Scene) -> Path:
        return self.videos / sample.video

    @property
    def baselines(self) -> dict:
        return json.loads((self.folder / "baselines.json").read_text(encoding="utf-8"))

    def _file(self, split: str) -> Path:
        if split not in FILES:
            raise LabError(f"a world has no split {split!r}; it has {', '.join(FILES)}")
        return self.folder / FILES[split]


def world_facts(world: World) -> dict[str, list[tuple[str, ...]]]:
    """What can be told wrong about a world's events: kind of fact -> things, each in all its forms."""
    return facts(world.config.colors, world.config.shapes, world.config.actions)


def load(folder: str | os.PathLike) -> World:
    """A world that `d2vlm-lab make-world` has made."""
    folder = Path(folder)
    try:
        card = json.loads((folder / "world.json").read_text(encoding="utf-8"))
        config = from_dict(WorldConfig, card["config"])
        return World(folder, config, (card["annotations"][:16] + card["videos"][:16]))
    except FileNotFoundError:
        raise LabError(f"{folder} is not a world (no world.json); make one with "
                       f"`d2vlm-lab make-world --out {folder}`") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LabError(f"{folder}/world.json is damaged ({error}); make the world again") from None


@cache
def _samples(path: Path, fingerprint: str) -> tuple[Sample, ...]:
    """Read once, until a world with another fingerprint lies there."""
    adapter = et_bench if path.name == FILES["test"] else et_instruct
    return tuple(adapter.read(path))


@cache
def _scenes(path: Path, fingerprint: str) -> tuple[Scene, ...]:
    with open(path, encoding="utf-8") as lines:
        return tuple(from_truth(json.loads(line)) for line in lines)
