"""Making, reading and re-reading the world's videos, and what a thousand reads leave in memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import psutil

from d2vlm_lab.data import video
from d2vlm_lab.data.features import FeatureCache
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.data.video import read_frames, write_frames
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.lab.bench import machine

VIDEOS, READS = 200, 1000
SMALL = Preparation(64)  # pixels of the short side


def run() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        config = WorldConfig(videos=VIDEOS)
        made = _seconds(lambda: make_world(Path(folder) / "world", config, workers=1))
        paths = sorted((Path(folder) / "world" / "videos").iterdir())
        readers = ["decord", "av"] if video.decord else ["av"]
        read = {reader: _each(paths, lambda path, reader=reader: read_frames(path, 2.0, SMALL.frames, reader=reader))
                for reader in readers}
        first, second = (_pass(paths, Path(folder) / "cache") for _ in range(2))
        growth = {f"growth_over_{READS}_reads_{reader}": _growth(paths, reader) for reader in readers}
        long = Path(folder) / "long.mp4"
        write_frames(long, _noise(900, 240, 320), 30)
        return {
            "bench": "video",
            "ratios": {"second_pass": second / first},
            "seconds": {"make_world_per_video": made / len(paths),
                        **{f"read_{reader}": seconds for reader, seconds in read.items()},
                        "first_pass_per_video": first / len(paths), "second_pass_per_video": second / len(paths),
                        **{f"read_30_s_of_240p_at_1_fps_{reader}": _seconds(
                            lambda reader=reader: read_frames(long, 1.0, SMALL.frames, reader=reader))
                            for reader in readers}},
            "memory_mb": growth,
            "machine": machine()}


def _pass(paths: Iterable[Path], folder: Path) -> float:
    """A fresh cache object, as a new process has one; the encoder costs next to nothing, so reading is what counts."""
    cache = FeatureCache(folder, "mean-colour", 2.0, SMALL)
    return _seconds(lambda: [cache.get(path, lambda frames: frames.float().mean((1, 2))) for path in paths])


def _growth(paths: list[Path], reader: str) -> float:
    """MB by which the process is larger after a thousand reads than after a hundred."""
    for path in paths[:100]:
        read_frames(path, 2.0, SMALL.frames, reader=reader)
    before = _resident_mb()
    for k in range(READS):
        read_frames(paths[k % len(paths)], 2.0, SMALL.frames, reader=reader)
    return _resident_mb() - before


def _resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


def _noise(frames: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(still, 2 * k, 1) for k in range(frames)])


def _each(paths: list[Path], work: Callable[[Path], object]) -> float:
    return _seconds(lambda: [work(path) for path in paths]) / len(paths)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
