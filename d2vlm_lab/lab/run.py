"""A run: one config, from data to a trained, saved, scored checkpoint in its folder. `d2vlm-lab train`."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from ..config import RunConfig, read_config, resolve
from ..data.groups import Groups, Skips, group_by_video, usable
from ..data.sample import Sample
from ..data.splits import held_out_questions, reader, splits
from ..files import atomic_path
from ..ideas.evidence import EVIDENCE
from ..judging.scores import judge
from ..learning.fpo import preference_data
from ..learning.trainer import fit
from ..model.adapter import prepare
from ..model.checkpoint import checkpoint_id, load
from ..model.d2vlm import D2VLM
from ..model.start import start
from ..settings import to_dict


def train(config: RunConfig, folder: Path, say: Callable[[str], None] = print) -> dict:
    """Everything; returns what is also written to `metrics.json`. The same call goes on after an interruption."""
    folder = Path(folder)
    if (folder / "metrics.json").exists() and json.loads((folder / "config.json").read_text()) == to_dict(config):
        say(f"{folder}: done before")
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    started = time.time()
    model = prepare(start(config), config)
    learn, val = splits(config)
    read = reader(config, model.frames, learn.videos)
    samples, rejects, held_out_rejects, bad = preference_data(config, learn.samples)
    skips = Skips(folder / "skipped.jsonl", len(samples) + len(bad), config.data.bad_share)
    folder.mkdir(parents=True, exist_ok=True)
    for name, message in bad:
        skips.add(name, "", "preference", message)
    groups = group_by_video(usable(samples, config.data, skips), config.training.texts, config.seed)
    say(summary(model, config, groups))
    held_out = held_out_questions(val, config)
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
    read = reader(config, model.frames, train.videos)
    group = Groups(groups, read, model.tokenizer, model.prompt, model.method, skips)[0]
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


def learned(config: RunConfig, out: Path) -> D2VLM:
    """The model trained as `config` says, in `out`; one that was trained there before is only loaded."""
    out.mkdir(parents=True, exist_ok=True)
    say = functools.partial(print, file=sys.stdout)  # the rest, thousands of lines of progress, goes into a file
    with open(out / "training.log", "a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        train(config, out / "training", say)
    history = (out / "training" / "history.jsonl").read_text(encoding="utf-8")
    with atomic_path(out / "history.jsonl") as partial:
        partial.write_text(history, encoding="utf-8")
    return load(out / "training" / "model")


def as_it_is(config: RunConfig) -> D2VLM:
    """The checkpoint in `parts.start` under the method of `config`, without training."""
    return load(resolve(config.parts.start), config.method)


def trained_for(out: Path) -> dict[str, float]:
    """Seconds and CPU seconds of training over all attempts; none where nothing was trained."""
    path = out / "history.jsonl"
    if not path.exists():
        return {}
    last = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    return {"training_seconds": last["seconds"], "training_cpu_seconds": last["cpu_seconds"]}
