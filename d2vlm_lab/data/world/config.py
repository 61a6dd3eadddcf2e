"""The knobs of a world, all in one dataclass, and three worlds to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from ...settings import ConfigError, check_types, from_dict, override, suggest
from ...shapes import Range, Seed, Share

Color = Literal["red", "green", "blue", "yellow", "purple", "white", "orange", "cyan"]
Shape = Literal["disc", "square", "triangle", "cross"]
Action = Literal["moves left", "moves right", "moves up", "moves down", "spins", "grows", "shrinks", "blinks",
                 "appears"]
Frames = Annotated[int, Range(1, 10_000)]
LARGEST = 2**29  # bytes of the frames of one video while it is drawn


@dataclass(frozen=True)
class WorldConfig:
    # Number of videos for training; validation and test have a tenth of that each.
    videos: Annotated[int, Range(1, 100_000)] = 2500
    seed: Seed = 0  # seed of everything random; the same seed and settings give the same world
    size: Annotated[int, Range(32, 1024)] = 64  # width and height of the videos, in pixels
    frames: Frames = 32  # number of frames of a video
    fps: Annotated[float, Range(0, 1000, open=True)] = 2.0  # frames per second
    colors: tuple[Color, ...] = ("red", "green", "blue", "yellow")  # colours that objects may have
    shapes: tuple[Shape, ...] = ("disc", "square")  # shapes that objects may have
    actions: tuple[Action, ...] = ("moves left", "moves right", "spins", "blinks")  # what objects may do
    objects: tuple[Frames, Frames] = (2, 3)  # smallest and largest number of objects in a video, no two of them alike
    events: tuple[Frames, Frames] = (1, 3)  # smallest and largest number of events in a video
    event_frames: tuple[Frames, Frames] = (3, 12)  # smallest and largest number of frames of an event
    gap: Annotated[int, Range(0, 10_000)] = 2  # smallest number of quiet frames between two events
    repeats: Share = 0.35  # share of events that repeat an earlier one
    overlap: Share = 0.0  # share of events that begin before the last one has ended
    nested: Share = 0.0  # share of events that lie inside the last one
    look: Literal["dusk", "paper"] = "dusk"  # background: dark clouds, or bright paper with stripes
    radius: Annotated[float, Range(0.08, 0.22)] = 0.16  # radius of an object, as a share of the picture
    clutter: Annotated[int, Range(0, 100)] = 2  # number of small grey specks that drift about and mean nothing
    # Standard deviation of the noise on every pixel, whose values go up to 255.
    camera_noise: Annotated[float, Range(0, 255)] = 3.0
    shot_frames: Annotated[int, Range(0, 10_000)] = 0  # frames between two cuts, on average; 0 means no cuts
    questions: Annotated[int, Range(1, 1000)] = 16  # largest number of questions about a video
    negatives: Share = 0.5  # share of training videos with a question about what never happens
    # Standard deviation of the noise on annotated starts and ends, in seconds (training only).
    jitter: Annotated[float, Range(0, 1e6)] = 0.0
    dropped: Share = 0.0  # share of events missing from the annotation (training only)

    def __post_init__(self):
        """Refuse values that are impossible, alone or together."""
        def need(condition: bool, message: str) -> None:
            if not condition:
                raise ConfigError(message)

        check_types(self)
        for name in ("objects", "events", "event_frames"):
            low, high = getattr(self, name)
            need(low <= high, f"{name} is [{low}, {high}]; give the smallest number, then the largest")
        for name in ("colors", "shapes", "actions"):
            values = getattr(self, name)
            need(len(set(values)) == len(values) > 0, f"{name} is {list(values)}; give at least one, each only once")
        need(self.size % 2 == 0, f"size is {self.size}; use an even number")
        need(self.frames * self.size**2 * 3 <= LARGEST, f"frames is {self.frames} and size is {self.size}; such a "
             f"video takes more than {LARGEST // 2**20} MB while it is drawn")
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
