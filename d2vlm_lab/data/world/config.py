"""The knobs of a world, all in one dataclass, and four worlds to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from ...errors import LabError
from ...settings import check_types, from_dict, override, read_pair, suggest, to_dict
from ...shapes import Range, Seed, Share

Color = Literal["red", "green", "blue", "yellow", "purple", "white", "orange", "cyan"]
Shape = Literal["disc", "square", "triangle", "cross"]
Action = Literal["moves left", "moves right", "moves up", "moves down", "spins", "grows", "shrinks", "blinks",
                 "appears", "changes color"]
Frames = Annotated[int, Range(1, 10_000)]
LARGEST = 2**29  # largest number of bytes that the frames of one video take while it is drawn


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
    # 0: things are drawn freely; 1: every thing shares its colour or its shape with the first one.
    look_alike: Share = 0.0
    overlap: Share = 0.0  # share of events that begin before the last one has ended
    nested: Share = 0.0  # share of events that lie inside the last one
    look: Literal["dusk", "paper"] = "dusk"  # background: dark clouds, or bright paper with stripes
    radius: Annotated[float, Range(0.08, 0.22)] = 0.16  # radius of an object, as a share of the picture
    clutter: Annotated[int, Range(0, 100)] = 2  # number of small grey specks that drift about and mean nothing
    # How much things differ from what is behind them: 1 is fully, near 0 they can hardly be seen.
    contrast: Annotated[float, Range(0, 1, open=True)] = 1.0
    occluders: Annotated[int, Range(0, 10)] = 0  # number of posts that stand in front of everything
    shake: Annotated[float, Range(0, 0.2)] = 0.0  # how far the camera swings, as a share of the picture
    # Feints for each event: the same thing begins the same motion at another time and stops before it is an event.
    feints: Share = 0.0
    # Standard deviation of the noise on every pixel, whose values go up to 255.
    camera_noise: Annotated[float, Range(0, 255)] = 3.0
    blur: Share = 0.0  # share of frames that are out of focus, for a while each time
    smoke: Share = 0.0  # share of frames with smoke in the view, for a while each time
    shot_frames: Annotated[int, Range(0, 10_000)] = 0  # frames between two cuts, on average; 0 means no cuts
    # What dense captions say besides who does what. 1: how (how fast, how often, into what). 2: also where. 3: also
    # after or before what. With 1 or more, events differ in speed.
    details: Annotated[int, Range(0, 3)] = 0
    # Largest number of moments that the answer to one question names; above 1, up to four questions that join several
    # moments come on top of a video's questions for training and validation (task `multi`).
    moments: Annotated[int, Range(1, 3)] = 1
    questions: Annotated[int, Range(1, 1000)] = 16  # largest number of questions about a video
    negatives: Share = 0.5  # share of training videos with questions about what never happens
    # Number of questions about what never happens for each video of `negatives`, if that many can be asked.
    nevers: Annotated[int, Range(1, 1000)] = 1
    reworded: Share = 0.0  # share of the held-out questions that are asked in words that training does not use
    # Standard deviation of the noise on annotated starts and ends, in seconds (training only).
    jitter: Annotated[float, Range(0, 1e6)] = 0.0
    dropped: Share = 0.0  # share of events missing from the annotation (training only)
    merged: Share = 0.0  # share of events annotated together with the next event, as one (training only)
    swapped: Share = 0.0  # share of events annotated as another event of the video (training only)

    def __post_init__(self):
        """Refuse values that are impossible, alone or together."""
        def need(condition: bool, message: str) -> None:
            if not condition:
                raise LabError(message)

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
        need(self.overlap + self.nested <= 1, "overlap and nested are shares of the same events; their sum exceeds 1")
        need(self.event_frames[0] >= 2, "event_frames: an event must span at least 2 frames")
        room, most = self.frames - 1, self.events[1]
        need(self.event_frames[1] <= room,
             f"event_frames: events of {self.event_frames[1]} frames do not fit into a video of {self.frames} frames, "
             "whose first frame shows everything at rest")
        least = most * self.event_frames[0] + (most - 1) * self.gap
        need(least <= room, f"events: {most} of at least {self.event_frames[0]} frames with gaps of {self.gap} need "
                            f"{least} frames, but the video has {room} after its first")
        low, high = self.event_frames
        spans = sum(min(high, self.frames - first) - low + 1 for first in range(min(4, self.frames - low)))
        need(spans >= 4, f"frames: a video of {self.frames} frames is too short for events of {low} to {high} frames: "
             f"some questions need one right interval and three wrong ones; use at least {low + 4} frames")
        need(not (self.details >= 2 and self.shot_frames), "details: captions say where things are, and after a cut "
             "they are seen elsewhere; use details below 2, or shot_frames=0")
        need("changes color" not in self.actions or len(self.colors) > 1, "actions: `changes color` needs two colors")
        need(self.event_frames[0] > 2 or not self.feints, "feints: they are shorter than the shortest event; with "
             "feints, event_frames must begin at 3 or more")
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
    # Long actions that differ in their motion alone, seen through blur and smoke; see surgery.py.
    "surgery": {"videos": 1000, "frames": 64, "actions": ["moves left", "moves right", "moves up", "moves down"],
                "objects": [2, 2], "event_frames": [8, 20], "blur": 0.3, "smoke": 0.4, "reworded": 0.5},
}


# Where each dial leads. A dial at 0 changes nothing, and one at 1 gives all these knobs these values.
DIALS: dict[str, dict] = {
    "crowded": {"frames": 96, "events": [4, 10], "repeats": 0.6, "look_alike": 1.0, "objects": [3, 3]},
    "detailed": {"details": 3, "actions": ["changes color"]},
    "scattered": {"moments": 3, "frames": 48, "events": [3, 5]},
    "hidden": {"contrast": 0.3, "occluders": 3, "shake": 0.06, "feints": 1.0, "camera_noise": 12.0, "clutter": 6},
    "mislabelled": {"jitter": 1.5, "dropped": 0.3, "merged": 0.3, "swapped": 0.4},
}


def from_preset(name: str, changes: Sequence[str] = ()) -> WorldConfig:
    """A preset, then its dials in the order given (`crowded=0.5`), then `knob=value` changes on top."""
    if name not in PRESETS:
        raise LabError(f"no preset {name!r}{suggest(name, PRESETS)}")
    config = from_dict(WorldConfig, PRESETS[name])
    dials = [change for change in changes if change.partition("=")[0] in DIALS]
    pairs = [read_pair(change) for change in dials]
    if len(dict(pairs)) < len(pairs):
        raise LabError(f"{', '.join(dials)}: turn each dial only once")
    config = turned(config, **from_dict(dict[str, Share], dict(pairs)))
    return override(config, [change for change in changes if change not in dials])


def turned(config: WorldConfig, **dials: float) -> WorldConfig:
    """A config with dials turned from where it is (0) to where they lead (1)."""
    for dial, amount in dials.items():
        ends = {knob: _between(getattr(config, knob), end, amount) for knob, end in DIALS[dial].items()}
        config = from_dict(WorldConfig, to_dict(config) | (ends if amount else {}))
    return config


def _between(start: Any, end: Any, amount: float) -> Any:
    """Numbers in proportion, whole ones rounded; words are added as soon as the dial is turned."""
    if isinstance(end, list):
        if isinstance(end[0], str):
            return list(dict.fromkeys([*start, *end]))
        return [_between(a, b, amount) for a, b in zip(start, end)]
    value = start + amount * (end - start)
    return round(value) if isinstance(end, int) else round(value, 6)
