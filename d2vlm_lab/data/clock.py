"""Draws the time of each frame on its picture, as the clock of a camera does: white digits on black in a corner.

The digits are drawn after a frame has been resized, so that they are as sharp as the vision tower can see, even in
small pictures. A digit has 3 x 5 dots.
"""

from __future__ import annotations

import numpy as np

# Each digit as five rows of three dots, which are the bits of a number from 0 to 7.
FONT = {"0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71122",
        "8": "75757", "9": "75717", ".": "00002"}


def draw_times(frames: np.ndarray, timestamps: np.ndarray) -> None:
    """Write the seconds, such as 3.5, into the upper left corner of each of (F, H, W, 3) uint8 frames, in place."""
    height, width = frames.shape[1:3]
    for frame, seconds in zip(frames, timestamps.tolist()):
        dots = lettering(f"{max(0.0, seconds):.1f}")
        size = max(1, min(dot_size(height, width), width // dots.shape[1]))
        label = dots.repeat(size, 0).repeat(size, 1)[:height, :width]
        frame[:label.shape[0], :label.shape[1]] = np.where(label, 255, 0)[..., None]


def dot_size(height: int, width: int) -> int:
    """How many pixels a side a dot has: 1 in a picture of 32, 2 in one of 64, 4 in one of 224."""
    side = min(height, width)
    return max(1, min(2, side // 32), side // 56)


def lettering(text: str) -> np.ndarray:
    """(7, W) True where a dot is white; around each digit, and the point of one column, there is a line of black."""
    rows = [[int(row) for row in FONT[digit]] for digit in text]
    dots = np.array([[[row >> bit & 1 for bit in (2, 1, 0, 3)] for row in digit] for digit in rows], dtype=bool)
    whole = [glyph if digit != "." else glyph[:, [1, 3]] for digit, glyph in zip(text, dots)]
    return np.pad(np.concatenate(whole, 1), ((1, 1), (1, 0)))
