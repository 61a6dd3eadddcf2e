"""The stages in the life of a run, from the dry run to a question about a video, each at a small size.

A stage is a function of a `Rehearsal`. It returns what it saw, in a few words, or raises what went wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

from ...config import ROOT, RunConfig
from ...data.splits import held_out_questions, reader, splits
from ...data.world.world import World
from ...errors import LabError
from ...files import json_lines, write_json
from ...judging import evaluate as judging
from ...judging.answers import all_answers
from ...judging.benchmarks import find
from ...judging.scores import judge
from ...model.checkpoint import load, merge, save
from ...model.device import on_device
from ...settings import to_dict
from .. import ask
from ..run import dry_run, train
from .computing import compare_precisions, logits

QUESTIONS, NEW_TOKENS = 4, 12  # of the benchmark; in an answer
ANSWERS, REWARDED = 3, 4  # that are drawn to a question; steps
SAME, SAME_IN_16_BITS = 1e-4, 5e-2  # largest difference of logits, as a share of the largest one
PATIENCE = 600  # seconds until the first checkpoint of the run that is killed


@dataclass(frozen=True)
class Rehearsal:
    config: RunConfig  # of the small run
    folder: Path
    world: World

    @property
    def trained(self) -> Path:
        return self.folder / "run" / "model"

    @property
    def tolerance(self) -> float:
        return SAME_IN_16_BITS if self.config.training.bfloat16 else SAME


Stage = Callable[[Rehearsal], str]


def look(rehearsal: Rehearsal) -> str:
    """What the run would train, and on what."""
    return dry_run(rehearsal.config).splitlines()[0]


def train_whole(rehearsal: Rehearsal) -> str:
    """A run without an interruption."""
    metrics = train(rehearsal.config, rehearsal.folder / "run")
    losses = [line["loss"] for line in logged(rehearsal.folder / "run", "loss")]
    return f"loss {losses[0]:.3g} to {losses[-1]:.3g}, {len(metrics['validation'])} scores"


def kill_and_resume(rehearsal: Rehearsal) -> str:
    """The same run in another process, killed after its first checkpoint, goes on here and ends in the same weights."""
    folder, preset = rehearsal.folder / "killed", rehearsal.folder / "killed.yaml"
    preset.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(rehearsal.config)))), encoding="utf-8")
    with open(rehearsal.folder / "killed.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, "-m", "d2vlm_lab.cli", "train", str(preset), "--out", str(folder)],
                                   stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)})
    started = time.monotonic()
    while process.poll() is None and not list(folder.glob("checkpoints/checkpoint-*/complete")):
        if time.monotonic() - started > PATIENCE:
            process.kill()
            raise LabError(f"no checkpoint after {PATIENCE} s")
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    if (code := process.wait()) != -signal.SIGKILL:
        said = Path(log.name).read_text(encoding="utf-8").strip().splitlines()
        raise LabError(f"the run ended with status {code} before it could be killed: {said[-1] if said else ''}")
    train(rehearsal.config, folder)
    resumed, whole = (load(path).state_dict() for path in (folder / "model", rehearsal.trained))
    difference = max(float((resumed[name].float() - value.float()).abs().max()) for name, value in whole.items())
    largest = max(float(value.float().abs().max()) for value in whole.values())
    if difference > rehearsal.tolerance * largest:
        raise LabError(f"the weights of the resumed run differ from those of the whole one by up to {difference:.2g}")
    return f"weights differ by at most {difference:.1g}"


def save_and_load(rehearsal: Rehearsal) -> str:
    """The checkpoint answers as the model did when its training ended, and does not change when it is saved again."""
    config, model = rehearsal.config, on_device(load(rehearsal.trained))
    description = json.loads((rehearsal.trained / "d2vlm.json").read_text(encoding="utf-8"))
    again = on_device(load(save(model, rehearsal.folder / "copy", base=description["base"])))
    first, second = (model.state_dict(), again.state_dict())
    if different := [name for name in first if not torch.equal(first[name], second[name])]:
        raise LabError(f"{len(different)} tensors change when they are saved and loaded, such as {different[0]}")
    _, val_split = splits(config)
    scores = judge(again, held_out_questions(val_split, config), reader(config, again.frames, val_split.videos), config)
    live = json.loads((rehearsal.folder / "run" / "metrics.json").read_text(encoding="utf-8"))["validation"]
    if changed := [name for name in live if abs(scores[name] - live[name]) > 1e-6]:
        raise LabError(f"after loading, {changed[0]} is {scores[changed[0]]:.3g}; it was {live[changed[0]]:.3g}")
    size = sum(file.stat().st_size for file in rehearsal.trained.rglob("*") if file.is_file()) / 2**20
    return f"{size:,.1f} MB, {'beside what it started from' if description['base'] else 'whole'}"


def merge_adapter(rehearsal: Rehearsal) -> str:
    """With the adapter merged into the weights, the model can be saved alone, and computes the same.

    Both compute in float32, so that only the rounding of the merged weights is seen: what bfloat16 does to the
    activations of a small random model can be larger.
    """
    merged = save(merge(load(rehearsal.trained)), rehearsal.folder / "merged")
    expected = logits(load(rehearsal.trained, dtype=torch.float32), rehearsal.config)
    alone = load(merged, dtype=torch.float32)
    if left := [name for name in alone.state_dict() if "lora_" in name]:
        raise LabError(f"{left[0]} is still there after merging")
    difference = float((logits(alone, rehearsal.config) - expected).abs().max() / expected.abs().max())
    if difference > rehearsal.tolerance:
        raise LabError(f"the merged model's logits differ by {difference:.2g} of the largest one")
    return f"logits differ by {difference:.1g} of the largest"


def prefer(rehearsal: Rehearsal) -> str:
    """Preferences, on top of what was trained."""
    config = rehearsal.config
    form = "fpo" if config.method.points and config.method.formulation == "sigmoid" else "dpo"
    config = replace(config, parts=replace(config.parts, start=str(rehearsal.trained), language="", frames=""),
                     data=replace(config.data, ask_early=0.0),  # compared are answers about whole videos only
                     preference=replace(config.preference, form=form))
    train(config, rehearsal.folder / "preferences")
    margins = [line["margin"] for line in logged(rehearsal.folder / "preferences", "margin")]
    if not margins:
        raise LabError("no pair of answers was compared")
    return f"margin {margins[0]:.3g} to {margins[-1]:.3g}"


def reward(rehearsal: Rehearsal) -> str:
    """Rewards, on top of what was trained: answers are drawn and compared with each other and with where they began."""
    config = rehearsal.config
    if not config.method.points or config.method.formulation != "sigmoid":
        return "left out: rewards need an interval's probability, which this method does not have"
    form = config.reward.form if config.reward.draws else "grpo"
    config = replace(config, method=replace(config.method, standing_weight=0.0),  # rewarded are whole videos only
                     data=replace(config.data, ask_early=0.0),
                     parts=replace(config.parts, start=str(rehearsal.trained), language="", frames=""),
                     training=replace(config.training, steps=min(REWARDED, config.training.steps)),
                     preference=replace(config.preference, form="off"),
                     reward=replace(config.reward, form=form, answers=ANSWERS, kl=0.04, supervised=1.0,
                                    max_new_tokens=NEW_TOKENS))
    train(config, rehearsal.folder / "rewards")
    lines = logged(rehearsal.folder / "rewards", "reward")
    return (f"reward {lines[0]['reward']:.3g} to {lines[-1]['reward']:.3g}, "
            f"{lines[-1]['readable']:.0%} of the answers can be read")


def logged(folder: Path, name: str) -> list[dict]:
    """The lines of a run's history that have a value of this name."""
    return [line for line in json_lines(folder / "history.jsonl") if name in line]


def evaluate(rehearsal: Rehearsal) -> str:
    """The questions of a benchmark, shared out between two shards."""
    annotations, videos = find("world", rehearsal.world.folder)
    data, decoding = replace(rehearsal.config.data, ask_early=0.0), replace(judging.GREEDY, max_new_tokens=NEW_TOKENS)
    for index in (0, 1):
        records = judging.evaluate(str(rehearsal.folder / "preferences" / "model"), annotations, videos,
                                   rehearsal.folder / "answers", decoding, data, (index, 2), QUESTIONS,
                                   benchmark="world")
    if len(records) != QUESTIONS or any("error" in record for record in records):
        raise LabError(f"{len(records)} of {QUESTIONS} questions are answered: {records}")
    return f"{len(records)} answers, {sum(len(record['evidence']) for record in records)} evidence tokens in them"


def score(rehearsal: Rehearsal) -> str:
    """Those answers, scored."""
    answers = rehearsal.folder / "answers"
    scores, _ = judging.score(answers, "world", "clean", all_answers(answers))
    write_json(answers / "score_clean.json", scores)
    return f"{len(scores)} numbers"


def ask_video(rehearsal: Rehearsal) -> str:
    """A question about one video, as a notebook asks it."""
    lab = ask.load(rehearsal.folder / "preferences" / "model", max_frames=rehearsal.config.data.max_frames)
    answer = lab.watch(next(rehearsal.world.videos.iterdir())).ask("when does the red disc spin?")
    return repr(answer.text.strip()[:40])


def precision(rehearsal: Rehearsal) -> str:
    """On a GPU: what bfloat16 changes, and the speed."""
    return compare_precisions(rehearsal.trained, rehearsal.config)


STAGES: dict[str, Stage] = {
    "dry run": look, "train": train_whole, "kill and resume": kill_and_resume, "save and load": save_and_load,
    "merge": merge_adapter, "preferences": prefer, "rewards": reward, "evaluate": evaluate, "score": score,
    "ask": ask_video}
NEEDED = {"dry run", "train"}  # without these, the others cannot be tried
if torch.cuda.is_available():
    STAGES["precision"] = precision
