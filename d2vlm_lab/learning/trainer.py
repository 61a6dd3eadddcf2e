"""Supervised fine-tuning: one config from data to a trained, saved, scored checkpoint, on the Hugging Face Trainer."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_utils import get_last_checkpoint

from ..config import RunConfig
from ..data.groups import Collator
from ..errors import LabError
from ..files import atomic_path
from ..model.checkpoint import fill, save
from ..model.d2vlm import D2VLM
from ..settings import to_dict
from .fpo import Preferences


class NotFinite(LabError):
    """A loss part became NaN or infinite."""


class GroundedTrainer(Trainer):
    """The Trainer with our loss parts by name, two learning rates, and checkpoints of what is trained only."""

    def __init__(self, *args, config: RunConfig, evaluate_grounding=None, preferences: Preferences | None = None,
                 **kwargs):
        self.config, self.evaluate_grounding, self.preferences = config, evaluate_grounding, preferences
        self.seen: dict[bool, dict[str, list[float]]] = {True: defaultdict(list), False: defaultdict(list)}
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        out, notes = model(inputs["batch"]), {}
        if self.preferences is not None:
            out, notes = self.preferences(self.plain_model, inputs["batch"], out)
        parts = {name: float(value.detach()) for name, value in out.parts.items()}
        if bad := [name for name, value in parts.items() if not abs(value) < float("inf")]:
            raise NotFinite(f"step {self.state.global_step + 1}: the {bad[0]} loss is {parts[bad[0]]}; samples of the "
                            f"batch: {', '.join(inputs['batch'].names)}")
        notes |= {f"loss_{name}": value for name, value in parts.items()} | {"spread": float(out.spread)}
        for name, value in notes.items():
            if value == value:
                self.seen[model.training][name].append(value)
        return (out.loss, out) if return_outputs else out.loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def log(self, logs, start_time=None):
        if "loss" in logs:
            logs = logs | self.means(True)
        super().log(logs, start_time)

    def means(self, training: bool) -> dict[str, float]:
        """Of what was seen since the last time, in training or in evaluation."""
        means = {name: sum(values) / len(values) for name, values in self.seen[training].items()}
        self.seen[training].clear()
        return means

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        self.seen[False].clear()
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if self.preferences is not None:
            held_out = {f"{metric_key_prefix}_{name}": value for name, value in self.means(False).items()}
            self.log(held_out)
            metrics |= held_out
        if self.evaluate_grounding is not None and self.is_world_process_zero():
            found = {f"{metric_key_prefix}_{k}": v for k, v in self.evaluate_grounding(self.plain_model).items()}
            self.log(found)
            metrics |= found
        return metrics

    @property
    def plain_model(self) -> D2VLM:
        return self.accelerator.unwrap_model(self.model)

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            adapter, rest = [], []
            for name, value in self.model.named_parameters():
                if value.requires_grad:
                    (adapter if "lora_" in name or self.config.adapter.targets == "all" else rest).append(value)
            training = self.config.training
            groups = [{"params": adapter, "lr": training.learning_rate},
                      {"params": rest, "lr": training.rest_learning_rate}]
            self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.999), eps=1e-8,
                                               weight_decay=training.weight_decay, foreach=True)
        return self.optimizer

    def _save(self, output_dir=None, state_dict=None):
        save(self.plain_model, output_dir, base=self.config.parts.start or "parts")

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        fill(self.plain_model, Path(resume_from_checkpoint) / "model.safetensors", whole=False)


class History(TrainerCallback):
    """Everything that is logged, as JSON Lines beside the run, with the time behind it: on the clock and of the CPU."""

    def __init__(self, path: Path):
        self.path, self.before, self.started = path, {"seconds": 0.0, "cpu_seconds": 0.0}, None

    def on_train_begin(self, args, state, control, **_):
        self.started = _clocks()
        if state.is_world_process_zero and self.path.exists():  # a resumed run forgets what came after its checkpoint
            kept = [line for line in map(json.loads, self.path.read_text().splitlines())
                    if line["step"] <= state.global_step]
            self.before = {name: kept[-1][name] for name in self.before} if kept else self.before
            with atomic_path(self.path) as partial:
                partial.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def on_log(self, args, state, control, logs=None, **_):
        if state.is_world_process_zero and logs:
            now, started = _clocks(), self.started or _clocks()
            spent = {name: round(self.before[name] + now[name] - started[name], 2) for name in now}
            with open(self.path, "a", encoding="utf-8") as out:
                out.write(json.dumps({"step": state.global_step} | spent | logs) + "\n")


def _clocks() -> dict[str, float]:
    return {"seconds": time.time(), "cpu_seconds": time.process_time()}


class Complete(TrainerCallback):
    """Marks a checkpoint as whole: a run killed while writing one goes on from the one before."""

    MARK = "complete"

    def on_save(self, args, state, control, **_):
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / self.MARK).touch()


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; broken ones are removed."""
    for path in folder.glob("checkpoint-*"):
        if not (path / Complete.MARK).exists():
            shutil.rmtree(path)
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None


def arguments(config: RunConfig, folder: Path) -> TrainingArguments:
    """Our settings in the Trainer's words."""
    t = config.training
    quiet = not (sys.stderr.isatty() or "ipykernel" in sys.modules)
    warmup, decay = round(t.warmup * t.steps), max(1, round(t.decay * t.steps))
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"), report_to="none",
        max_steps=t.steps, per_device_train_batch_size=t.videos, per_device_eval_batch_size=t.videos,
        gradient_accumulation_steps=t.accumulate, learning_rate=t.learning_rate, weight_decay=t.weight_decay,
        lr_scheduler_type="warmup_stable_decay", warmup_steps=warmup,
        lr_scheduler_kwargs={"num_decay_steps": min(decay, t.steps - warmup), "min_lr_ratio": 0.0},
        max_grad_norm=t.clip, bf16=t.bfloat16, logging_steps=t.log_every, disable_tqdm=quiet,
        eval_strategy="steps", eval_steps=t.eval_every, save_strategy="steps", save_steps=t.save_every,
        save_total_limit=2, seed=config.seed, data_seed=config.seed, remove_unused_columns=False,
        dataloader_num_workers=0, use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
        ddp_find_unused_parameters=True, log_level="error" if quiet else "warning", average_tokens_across_devices=False)


def fit(model: D2VLM, config: RunConfig, train: Dataset, val: Dataset, folder: Path, evaluate_grounding=None) -> dict:
    """Train (or go on training) in `folder`; the trained model is left in `folder / "model"`."""
    same_run(folder, config)
    set_seed(config.seed)
    preferences = Preferences(config.preference, model) if config.preference.form != "off" else None
    trainer = GroundedTrainer(
        model=model, args=arguments(config, folder), train_dataset=train, eval_dataset=val, config=config,
        data_collator=Collator(model.tokenizer, model.prompt), evaluate_grounding=evaluate_grounding,
        preferences=preferences,
        callbacks=[History(folder / "history.jsonl"), Complete(),
                   TensorBoardCallback(SummaryWriter(folder / "tensorboard"))])
    model.two_pass = config.training.gradient_checkpointing
    if config.training.gradient_checkpointing:
        model.language.gradient_checkpointing_enable({"use_reentrant": False})
    result = trainer.train(resume_from_checkpoint=last_checkpoint(folder / "checkpoints"))
    model.can_ground = True
    if trainer.is_world_process_zero():
        save(model, folder / "model", base=config.parts.start)
    return result.metrics


def same_run(folder: Path, config: RunConfig) -> None:
    """Leave the config in the folder; a folder that holds another run's is an error."""
    path, mine = folder / "config.json", to_dict(config)
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if theirs != mine:
            different = [f"{section}.{key}" for section in mine if isinstance(mine[section], dict)
                         for key in mine[section] if theirs.get(section, {}).get(key) != mine[section][key]]
            raise LabError(f"{folder} holds a run with other settings ({', '.join(different) or 'seed'}); "
                           "choose another folder, or delete this one")
    elif int(os.environ.get("RANK", 0)) == 0:
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")

