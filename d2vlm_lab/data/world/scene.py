"""A scene: which things are there, what each of them does on which frames, and where it moves.

An event changes the picture on exactly the frames from `first` to `last`, compared with the frame before each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from ...errors import LabError
from .config import WorldConfig
from .phrases import PACES

# action: what changes, and by how many unit steps on each frame
STEPS = {"moves left": ("x", -1), "moves right": ("x", 1), "moves up": ("y", -1), "moves down": ("y", 1),
         "grows": ("size", 1), "shrinks": ("size", -1), "spins": ("spin", 1)}


@dataclass(frozen=True)
class Thing:
    """A coloured shape: where it starts (x, y and radius in pixels), and how fast it moves and grows per frame."""

    color: str
    shape: str
    x: float = 0.0
    y: float = 0.0
    radius: float = 0.0
    angle: float = 0.0
    step: float = 0.0
    growth: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class SceneEvent:
    thing: int
    action: str
    first: int
    last: int
    pace: float = 1.0  # unit steps for each frame
    into: str = ""  # the colour that a thing changes to; it has its own again on the frame after


@dataclass(frozen=True)
class Sway:
    """How the camera swings to and fro along one axis: how far in pixels, how often, and where it begins."""

    reach: float
    frames: float  # from one swing to the next
    begin: float  # 0 to 1: the part of a swing that has passed on the first frame

    def offset(self, frame: int | np.ndarray) -> np.ndarray:
        """By how many pixels all things are moved on a frame, or on each of several."""
        return (self.reach * np.sin(2 * np.pi * (frame / self.frames + self.begin))).round().astype(int)


@dataclass(frozen=True)
class Scene:
    video: str
    split: str
    fps: float
    n_frames: int
    size: int
    things: tuple[Thing, ...]
    events: tuple[SceneEvent, ...]  # by first frame
    cuts: tuple[int, ...] = ()  # first frames of the shots after the first
    annotated: tuple[SceneEvent, ...] | None = None  # what a careless annotator wrote, if annotation is noisy
    feints: tuple[SceneEvent, ...] = ()  # what begins like an event and stops before it is one
    sways: tuple[Sway, Sway] | None = None  # of the camera, across and down, if it swings

    @property
    def number(self) -> int:
        """The number of the video within its split."""
        return int(Path(self.video).stem.rsplit("_", 1)[1])

    @property
    def duration(self) -> float:
        return self.n_frames / self.fps

    def interval(self, event: SceneEvent) -> tuple[float, float]:
        """The seconds at which the event's first and last frame are shown."""
        return round(event.first / self.fps, 6), round(event.last / self.fps, 6)

    def caption(self, event: SceneEvent) -> str:
        return f"the {self.things[event.thing].name} {event.action}"

    @cached_property
    def path(self) -> dict[str, np.ndarray]:
        """Where the things are on each frame, feints included."""
        return trajectory(self.things, (*self.events, *self.feints), self.n_frames)

    def seen_at(self, thing: int, frame: int) -> tuple[float, float]:
        """Where a thing is in the picture, across and down. What the camera loses comes back on the other side."""
        x, y = (float(self.path[axis][thing, frame]) for axis in ("x", "y"))
        if self.sways is None:
            return x, y
        across, down = (int(sway.offset(frame)) for sway in self.sways)
        return (x + across) % self.size, (y + down) % self.size

    @property
    def signature(self) -> tuple:
        """What happens when: scenes with the same signature ask the same questions."""
        return tuple((self.things[e.thing].name, e.action, e.first, e.last) for e in self.events)


def sample_scene(config: WorldConfig, rng: np.random.Generator, video: str, split: str) -> Scene:
    kinds = [(color, shape) for color in config.colors for shape in config.shapes]
    n = rng.integers(config.objects[0], config.objects[1] + 1)
    drawn = _look_alikes(kinds, int(n), config, rng) if config.look_alike else rng.choice(len(kinds), n, replace=False)
    things = [Thing(*kinds[k]) for k in drawn]
    events = _cast(_spans(config, rng), len(things), config, rng)
    if config.details or "changes color" in config.actions:
        events = _vary(events, things, config, rng)
    cuts: tuple[int, ...] = ()
    if config.shot_frames:
        cuts = tuple(int(f) for f in range(1, config.frames) if rng.random() < 1 / config.shot_frames)
    feints = _feints(events, config, rng) if config.feints else ()
    placed = _place(things, (*events, *feints), config, rng)
    sways = (_sway(config, rng), _sway(config, rng)) if config.shake else None
    return Scene(video, split, config.fps, config.frames, config.size, placed, events, cuts, feints=feints, sways=sways)


def _sway(config: WorldConfig, rng: np.random.Generator) -> Sway:
    return Sway(config.shake * config.size, round(rng.uniform(8, 20), 4), round(rng.random(), 4))


def careless(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> tuple[SceneEvent, ...]:
    """The events as noisy annotation has them: some are missing (never all), and ends are moved by whole frames."""
    kept = rng.random(len(scene.events)) >= config.dropped
    kept[rng.integers(len(kept))] |= not kept.any()
    shifts = (rng.normal(0, 1, (len(scene.events), 2)) * config.jitter * scene.fps).round().astype(int)
    events = []
    for event, (earlier, later) in zip(np.array(scene.events)[kept], shifts[kept].tolist()):
        first = min(max(event.first + earlier, 0), scene.n_frames - 2)
        last = min(max(event.last + later, first + 1), scene.n_frames - 1)
        events.append(replace(event, first=first, last=last))
    events.sort(key=lambda e: (e.first, e.last, e.thing))
    if config.merged or config.swapped:
        events = _confused(events, config, rng)
    return tuple(events)


def _confused(events: list[SceneEvent], config: WorldConfig, rng: np.random.Generator) -> list[SceneEvent]:
    """Some events are merged with the event after them, and some are labelled as another event of the video."""
    kept: list[SceneEvent] = []
    for event in events:
        if kept and rng.random() < config.merged:
            kept[-1] = replace(kept[-1], last=max(kept[-1].last, event.last))
        else:
            kept.append(event)
    said = [events[rng.integers(len(events))] if rng.random() < config.swapped else event for event in kept]
    return [replace(what, first=event.first, last=event.last) for what, event in zip(said, kept)]


def trajectory(things: tuple[Thing, ...], events: tuple[SceneEvent, ...], frames: int) -> dict[str, np.ndarray]:
    """Where the N things are on each of the F frames: x, y, radius, angle, flash and visible, each (N, F)."""
    walks = _walks(len(things), events, frames)
    start = {name: np.array([getattr(thing, name) for thing in things])[:, None]
             for name in ("x", "y", "radius", "angle", "step", "growth")}
    return {
        "x": start["x"] + start["step"] * walks["x"],
        "y": start["y"] + start["step"] * walks["y"],
        "radius": start["radius"] * np.exp(start["growth"] * walks["size"]),
        "angle": start["angle"] + 0.5 * walks["spin"],
        "flash": walks["flash"],
        "visible": walks["visible"],
    }


def _walks(n: int, events: tuple[SceneEvent, ...], frames: int) -> dict[str, np.ndarray]:
    """How many unit steps of each kind a thing has made by each frame; flash and visible are not steps: (N, F) each."""
    change = {name: np.zeros((n, frames)) for name in ("x", "y", "size", "spin")}
    flash, visible = np.zeros((n, frames)), np.ones((n, frames))
    for event in events:
        at = (event.thing, slice(event.first, event.last + 1))
        length = event.last + 1 - event.first
        if event.action in STEPS:
            quantity, step = STEPS[event.action]
            change[quantity][at] = step * event.pace
        elif event.action == "blinks":
            flash[at] = np.where(np.arange(length) % 2, 1, -1)  # every frame of the event differs from rest
        elif event.action == "appears":
            visible[event.thing, :event.first] = 0
            visible[at] = np.arange(1, length + 1) / length
    return {**{name: steps.cumsum(1) for name, steps in change.items()}, "flash": flash, "visible": visible}


def _spans(config: WorldConfig, rng: np.random.Generator) -> list[tuple[int, int]]:
    """First and last frames of events with gaps between them; then some events are moved into the event before them."""
    n = rng.integers(config.events[0], config.events[1] + 1)
    room = config.frames - 1 - (n - 1) * config.gap
    for _ in range(100):
        lengths = rng.integers(config.event_frames[0], config.event_frames[1] + 1, n)
        if lengths.sum() <= room:
            break
    else:
        lengths = np.full(n, config.event_frames[0])
    slack = np.sort(rng.integers(0, room - lengths.sum() + 1, n))
    first = 1 + slack + np.concatenate([[0], (lengths + config.gap)[:-1].cumsum()])
    spans = [(int(a), int(a + length - 1)) for a, length in zip(first, lengths)]
    for i in range(1, n):
        (a, b), (c, d) = spans[i - 1], spans[i]
        kind = rng.random()
        if kind < config.overlap and b - a >= 2:
            start = int(rng.integers(a + 1, b + 1))
            spans[i] = (start, max(start + d - c, b + 1))
        elif config.overlap <= kind < config.overlap + config.nested and b - a >= 3:
            start = int(rng.integers(a + 1, b - 1))
            spans[i] = (start, min(start + d - c, b - 1))
    return sorted(spans)


def _cast(spans: list[tuple[int, int]], n_things: int, config: WorldConfig,
          rng: np.random.Generator) -> tuple[SceneEvent, ...]:
    """Which thing does what in each span: one action at a time, some of them a repetition of an earlier event."""
    events: list[SceneEvent] = []
    for first, last in spans:
        busy = {e.thing for e in events if e.last + config.gap >= first}
        free = [k for k in range(n_things) if k not in busy]
        again = [e for e in events if e.thing in free and e.action != "appears"]
        if again and rng.random() < config.repeats:
            events.append(replace(again[rng.integers(len(again))], first=first, last=last))
        elif free:
            thing = free[rng.integers(len(free))]
            seen = any(e.thing == thing for e in events)
            actions = [a for a in config.actions if not (seen and a == "appears")] or list(config.actions)
            events.append(SceneEvent(thing, actions[rng.integers(len(actions))], first, last))
    return tuple(events)


def _look_alikes(kinds: Sequence[tuple[str, str]], n: int, config: WorldConfig, rng: np.random.Generator) -> list[int]:
    """Different kinds, most of which share their colour or their shape with the first one."""
    picked = [int(rng.integers(len(kinds)))]
    while len(picked) < n:
        near = [1.0 if set(kind) & set(kinds[picked[0]]) else 1 - config.look_alike for kind in kinds]
        weights = np.array([0.0 if k in picked else max(weight, 1e-9) for k, weight in enumerate(near)])
        picked.append(int(rng.choice(len(kinds), p=weights / weights.sum())))
    return picked


def _vary(events: tuple[SceneEvent, ...], things: list[Thing], config: WorldConfig,
          rng: np.random.Generator) -> tuple[SceneEvent, ...]:
    """The events with what long captions say about them: how fast each is, and which colour a thing changes to."""
    paces, varied = list(PACES.values()), []
    for event in events:
        pace = paces[rng.integers(len(paces))] if config.details and event.action in STEPS else 1.0
        others = [color for color in config.colors if color != things[event.thing].color]
        into = others[rng.integers(len(others))] if event.action == "changes color" else ""
        varied.append(replace(event, pace=pace, into=into))
    return tuple(varied)


def _feints(events: tuple[SceneEvent, ...], config: WorldConfig, rng: np.random.Generator) -> tuple[SceneEvent, ...]:
    """One or two frames of an event's motion at another time, where its thing is at rest before and after."""
    feints: list[SceneEvent] = []
    for event in events:
        length = int(rng.integers(1, min(2, config.event_frames[0] - 1) + 1))
        near = [e for e in (*events, *feints) if e.thing == event.thing]
        free = [k for k in range(1, config.frames - length + 1)
                if all(k + length - 1 + config.gap < e.first or k > e.last + config.gap for e in near)]
        if free and event.action != "appears" and rng.random() < config.feints:
            first = free[rng.integers(len(free))]
            feints.append(replace(event, first=first, last=first + length - 1))
    return tuple(sorted(feints, key=lambda e: (e.first, e.thing)))


def _place(things: list[Thing], events: tuple[SceneEvent, ...], config: WorldConfig,
           rng: np.random.Generator) -> tuple[Thing, ...]:
    """The things with starting points and speeds that keep them on screen, and apart as far as could be found."""
    walks = _walks(len(things), events, config.frames)
    best, best_room = tuple(things), -np.inf
    for _ in range(60):
        placed = tuple(_start(thing, {name: walk[k] for name, walk in walks.items()}, config, rng)
                       for k, thing in enumerate(things))
        path = trajectory(placed, events, config.frames)
        room = min((_room(path, i, j) for i, j in combinations(range(len(placed)), 2)), default=np.inf)
        if room > best_room:
            best, best_room = placed, room
        if room >= 0:
            break
    return best


def _room(path: dict[str, np.ndarray], i: int, j: int) -> float:
    """How far apart two things stay, in pixels; negative where they overlap."""
    distance = np.hypot(path["x"][i] - path["x"][j], path["y"][i] - path["y"][j])
    return (distance - 0.85 * (path["radius"][i] + path["radius"][j])).min()


def _start(thing: Thing, walk: dict[str, np.ndarray], config: WorldConfig, rng: np.random.Generator) -> Thing:
    size = config.size
    radius = size * config.radius * rng.uniform(0.9, 1.1)
    up, down = walk["size"].max(), walk["size"].min()
    growth = min(0.1, np.log(1.7) / max(up - down, 1))
    radius /= np.exp(growth * down)  # what shrinks starts larger
    margin = 0.9 * radius * np.exp(growth * up)
    reach = max(np.ptp(walk["x"]), np.ptp(walk["y"]), 1)
    step = min(size * rng.uniform(0.03, 0.045), (size - 2 * margin) / reach)
    low, high = (np.array([edge(walk["x"]), edge(walk["y"])]) for edge in (np.min, np.max))
    x, y = margin - step * low + rng.random(2) * (size - 2 * margin - step * (high - low)).clip(0)
    numbers = (x, y, radius, rng.uniform(-0.35, 0.35), step, growth)
    return Thing(thing.color, thing.shape, *(round(float(number), 4) for number in numbers))


class EventTruth(TypedDict):
    object: int
    action: str
    first: int
    last: int
    pace: NotRequired[float]
    into: NotRequired[str]


class ThingTruth(TypedDict):
    color: str
    shape: str
    x: float
    y: float
    radius: float
    angle: float
    step: float
    growth: float


class SwayTruth(TypedDict):
    reach: float
    frames: float
    begin: float


class Truth(TypedDict):
    """A line of truth.jsonl."""

    video: str
    split: str
    fps: float
    n_frames: int
    size: int
    objects: list[ThingTruth]
    events: list[EventTruth]
    cuts: list[int]
    annotated: NotRequired[list[EventTruth]]
    feints: NotRequired[list[EventTruth]]
    sways: NotRequired[tuple[SwayTruth, SwayTruth]]


def to_truth(scene: Scene) -> dict:
    """A line of truth.jsonl."""
    def records(events: tuple[SceneEvent, ...]) -> list[dict]:
        return [{"object": e.thing, "action": e.action, "first": e.first, "last": e.last, "start": scene.interval(e)[0],
                 "end": scene.interval(e)[1], "caption": scene.caption(e)}
                | ({"pace": e.pace} if e.pace != 1 else {}) | ({"into": e.into} if e.into else {}) for e in events]

    record = {"video": scene.video, "split": scene.split, "fps": scene.fps, "n_frames": scene.n_frames,
              "duration": scene.duration, "size": scene.size, "objects": [asdict(thing) for thing in scene.things],
              "events": records(scene.events), "cuts": list(scene.cuts)}
    if scene.annotated is not None:
        record["annotated"] = records(scene.annotated)
    if scene.feints:
        record["feints"] = records(scene.feints)
    if scene.sways is not None:
        record["sways"] = [asdict(sway) for sway in scene.sways]
    return record


def from_truth(record: dict) -> Scene:
    if wrong := [event for name in ("events", "annotated", "feints") for event in record.get(name, ())
                 if not 0 <= event["object"] < len(record["objects"])]:
        raise LabError(f"truth.jsonl: {record['video']}: object {wrong[0]['object']} of an event is not in the video")

    def events(name: str) -> tuple[SceneEvent, ...]:
        return tuple(SceneEvent(e["object"], e["action"], e["first"], e["last"], e.get("pace", 1.0), e.get("into", ""))
                     for e in record.get(name, ()))

    things = tuple(Thing(**{name: thing[name] for name in ThingTruth.__annotations__}) for thing in record["objects"])
    sways = (Sway(**record["sways"][0]), Sway(**record["sways"][1])) if "sways" in record else None
    return Scene(record["video"], record["split"], record["fps"], record["n_frames"], record["size"], things,
                 events("events"), tuple(record["cuts"]), events("annotated") if "annotated" in record else None,
                 events("feints"), sways)
