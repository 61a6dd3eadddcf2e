"""A run: one config, from data to a trained, saved, scored checkpoint in its folder. `d2vlm-lab train`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .adapter import prepare
from .batch import Clip
from .checkpoint import DESCRIPTION, checkpoint_id, load
from .config import RunConfig, read_config, resolve
from .data import Groups, Reader, Skips, group_by_video, usable
from .datasets import et_instruct
from .errors import LabError
from .evidence import EVIDENCE
from .features import FeatureCache
from .fpo import preference_data
from .generate import Decoding
from .language import load_language
from .metrics.temporal import interval_f1_miou
from .model import D2VLM
from .predict import NUMBERS, Prediction, predict
from .pruning import prune
from .reference import import_reference
from .sample import Sample, atomic_path
from .settings import from_dict, override, to_dict
from .train import fit
from .world import load as load_world
from .world.config import WorldConfig, preset
from .world.make import make_world

CACHE = "data/cache"
NAMED = ("tvg", "gvq")  # questions that name one event


@dataclass(frozen=True)
class Split:
    """Samples and the folder of their videos."""

    samples: Sequence[Sample]
    videos: Path


def train(config: RunConfig, folder: Path, say: Callable[[str], None] = print) -> dict:
    """Everything; returns what is also written to `metrics.json`. The same call goes on after an interruption."""
    folder = Path(folder)
    if (folder / "metrics.json").exists() and json.loads((folder / "config.json").read_text()) == to_dict(config):
        say(f"{folder}: done before")
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    started = time.time()
    model = prepare(start(config), config)
    learn, val = splits(config)
    read = reader(config, model, learn.videos)
    samples, rejects, held_out_rejects, bad = preference_data(config, learn.samples)
    skips = Skips(folder / "skipped.jsonl", len(samples) + len(bad), config.data.bad_share)
    folder.mkdir(parents=True, exist_ok=True)
    for name, message in bad:
        skips.note(name, "", "preference", message)
    groups = group_by_video(usable(samples, config.data, skips), config.training.texts, config.seed)
    say(summary(model, config, groups))
    held_out = chosen(val, config)
    watch = group_by_video(held_out, config.training.texts, 0)
    sets = [Groups(g, read, model.tokenizer, model.prompt, model.method, skips, wrong)
            for g, wrong in ((groups, rejects), (watch, held_out_rejects))]
    fit(model, config, *sets, folder, lambda m: judge(m, held_out, read, config))
    if int(os.environ.get("RANK", 0)):
        return {}  # of several processes, the first one scores and writes
    metrics = {"validation": judge(model, held_out, read, config), "skipped": dict(skips.reasons),
               "seconds": round(time.time() - started, 1), "checkpoint": checkpoint_id(folder / "model")}
    with atomic_path(folder / "metrics.json") as partial:
        partial.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return metrics


def start(config: RunConfig) -> D2VLM:
    """The model that training starts from, under the method of this run."""
    parts = config.parts
    torch.manual_seed(config.seed)
    if parts.language:
        model = load_language(parts, config.method)
    elif (resolve(parts.start) / DESCRIPTION).exists():
        model = load(resolve(parts.start), config.method)
    elif (resolve(parts.start) / "config.json").exists():
        model = import_reference(resolve(parts.start), method=config.method)
    else:
        raise LabError(f"parts.start: {parts.start} is no checkpoint of this project, nor laid out as the authors'")
    if not model.grounded:
        fresh_heads(model, parts.equal_heads)
    return model


def fresh_heads(model: D2VLM, equal: bool) -> None:
    """Heads that were never trained start anew with the run's seed."""
    for module in (*model.frame_head, *model.evidence_head):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if equal:
        model.evidence_head.load_state_dict(model.frame_head.state_dict())


def splits(config: RunConfig) -> tuple[Split, Split]:
    """Training and validation data: a world, made if it is missing, or annotation files."""
    data = config.data
    if data.train:
        videos, half = resolve(data.videos), 0.5 / data.fps
        train = et_instruct.read(resolve(data.train), max(half, 0.5))
        val = et_instruct.read(resolve(data.val), max(half, 0.5)) if data.val else []
        return Split(train, videos), Split(val, videos)
    folder = resolve(data.world)
    if not (folder / "world.json").exists():
        make_world(folder, override(from_dict(WorldConfig, preset(data.world_preset)), data.world_settings))
    world = load_world(folder)
    return Split(world.samples("train"), world.videos), Split(world.samples("val"), world.videos)


def chosen(val: Split, config: RunConfig) -> list[Sample]:
    """The validation questions that a run is judged on: those about events, an even draw from each wanted task."""
    picked = []
    for task in config.evaluation.tasks:
        wanted = [s for s in val.samples if s.task == task and s.events]
        n = min(config.evaluation.samples, len(wanted))
        picked += [wanted[i] for i in np.linspace(0, len(wanted) - 1, n).round().astype(int)] if n else []
    return picked


def reader(config: RunConfig, model: D2VLM, videos: Path) -> Reader:
    """From a sample to its video's features, through the cache on disk."""
    frames, data = model.frames, config.data
    cache = FeatureCache(resolve(CACHE), frames.id, data.fps, frames.size, data.max_frames)

    def read(sample: Sample) -> Clip:
        features, timestamps = cache.get(videos / sample.video, frames.encode)
        clip = Clip(torch.from_numpy(np.asarray(features)), np.asarray(timestamps))
        return prune(clip, data.keep_frames, data.pruning)

    return read


def judge(model: D2VLM, samples: Sequence[Sample], read: Reader, config: RunConfig) -> dict[str, float]:
    """Greedy answers to held-out questions: grounding matched one to one, and the text."""
    if not samples:
        return {}
    decoding = Decoding(config.evaluation.max_new_tokens)
    return scores_by_task(list(predict(model, samples, read, decoding, config.evaluation.batch)))


def scores_by_task(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Of the questions that name an event, then of each task."""
    scores = grounding_scores([p for p in predictions if p.sample.task in NAMED], "named")
    for task in sorted({p.sample.task for p in predictions}):
        scores |= grounding_scores([p for p in predictions if p.sample.task == task], task)
    return scores


def grounding_scores(predictions: Sequence[Prediction], group: str) -> dict[str, float]:
    """Means over questions: matched F1 at 0.5 and mean IoU, exact text, and how many intervals too many were given."""
    if not predictions:
        return {}
    found = interval_f1_miou([p.intervals for p in predictions],
                             [[e.interval for e in p.sample.events] for p in predictions], (0.5,))
    scores = {"F1@0.5": found["F1@0.5"], "mIoU": found["mIoU"],
              "exact_text": float(np.mean([_words(p) == _truth(p.sample) for p in predictions])),
              "surplus": float(np.mean([len(p.intervals) - len(p.sample.events) for p in predictions]))}
    return {f"{group}_{name}": round(value, 4) for name, value in scores.items()}


def _words(prediction: Prediction) -> str:
    """The answer's text, times and evidence aside."""
    answer = prediction.generated.answer
    return NUMBERS.sub("", "".join(piece for piece in answer.pieces if isinstance(piece, str))).strip()


def _truth(sample: Sample) -> str:
    return "".join(piece for piece in sample.answer if isinstance(piece, str)).strip()


def summary(model: D2VLM, config: RunConfig, groups: Sequence[Sequence[Sample]]) -> str:
    """Parameters trained and frozen, memory they need, steps, passes over the data."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    t = config.training
    processes = int(os.environ.get("WORLD_SIZE", 1))
    epochs = t.steps * t.videos * t.accumulate * processes / len(groups)
    return (f"{trained:,} parameters trained, {frozen:,} frozen; weights {size / 2**20:,.0f} MB, gradients and "
            f"optimizer {trained * 12 / 2**20:,.0f} MB, activations apart\n"
            f"{sum(map(len, groups)):,} samples in {len(groups):,} groups; {t.steps:,} steps of {t.videos} videos"
            f"{f' x {processes} processes' if processes > 1 else ''}, {epochs:.1f} passes over the data")


def dry_run(config: RunConfig) -> str:
    """What a run would do, with one training sample as the model will see it."""
    model = prepare(start(config), config)
    train, _ = splits(config)
    skips = Skips(None, len(train.samples), config.data.bad_share)
    groups = group_by_video(usable(train.samples, config.data, skips), config.training.texts, config.seed)
    group = Groups(groups, reader(config, model, train.videos), model.tokenizer, model.prompt, model.method, skips)[0]
    text = group.texts[0]
    learned = [token for token, label in zip(text.ids, text.labels) if label >= 0]
    spans = ", ".join(f"[{a:.1f}, {b:.1f}]" for a, b in text.intervals)
    return "\n".join([
        summary(model, config, groups), f"sample {group.names[0]}, {len(group.clip.timestamps)} frames:",
        model.prompt.before + "<frames>" + model.tokenizer.decode(text.ids),
        f"learned: {model.tokenizer.decode(learned)}", f"{EVIDENCE} at frames: {spans or 'none'}"])


def configure(parser) -> None:
    parser.add_argument("config", help="a preset by name (tiny, smollm2, ...) or a YAML file")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings to change: training.steps=500")
    parser.add_argument("--out", help="folder of the run (default: runs/CONFIG-SEED)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained on what, and stop")


def run(args) -> None:
    config = read_config(args.config, args.changes)
    if args.dry_run:
        print(dry_run(config))
        return
    folder = Path(args.out or f"runs/{Path(args.config).stem}-{config.seed}")
    print(json.dumps(train(config, folder), indent=1))
    print(f"the trained model: {folder / 'model'}; its history: {folder / 'history.jsonl'}")
