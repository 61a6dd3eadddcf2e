"""A domain like surgical video (SurgViVQA, arXiv 2511.03325): the view is blurred or full of smoke for a while, and
held-out questions are asked in words that training never used.

What is true does not change: smoke and blur come and go, and let a part of the picture through.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import phrases
from .config import WorldConfig

EPISODE = (6, 16)  # frames for which smoke or blur stays
GREY = 205.0  # of smoke
DENSEST = 0.9  # of a cloud in its middle
PUFFS = 4  # clouds in an episode

# Templates for training, and other templates of the same meaning for what is held out.
OTHERWISE: dict[tuple, tuple[tuple[str, str], ...]] = {
    phrases.TVG: (
        ("at which moment is the {name} {doing}?", "It happens in {}."),
        ("the {name} does something: find when it {does}.", "It happens in {}."),
        ("is there a moment when the {name} {does}, and when is that?", "It happens in {}."),
    ),
    phrases.NTH: (
        ("the {name} {does} more than one time: when is the {nth} one?", "The {nth} time is in {}."),
    ),
    phrases.TAL: (
        ("all the times the {name} is {doing}: when are they?", "It happens in {all}."),
    ),
    phrases.GVQ_ACTION: (("what is the {name} doing, and when does it happen?", "It happens in {}."),),
    phrases.GVQ_OBJECT: (("when is something {doing}, and what is it?", "It happens in {}."),),
}
OTHERS = {template: others for templates, others in OTHERWISE.items() for template in templates}


def reworded(templates: Sequence[tuple[str, str]], config: WorldConfig, split: str,
             rng: np.random.Generator) -> Sequence[tuple[str, str]]:
    """The templates of a question, or others of the same meaning, for a share of what is held out."""
    if not config.reworded or split == "train" or templates[0] not in OTHERS or rng.random() >= config.reworded:
        return templates
    return OTHERS[templates[0]]


def veil(picture: np.ndarray, config: WorldConfig, rng: np.random.Generator) -> None:
    """Smoke and blur on (F, S, S, 3) frames."""
    for frame, strength in episodes(len(picture), config.blur, rng):
        picture[frame] = blurred(picture[frame], strength * picture.shape[1] / 20)
    clouds: list[np.ndarray] = []
    last = -2
    for frame, strength in episodes(len(picture), config.smoke, rng):
        if frame != last + 1:
            clouds = [rng.random(4) for _ in range(PUFFS)]
        last = frame
        cover = strength * smoke(clouds, frame, picture.shape[1])[..., None]
        picture[frame] += cover * (GREY - picture[frame])


def episodes(frames: int, share: float, rng: np.random.Generator) -> list[tuple[int, float]]:
    """The frames that are not clear, about this `share` of all, with a strength that rises to 1 and falls again."""
    found, frame = [], 0
    mean = sum(EPISODE) / 2
    while share and frame < frames:
        if share < 1:
            frame += round(rng.exponential(mean * (1 - share) / share))
        length = int(rng.integers(EPISODE[0], EPISODE[1] + 1))
        found += [(frame + k, float(np.sin(np.pi * (k + 1) / (length + 1)) ** 0.5)) for k in range(length)
                  if frame + k < frames]
        frame += length
    return found


def smoke(clouds: list[np.ndarray], frame: int, size: int) -> np.ndarray:
    """(S, S) how much of each pixel is covered by soft clouds that rise, each at its own speed."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size
    clear = np.ones((size, size), np.float32)
    for x, y, width, speed in clouds:
        y = (y - frame * (0.005 + 0.02 * speed)) % 1.2 - 0.1
        far = ((columns - x) ** 2 + (rows - y) ** 2) / (0.12 + 0.14 * width) ** 2
        clear *= 1 - DENSEST * np.exp(-far / 2)
    return 1 - clear


def blurred(frame: np.ndarray, sigma: float) -> np.ndarray:
    """(S, S, 3) out of focus by `sigma` pixels."""
    from scipy.ndimage import gaussian_filter  # imported late: other worlds do not need it

    return gaussian_filter(frame, (sigma, sigma, 0), mode="nearest")
