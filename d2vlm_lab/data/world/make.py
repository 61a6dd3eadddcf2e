"""From a config to a folder: scenes, videos, questions, truth. The folder gets its name when it is complete."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ... import __version__
from ...errors import LabError
from ...files import locked
from ...settings import to_dict
from ..datasets import et_bench, et_instruct
from ..sample import Sample
from ..video import write_frames
from .asker import Asker
from .baselines import blind_scores
from .config import WorldConfig
from .joined import joining
from .questions import ask
from .render import render
from .scene import Scene, careless, sample_scene, to_truth
from .there import is_made
from .utterances import utterances
from .world import FILES, SPOKEN, TEXTS, TRUTH

SPLITS = tuple(FILES)
SCENE, QUESTIONS, PIXELS, NOISE, MOMENTS = range(5)  # random streams: a change in one leaves the others as they are
AT_ONCE = 20  # videos that a worker renders at a time


def make_world(out: str | os.PathLike, config: WorldConfig, workers: int | None = None,
               overwrite: bool = False) -> Path:
    """The folder of a world; one that was made with the same config is kept, and processes wait for each other."""
    out = Path(out)
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # it would wait for the lock of its parent
        raise LabError("make_world renders in worker processes, which read your script again: "
                       "call it under `if __name__ == \"__main__\":`")
    folder = out.resolve()  # a link stays a link, and leads to the world
    with locked(folder.parent / f".{folder.name}.lock"):
        if not is_made(out, config, overwrite):
            if folder == Path.cwd():  # the user's shell would be left in a folder that is gone
                raise LabError(f"{out} is the folder you are in, and a new world takes the place of its folder; choose "
                               "another folder, for example one inside it")
            unfinished = folder.parent / f".{folder.name}.partial"
            shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed: we hold the lock
            unfinished.mkdir(parents=True)
            try:
                _fill(unfinished, config, workers or os.cpu_count() or 1)
                if folder.exists():
                    shutil.rmtree(folder)
                os.replace(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return out


def _fill(folder: Path, config: WorldConfig, workers: int) -> None:
    scenes = sample_scenes(config)
    _render_all(scenes, config, folder / "videos", workers)
    questions = {split: [s for scene in scenes if scene.split == split for s in questions_of(scene, config)]
                 for split in SPLITS}
    for split, adapter in zip(SPLITS, (et_instruct, et_instruct, et_bench)):
        adapter.write_file(folder / FILES[split], questions[split])
    with open(folder / TRUTH, "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(to_truth(scene)) + "\n" for scene in scenes)
    scores = blind_scores(questions["train"], questions["test"], scenes)
    spoken = {scene.video: utterances(scene) for scene in scenes if scene.split == "test"}
    for name, content in (("baselines.json", scores), (SPOKEN, spoken), ("world.json", _card(folder, config))):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def sample_scenes(config: WorldConfig) -> list[Scene]:
    """All scenes of all splits; no two splits share what happens when."""
    held_out = max(1, config.videos // 10)
    scenes: list[Scene] = []
    split_of: dict[tuple, str] = {}
    for k, (split, n) in enumerate(zip(SPLITS, (config.videos, held_out, held_out))):
        for i in range(n):
            for attempt in range(100):
                rng = np.random.default_rng([config.seed, SCENE, k, i, attempt])
                scene = sample_scene(config, rng, f"{split}_{i:05d}.mp4", split)
                if split_of.setdefault(scene.signature, split) == split:
                    break
            else:
                raise LabError(f"{split} cannot have {n} scenes that differ from the other splits' {len(scenes)}; "
                               "ask for fewer videos, or for more colors, shapes, actions or frames")
            noisy = config.jitter or config.dropped or config.merged or config.swapped
            if split == "train" and noisy:  # validation and test have no noise
                scene = replace(scene, annotated=careless(scene, config, _random(config, NOISE, scene)))
            scenes.append(scene)
    return scenes


def questions_of(scene: Scene, config: WorldConfig) -> list[Sample]:
    """The questions about a scene, which do not depend on the rest of the world."""
    samples = ask(scene, config, _random(config, QUESTIONS, scene), negatives=scene.split != "test")
    if config.moments > 1 and scene.split != "test":  # the public format of the test file has no such task
        samples += joining(Asker(scene, config, _random(config, MOMENTS, scene)))
    return [replace(sample, id=f"{Path(scene.video).stem}-{k}") for k, sample in enumerate(samples)]


def _random(config: WorldConfig, stream: int, scene: Scene) -> np.random.Generator:
    return np.random.default_rng([config.seed, stream, SPLITS.index(scene.split), scene.number])


def _render_all(scenes: Sequence[Scene], config: WorldConfig, folder: Path, workers: int) -> None:
    folder.mkdir()
    render_one = partial(_render_one, config, folder)
    bar = partial(tqdm, total=len(scenes), desc="videos", unit="video", disable=None)
    workers = min(workers, -(-len(scenes) // AT_ONCE))
    if workers < 2:
        list(bar(map(render_one, scenes)))
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        list(bar(pool.map(render_one, scenes, chunksize=AT_ONCE)))
    finally:
        pool.shutdown(cancel_futures=True)


def _render_one(config: WorldConfig, folder: Path, scene: Scene) -> None:
    write_frames(folder / scene.video, render(scene, config, _random(config, PIXELS, scene)), scene.fps)


def _card(folder: Path, config: WorldConfig) -> dict:
    """What the world is: its config, the versions that made it, and hashes of what is in it."""
    annotations, videos = hashlib.sha256(), hashlib.sha256()
    for name in TEXTS:
        annotations.update((folder / name).read_bytes())
    for path in sorted((folder / "videos").iterdir()):
        videos.update(path.name.encode() + path.read_bytes())
    versions = {"d2vlm_lab": __version__} | {name: version(name) for name in ("numpy", "av")}
    return {"config": to_dict(config), "versions": versions,
            "annotations": annotations.hexdigest(), "videos": videos.hexdigest()}
