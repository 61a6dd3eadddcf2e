"""What happens on each frame as words: the truth from which a frame encoder learns to see."""

from __future__ import annotations

import numpy as np

from .config import WorldConfig
from .phrases import VERBS
from .scene import Scene


def frame_words(config: WorldConfig) -> tuple[str, ...]:
    """A word for each colour, shape and action; the columns of `frame_labels`."""
    return (*config.colors, *config.shapes, *(VERBS[action][2] for action in config.actions))


def frame_labels(scene: Scene, words: tuple[str, ...]) -> np.ndarray:
    """(F, words) float32: 1 where a thing of that colour or shape is doing something, or that is what it does."""
    column = {word: k for k, word in enumerate(words)}
    labels = np.zeros((scene.n_frames, len(words)), np.float32)
    for event in scene.events:
        thing = scene.things[event.thing]
        active = [column[word] for word in (thing.color, thing.shape, VERBS[event.action][2])]
        labels[event.first:event.last + 1, active] = 1
    return labels
