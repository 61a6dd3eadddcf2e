"""Making, reading and re-reading videos, the decoders side by side, and what a thousand reads leave in memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import psutil

from d2vlm_lab.data.features import FeatureCache
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.data.video import read_frames
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.lab.bench import machine, medians_in_turn

VIDEOS, READS = 200, 1000
SMALL = Preparation(64)  # pixels of the short side


def run() -> dict:
    readers = [name for name in ("av", "decord", "torchcodec") if find_spec(name)]
    with tempfile.TemporaryDirectory() as folder:
        config = WorldConfig(videos=VIDEOS)
        made = _seconds(lambda: make_world(Path(folder) / "world", config, workers=1))
        paths = sorted((Path(folder) / "world" / "videos").iterdir())
        first, second = (_pass(paths, Path(folder) / "cache") for _ in range(2))
        seconds = side_by_side(paths[:50], Path(folder), readers)
        growth = {f"growth_over_{READS}_reads_{reader}": _growth(paths, reader) for reader in readers}
        return {
            "bench": "video",
            "ratios": {"second_pass": second / first,
                       **{f"{name}_{reader}": each[reader] / each["av"] for name, each in seconds.items()
                          for reader in each if reader != "av"}},
            "seconds": {"make_world_per_video": made / len(paths), "first_pass_per_video": first / len(paths),
                        "second_pass_per_video": second / len(paths),
                        **{f"{name}_av": each["av"] for name, each in seconds.items()}},
            "memory_mb": growth,
            "machine": machine()}


def side_by_side(world: list[Path], folder: Path, readers: list[str]) -> dict[str, dict[str, float]]:
    """Seconds of each decoder for the same work, in turn; decord has no decoder for AV1."""
    works = {"read_50_world_videos": (world, None)}
    for size, (height, width) in {"240p": (240, 320), "720p": (720, 1280)}.items():
        works[f"read_30_s_of_{size}_at_1_fps"] = ([_film(folder / f"{size}.mp4", height, width)], None)
        works[f"read_8_frames_of_30_s_of_{size}"] = ([folder / f"{size}.mp4"], 8)
    works["read_30_s_of_av1_at_1_fps"] = ([_film(folder / "av1.mp4", 240, 320, "libsvtav1")], None)
    return {name: medians_in_turn({reader: lambda reader=reader, paths=paths, most=most: [
        read_frames(path, 1.0, SMALL.frames, most, reader) for path in paths]
        for reader in readers if "av1" not in name or reader != "decord"}, 5)
        for name, (paths, most) in works.items()}


def _film(path: Path, height: int, width: int, codec: str = "libx264") -> Path:
    """Thirty seconds at 30 frames a second, with a key frame every 250 frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in _noise(900, height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


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


def _noise(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return (np.roll(still, 2 * k, 1) for k in range(frames))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
