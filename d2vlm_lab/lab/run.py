"""A run: one config, from data to a trained, saved and scored checkpoint in its folder. `d2vlm-lab train`."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from .. import processes
from ..config import Evaluation, RunConfig, read_config, recorded_config, resolve
from ..data.batch import FRAME, Clip, frame_layout
from ..data.group_file import read_groups
from ..data.groups import Groups, Rejects, group_by_video, usable
from ..data.rejects import preference_data
from ..data.sample import Sample
from ..data.skips import Skips
from ..data.spelled import decode
from ..data.splits import CACHE, held_out_questions, missing_world, reader, splits
from ..errors import LabError
from ..files import claimed, json_lines, naming_full_disk, sweep_below, write_json, write_text
from ..ideas.evidence import EVIDENCE
from ..ideas.rejected import Recipe
from ..judging.predict import video_tokens
from ..judging.scores import judge
from ..learning.resuming import contents, differing, last_checkpoint, same_content, same_settings
from ..learning.trainer import check_can_draw, check_trackers, fit
from ..model.adapter import prepare
from ..model.backbone import position_limit
from ..model.card import note_recipe
from ..model.checkpoint import checkpoint_id, load
from ..model.d2vlm import D2VLM
from ..model.device import on_device
from ..model.start import start
from ..settings import override
from .commands.features import disk_space

STUDY = ("live", "mechanisms", "keep_frames", "forget")  # what only the exam of a study reads of `evaluation`
QUESTION_READ = ("\nthe frame encoder reads the question: texts share the frames of a video only if they ask the same "
                 "question about it")


def train(config: RunConfig, folder: Path, log: Callable[[str], None] = print) -> dict:
    """Train, save and score; returns what `metrics.json` then holds. The same call goes on after an interruption."""
    processes.refuse_split_weights(config.training.bfloat16 or config.parts.dtype == "float16")
    folder = Path(folder)
    with naming_full_disk(f"make room for {folder} and for the features in {CACHE}, then run the same command again: "
                          "it goes on from the last checkpoint that is whole"):
        folder.mkdir(parents=True, exist_ok=True)
        with only_trainer(folder, config):
            if not processes.number():
                sweep_below(folder)
            return _train(config, folder, log)


def only_trainer(folder: Path, config: RunConfig) -> AbstractContextManager[None]:
    """Refuses to train in a folder in which another run is training. The first process speaks for all of its run."""
    if processes.number():
        return nullcontext()
    patience = 10 if config.training.workers else 0  # the workers of a killed run take some seconds to notice
    return claimed(folder / ".training.lock", f"another process trains in {folder}; wait for it, or choose another "
                   "folder", patience)


def _train(config: RunConfig, folder: Path, log: Callable[[str], None]) -> dict:
    content = contents(config)  # before anything is read: what changes meanwhile counts as changed
    if (folder / "metrics.json").exists() and not differing(recorded_config(folder / "config.json"), config):
        same_content(folder, config, content)
        log(f"{folder}: done before")
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    same_settings(folder, config)  # a large model is not loaded only to be told this
    started = time.time()
    if not processes.number() and last_checkpoint(folder / "checkpoints") is None:
        (folder / "skipped.jsonl").unlink(missing_ok=True)  # the run begins anew, and what was missing may be there now
    model = on_device(prepare(start(config), config), worker=processes.on_this_machine())  # it encodes frames there
    check_can_draw(config, model)
    worth = worth_training(config)  # what does not fit is refused before a world is made
    train_split, val_split = splits(config)
    content = contents(config) | content  # with a world that was made just now
    read = reader(config, model.frames, train_split.videos)
    data = preference_data(config, train_split.samples)
    questions = held_out_questions(val_split, config)
    bad = [*train_split.bad, *val_split.bad, *data.bad]
    skips = Skips(folder / "skipped.jsonl", len(data.samples) + len(questions) + len(bad), config.data.bad_share)
    for skip in bad:
        skips.add(skip)

    def grouped(samples: Sequence[Sample], seed: int) -> list[list[Sample]]:
        return group_by_video(samples, config.texts, seed, model.frames.reads_question)

    def as_groups(groups: list[list[Sample]], rejects: Rejects | None) -> Groups:
        return Groups(groups, read, model.tokenizer, model.prompt, model.method, rejects, config.seed, skips.allowed,
                      config.data.ask_early, room_behind(model, config))

    groups = grouped(teaching(config, usable(data.samples, config.data, skips), worth), config.seed)
    log(summary(model, config, groups, questions))
    held_out = as_groups(grouped(questions, 0), data.held_out_rejects)
    if unusable := leave_out_unusable(held_out, skips):
        log(f"{len(unusable)} of {len(questions)} validation questions cannot be used; see {skips.path}")
    questions = [sample for sample in questions if sample.id not in unusable]
    score = partial(judge, samples=questions, read=read, config=config)
    scores = fit(model, config, as_groups(groups, data.rejects), held_out, folder, score, skips, content)
    if processes.number():
        return {}  # of several processes, the first one writes
    note_recipe(folder / "model", config, scores)
    metrics = {"validation": scores, "skipped": dict(skips.reasons),
               "seconds": round(time.time() - started, 1), "checkpoint": checkpoint_id(folder / "model")}
    write_json(folder / "metrics.json", metrics)
    return metrics


def room_behind(model: D2VLM, config: RunConfig) -> Callable[[Clip], int] | None:
    """How many tokens can be read, or drawn, behind the frames of a video; None where the language model has no end."""
    if (limit := position_limit(model.language)) is None:
        return None
    drawn = config.reward.max_new_tokens if config.reward.draws else 0
    limit -= len(model.tokenizer.encode(model.prompt.before)) + drawn
    return lambda clip: limit - video_tokens(model, clip)


def worth_training(config: RunConfig) -> set[str] | None:
    """The samples whose drawn answers were rewarded differently, if the run names a file of them; None means all."""
    if not config.reward.file:
        return None
    if not config.parts.start:
        raise LabError("reward.file holds answers that were drawn from a checkpoint; name it in parts.start")
    groups = read_groups(resolve(config.reward.file), checkpoint_id(config.parts.start), config.parts.start)
    return {group.sample for group in groups if group.teaches}


def teaching(config: RunConfig, samples: list[Sample], worth: set[str] | None) -> list[Sample]:
    if worth is None:
        return samples
    if not (kept := [sample for sample in samples if sample.id in worth]):
        raise LabError(f"{resolve(config.reward.file)}: no question in it teaches anything that this run could train "
                       "on")
    return kept


def leave_out_unusable(held_out: Groups, skips: Skips) -> set[str]:
    """Keep the validation questions that can be used; the ids of the others, which are reported as skipped.

    Every validation video is read here, so that none can end the training at a later evaluation.
    """
    skipped = [skip for index in range(len(held_out)) for skip in held_out.load(index).skipped]
    for skip in skipped:
        skips.add(replace(skip, sample=f"validation {skip.sample}"))
    unusable = {skip.sample for skip in skipped}
    groups = [[sample for sample in group if sample.id not in unusable] for group in held_out.groups]
    held_out.groups = [group for group in groups if group]
    return unusable


def summary(model: D2VLM, config: RunConfig, groups: Sequence[Sequence[Sample]], questions: Sequence[Sample]) -> str:
    """How much is trained and frozen, the memory for it, the steps, the passes over the data, the validation."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    training = config.training
    count = processes.total()
    held_out = ", ".join(f"{number:,} {task}" for task, number in Counter(each.task for each in questions).items())
    passes = training.steps * training.videos * training.accumulate * count / len(groups)
    return (f"{trained:,} parameters trained, {frozen:,} frozen; weights {size / 2**20:,.0f} MB, gradients and "
            f"optimizer {trained * 12 / 2**20:,.0f} MB, besides activations\n"
            f"{sum(map(len, groups)):,} samples in {len(groups):,} groups; {training.steps:,} steps of "
            f"{training.videos} videos{f' x {count} processes' if count > 1 else ''}, {passes:.1f} passes over "
            f"the data\nvalidation questions: {held_out or 'none'}"
            + (QUESTION_READ if model.frames.reads_question else ""))


def dry_run(config: RunConfig) -> str:
    """What a run would train, on what, with one training sample as the model will see it. It makes no world."""
    check_trackers(config)
    model = prepare(start(config), config)
    check_can_draw(config, model)
    worth = worth_training(config)
    override(Recipe(), config.preference.recipe, "preference.recipe")
    if (missing := missing_world(config)) is not None:
        return (f"{config.data.world}: there is no world yet; training would first make one with {missing.videos:,} "
                f"training videos (preset {config.data.world_preset}). Make it with `d2vlm-lab make-world` to see what "
                "would be trained on it.")
    split, val_split = splits(config)
    skips = Skips(None, len(split.samples) + len(split.bad), config.data.bad_share)
    for skip in split.bad:
        skips.add(skip)
    data = preference_data(config, split.samples)
    groups = group_by_video(teaching(config, usable(data.samples, config.data, skips), worth), config.texts,
                            config.seed, model.frames.reads_question)
    read = reader(config, model.frames, split.videos)
    loaded = Groups(groups, read, model.tokenizer, model.prompt, model.method, None, config.seed, skips.allowed,
                    room=room_behind(model, config))[0]
    for skip in loaded.skipped:
        skips.add(skip)
    group = loaded.group
    if group is None:
        raise LabError(f"none of the {len(groups)} groups of samples can be used; the last: "
                       f"{loaded.skipped[-1].message}")
    text = group.texts[0]
    supervised = [token for token, label in zip(text.ids, text.labels) if label >= 0]
    intervals = ", ".join(f"[{first:.1f}, {last:.1f}]" for first, last in text.intervals)
    return "\n".join([
        summary(model, config, groups, held_out_questions(val_split, config)),
        disk_space(config, model.frames, (sample for part in groups for sample in part), group.clip),
        *(f"skipped: {skip.message}" for skip in (*split.bad, *data.bad, *loaded.skipped)[:8]),
        f"sample {group.names[0]}, {len(group.clip.timestamps)} frames:",
        model.prompt.before + frames_in_words(model, group.clip) + decode(model.tokenizer, text.ids),
        f"supervised: {decode(model.tokenizer, supervised)}", f"{EVIDENCE} at frames: {intervals or 'none'}"])


def frames_in_words(model: D2VLM, clip: Clip) -> str:
    """What stands for the frames in a printed sample, with the text around the first two of them."""
    if not model.prompt.around_frame:
        return "<frames>"
    layout = frame_layout(clip.timestamps[:2], model.tokenizer, model.prompt)[0].tolist()
    shown = "".join("<frame>" if token == FRAME else model.tokenizer.decode([token]) for token in layout)
    return f"{shown} ... "


def configure(parser) -> None:
    parser.add_argument("config", help="a preset by name (tiny, smollm2, ...) or a YAML file")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings to change: training.steps=500")
    parser.add_argument("--out", help="folder of the run (default: runs/CONFIG-SEED)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be trained, and on what, and stop")


def run(args) -> None:
    config = read_config(args.config, args.changes)
    if unused := [name for name in STUDY if getattr(config.evaluation, name) != getattr(Evaluation, name)]:
        raise LabError(f"evaluation.{unused[0]} is read in a study only (d2vlm-lab ablate); train asks the validation "
                       "questions about whole videos: leave it out")
    if args.dry_run:
        print(dry_run(config))
        return
    folder = Path(args.out or f"runs/{Path(args.config).stem}-{config.seed}")
    print(json.dumps(train(config, folder), indent=1))
    print(f"The trained model is in {folder / 'model'}, its history in {folder / 'history.jsonl'}.")


def trained_model(config: RunConfig, out: Path) -> D2VLM:
    """The model trained with `config` in the folder `out`; one that was trained there before is only loaded."""
    out.mkdir(parents=True, exist_ok=True)
    log = partial(print, file=sys.stdout)  # all other lines of progress, thousands of them, go into a file
    with open(out / "training.log", "a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        train(config, out / "training", log)
    write_text(out / "history.jsonl", (out / "training" / "history.jsonl").read_text(encoding="utf-8"))
    return load(out / "training" / "model")


def starting_model(config: RunConfig) -> D2VLM:
    """The checkpoint in `parts.start` with the method of `config`, without any training."""
    return load(config.parts.start, config.method, getattr(torch, config.parts.dtype))


def training_time(out: Path) -> dict[str, float]:
    """Seconds on the clock and of the CPU that training took, over all attempts; empty where nothing was trained."""
    path = out / "history.jsonl"
    if not (lines := json_lines(path)):
        return {}
    last = lines[-1]
    return {"training_seconds": last["seconds"], "training_cpu_seconds": last["cpu_seconds"]}
