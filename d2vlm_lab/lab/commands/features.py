"""`d2vlm-lab features PRESET`: compute the features of all videos of a run beforehand, on as many machines as you like.

Without it, each video is read and encoded when training first needs it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...config import RunConfig, read_config
from ...data.batch import Clip
from ...data.groups import usable
from ...data.sample import Sample
from ...data.skips import Skips
from ...data.splits import CACHE, FrameEncoder, feature_cache, held_out_questions, splits
from ...data.video import VideoError, find_video
from ...errors import LabError
from ...files import naming_full_disk, sweep_below
from ...model.device import on_device
from ...model.encoder import start_encoder
from ...model.frames import encoded
from ...processes import parse_shard

BYTES = {"fp16": 2, "fp32": 4}
SECONDS = 10  # between two lines of progress


def fill(config: RunConfig, encoder: FrameEncoder, videos: Sequence[Path], report=print) -> Counter[str]:
    """Compute what is missing; counts the videos that were `made`, were `there` before, or are `unreadable`."""
    cache, counts, last = feature_cache(config, encoder), Counter(), time.monotonic()
    for number, path in enumerate(videos, 1):
        try:
            outcome = "there" if cache.has(path) else "made"
            cache.get(path, encoder.encode)
        except VideoError as error:
            outcome = "unreadable"
            report(str(error))
        counts[outcome] += 1
        if time.monotonic() - last > SECONDS or number == len(videos):
            last = time.monotonic()
            report(f"{number:,} of {len(videos):,} videos: {counts['made']:,} encoded, {counts['there']:,} were there "
                   f"before, {counts['unreadable']:,} cannot be read")
    return counts


def videos_of(config: RunConfig) -> list[Path]:
    """The videos that a run reads, in training and in the evaluations on held-out questions, each once."""
    train, val = splits(config)
    wanted = usable(train.samples, config.data, Skips(None, len(train.samples), 1.0))
    paths = {find_video(train.videos, sample.video) for sample in wanted}
    return sorted(paths | {find_video(val.videos, sample.video) for sample in held_out_questions(val, config)})


def disk_space(config: RunConfig, encoder: FrameEncoder, samples: Iterable[Sample], clip: Clip) -> str:
    """How much disk space the features of the training videos take. `clip` is one of the videos, as it was read."""
    features, = encoded(encoder, [clip.features[:2]])
    data, size = config.data, features[0].numel()
    seconds = {sample.video: sample.duration for sample in samples}
    frames = sum(min(int(duration * data.fps) + 1, data.max_frames) for duration in seconds.values())
    videos = f"{len(seconds):,} training videos with about {frames:,} frames"
    if data.cache == "off":
        kept = " or ".join(f"{frames * size * BYTES[kind] / 2**20:,.0f} MB ({kind})" for kind in BYTES)
        return f"features: data.cache=off keeps nothing; for {videos} it would be {kept}"
    per_frame = size * BYTES[data.cache]
    return (f"features: {per_frame:,} bytes a frame, {frames * per_frame / 2**20:,.0f} MB in {CACHE} for {videos} "
            f"(data.cache={data.cache})")


def configure(parser) -> None:
    parser.add_argument("config", help="a preset by name (tiny, smollm2, ...) or a YAML file")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings to change: data.cache=fp16")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="encode every N-th video from the I-th on")


def run(args) -> int:
    config = read_config(args.config, args.changes)
    if config.data.cache == "off":
        raise LabError("data.cache=off keeps no features; set data.cache=fp16 or data.cache=fp32")
    index, count = parse_shard(args.shard)
    encoder = on_device(start_encoder(config), worker=index)
    videos, folder = videos_of(config)[index::count], feature_cache(config, encoder).folder
    sweep_below(folder)
    with naming_full_disk(f"make room for {folder}, then run the same command again: what is there is kept"):
        counts = fill(config, encoder, videos)
    print(f"The features are in {folder}.")
    return int(counts["unreadable"] > config.data.bad_share * len(videos))
