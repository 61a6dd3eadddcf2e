"""The knobs of a world, all in one dataclass, and three worlds to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...settings import ConfigError, from_dict, override, suggest

Color = Literal["red", "green", "blue", "yellow", "purple", "white", "orange", "cyan"]
Shape = Literal["disc", "square", "triangle", "cross"]
Action = Literal["moves left", "moves right", "moves up", "moves down", "spins", "grows", "shrinks", "blinks",
                 "appears"]


@dataclass(frozen=True)
class WorldConfig:
    videos: int = 2500  # number of videos for training; validation and test have a tenth of that each
    seed: int = 0  # seed of everything random; the same seed and settings give the same world
    size: int = 64  # width and height of the videos, in pixels
    frames: int = 32  # number of frames of a video
    fps: float = 2.0  # frames per second
    colors: tuple[Color, ...] = ("red", "green", "blue", "yellow")  # colours that objects may have
    shapes: tuple[Shape, ...] = ("disc", "square")  # shapes that objects may have
    actions: tuple[Action, ...] = ("moves left", "moves right", "spins", "blinks")  # what objects may do
    objects: tuple[int, int] = (2, 3)  # smallest and largest number of objects in a video, no two of them alike
    events: tuple[int, int] = (1, 3)  # smallest and largest number of events in a video
    event_frames: tuple[int, int] = (3, 12)  # smallest and largest number of frames of an event
    gap: int = 2  # smallest number of quiet frames between two events
    repeats: float = 0.35  # share of events that repeat an earlier one
    overlap: float = 0.0  # share of events that begin before the last one has ended
    nested: float = 0.0  # share of events that lie inside the last one
    look: Literal["dusk", "paper"] = "dusk"  # background: dark clouds, or bright paper with stripes
    radius: float = 0.16  # radius of an object, as a share of the picture
    clutter: int = 2  # number of small grey specks that drift about and mean nothing
    camera_noise: float = 3.0  # standard deviation of the noise on every pixel, whose values go up to 255
    shot_frames: int = 0  # frames between two cuts, on average; 0 means no cuts
    questions: int = 16  # largest number of questions about a video
    negatives: float = 0.5  # share of training videos with a question about what never happens
    jitter: float = 0.0  # standard deviation of the noise on annotated starts and ends, in seconds (training only)
    dropped: float = 0.0  # share of events missing from the annotation (training only)

    def __post_init__(self):
        """Refuse values that are impossible, alone or together."""
        def need(condition: bool, message: str):
            if not condition:
                raise ConfigError(message)

        for name in ("objects", "events", "event_frames"):
            low, high = getattr(self, name)
            need(1 <= low <= high, f"{name} is [{low}, {high}]; give the smallest number, at least 1, then the largest")
        for name in ("repeats", "overlap", "nested", "negatives", "dropped"):
            need(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; it is a share between 0 and 1")
        for name in ("colors", "shapes", "actions"):
            values = getattr(self, name)
            need(len(set(values)) == len(values) > 0, f"{name} is {list(values)}; give at least one, each only once")
        need(self.videos >= 1 and self.fps > 0 and self.questions >= 1 and self.seed >= 0,
             "videos, fps and questions must be positive, and seed not negative")
        need(self.size >= 32 and self.size % 2 == 0, f"size is {self.size}; use an even number of at least 32 pixels")
        need(0.08 <= self.radius <= 0.22, f"radius is {self.radius}; objects fit and can be seen between 0.08 and 0.22")
        need(min(self.gap, self.clutter, self.shot_frames, self.jitter, self.camera_noise) >= 0,
             "gap, clutter, shot_frames, jitter and camera_noise cannot be negative")
        need(self.overlap + self.nested <= 1, "overlap and nested are shares of the same events; they exceed 1")
        need(self.event_frames[0] >= 2, "event_frames: an event spans at least 2 frames")
        room, most = self.frames - 1, self.events[1]
        need(self.event_frames[1] <= room,
             f"event_frames: events of {self.event_frames[1]} frames do not fit into a video of {self.frames} frames, "
             "whose first frame shows everything at rest")
        least = most * self.event_frames[0] + (most - 1) * self.gap
        need(least <= room, f"events: {most} of at least {self.event_frames[0]} frames with gaps of {self.gap} need "
                            f"{least} frames, but the video has {room} after its first")
        kinds = len(self.colors) * len(self.shapes)
        need(self.objects[1] <= min(kinds, 6), f"objects: {self.objects[1]} cannot all differ and fit; "
                                               f"there are {kinds} kinds, and room for 6")


FULL = {"videos": 4000, "colors": ["red", "green", "blue", "yellow", "purple", "white"],
        "shapes": ["disc", "square", "triangle", "cross"],
        "actions": ["moves left", "moves right", "moves up", "moves down", "spins", "grows", "blinks"],
        "events": [1, 4], "objects": [2, 4], "radius": 0.14}

PRESETS: dict[str, dict] = {
    "small": {},
    "full": FULL,
    "cuts": {**FULL, "videos": 1000, "look": "paper", "events": [3, 6], "event_frames": [2, 5], "shot_frames": 6,
             "repeats": 0.5},
}


def from_preset(name: str, changes: Sequence[str] = ()) -> WorldConfig:
    """A preset with `knob=value` changes on top."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}{suggest(name, PRESETS)}")
    return override(from_dict(WorldConfig, PRESETS[name]), changes)
