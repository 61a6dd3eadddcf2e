"""From a config to a folder: scenes, videos, questions, truth. Nothing appears under the final name until complete."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...errors import LabError
from ...files import locked
from ...settings import to_dict
from ..datasets import et_bench, et_instruct
from ..sample import Sample
from ..video import write_frames
from .baselines import baselines
from .config import WorldConfig
from .questions import ask
from .render import render
from .scene import Scene, careless, sample_scene, to_truth

SPLITS = ("train", "val", "test")
ANNOTATIONS = ("train.json", "val.json", "etbench.json", "truth.jsonl")
SCENE, QUESTIONS, PIXELS, NOISE = range(4)  # streams of chance: a change in one leaves the others as they are
AT_ONCE = 20  # videos that a worker takes at a time


def make_world(out: str | os.PathLike, config: WorldConfig, workers: int | None = None,
               overwrite: bool = False) -> Path:
    """The folder of a world. One that is there already with the same config is kept; made once if several want it."""
    out = Path(out)
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # it would wait for its parent's lock
        raise LabError("make_world renders in worker processes, which read your script again: "
                       "call it under `if __name__ == \"__main__\":`")
    with locked(out.with_name(f".{out.name}.lock")):
        return _make(out, config, workers, overwrite)


def _make(out: Path, config: WorldConfig, workers: int | None, overwrite: bool) -> Path:
    if (out / "world.json").is_file() and not overwrite:
        if json.loads((out / "world.json").read_text(encoding="utf-8")).get("config") == to_dict(config):
            return out
        raise LabError(f"{out} holds a world made with other settings; choose another folder or pass --overwrite")
    if out.exists() and not (out / "world.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise LabError(f"{out} exists and is not a world; choose another folder")
    with _complete_folder(out) as folder:
        scenes = sample_scenes(config)
        _render_all(scenes, config, folder / "videos", workers or os.cpu_count() or 1)
        questions = {split: [s for scene in scenes if scene.split == split for s in questions_of(scene, config)]
                     for split in SPLITS}
        et_instruct.write_file(folder / "train.json", questions["train"])
        et_instruct.write_file(folder / "val.json", questions["val"])
        et_bench.write_file(folder / "etbench.json", questions["test"])
        with open(folder / "truth.jsonl", "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(to_truth(scene)) + "\n" for scene in scenes)
        scores = baselines(questions["train"], questions["test"], scenes)
        (folder / "baselines.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        (folder / "world.json").write_text(json.dumps(_card(folder, config), indent=2) + "\n", encoding="utf-8")
    return out


def sample_scenes(config: WorldConfig) -> list[Scene]:
    """All scenes of all splits; no two splits share what happens when."""
    held_out = max(1, config.videos // 10)
    scenes, seen = [], {}
    for k, (split, n) in enumerate(zip(SPLITS, (config.videos, held_out, held_out))):
        for i in range(n):
            for attempt in range(100):
                rng = np.random.default_rng([config.seed, SCENE, k, i, attempt])
                scene = sample_scene(config, rng, f"{split}_{i:05d}.mp4", split)
                if seen.setdefault(scene.signature, split) == split:
                    break
            else:
                raise LabError(f"{split} cannot have {n} scenes that differ from the other splits' {len(scenes)}; "
                               "ask for fewer videos, or for more colors, shapes, actions or frames")
            if config.jitter or config.dropped:
                scene = replace(scene, annotated=_annotated(scene, config, k, i))
            scenes.append(scene)
    return scenes


def questions_of(scene: Scene, config: WorldConfig) -> list[Sample]:
    """A scene's questions, the same whatever else is in the world."""
    split, i = SPLITS.index(scene.split), int(Path(scene.video).stem.rsplit("_", 1)[1])
    rng = np.random.default_rng([config.seed, QUESTIONS, split, i])
    samples = ask(scene, config, rng, negatives=scene.split != "test")
    return [replace(sample, id=f"{Path(scene.video).stem}-{k}") for k, sample in enumerate(samples)]


def _annotated(scene: Scene, config: WorldConfig, split: int, i: int):
    noisy = scene.split == "train"  # what is learned from may be wrong, what is measured against may not
    return careless(scene, config, np.random.default_rng([config.seed, NOISE, split, i])) if noisy else None


def _render_all(scenes: Sequence[Scene], config: WorldConfig, folder: Path, workers: int) -> None:
    folder.mkdir()
    parts = [(scenes[i:i + AT_ONCE], config, str(folder)) for i in range(0, len(scenes), AT_ONCE)]
    with tqdm(total=len(scenes), desc="videos", unit="video", disable=None) as bar:
        if min(workers, len(parts)) < 2:
            for part in parts:
                bar.update(_render_part(part))
            return
        pool = ProcessPoolExecutor(min(workers, len(parts)), multiprocessing.get_context("spawn"))
        try:
            for done in pool.map(_render_part, parts):
                bar.update(done)
        finally:
            pool.shutdown(cancel_futures=True)


def _render_part(job: tuple[Sequence[Scene], WorldConfig, str]) -> int:
    scenes, config, folder = job
    for scene in scenes:
        split, i = SPLITS.index(scene.split), int(Path(scene.video).stem.rsplit("_", 1)[1])
        frames = render(scene, config, np.random.default_rng([config.seed, PIXELS, split, i]))
        write_frames(Path(folder) / scene.video, frames, scene.fps)
    return len(scenes)


@contextmanager
def _complete_folder(final: Path) -> Iterator[Path]:
    """A new folder beside `final` that replaces it if the block succeeds, and is gone if not."""
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # the lock is ours: whoever left it is dead
    partial.mkdir(parents=True)
    try:
        yield partial
        if final.exists():
            shutil.rmtree(final)
        os.replace(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _card(folder: Path, config: WorldConfig) -> dict:
    """What the world is: its config, what made it, and hashes of what is in it."""
    annotations, videos = hashlib.sha256(), hashlib.sha256()
    for name in ANNOTATIONS:
        annotations.update((folder / name).read_bytes())
    for path in sorted((folder / "videos").iterdir()):
        videos.update(path.name.encode() + path.read_bytes())
    return {"config": to_dict(config), "versions": {name: version(name) for name in ("d2vlm_lab", "numpy", "av")},
            "annotations": annotations.hexdigest(), "videos": videos.hexdigest()}
