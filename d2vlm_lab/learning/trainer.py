"""Training on the Hugging Face Trainer: losses, log, checkpoints."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from .. import processes
from ..config import RunConfig
from ..data.groups import Collator
from ..data.skips import Skips
from ..errors import LabError
from ..files import json_lines, write_json_lines
from ..model.checkpoint import DESCRIPTION, fill, save
from ..model.d2vlm import D2VLM
from ..model.precision import check_trained
from ..model.seal import check_seal
from ..reader import read_json
from .fpo import Preferences
from .grpo import IntervalLoss, Rewards
from .resuming import Complete, last_checkpoint, same_run

# Environment variables with which a study names its runs, so that a tracker groups them.
RUN_NAME, STUDY_NAME = "D2VLM_RUN", "D2VLM_STUDY"


class NotFinite(LabError):
    """A part of the loss became NaN or infinite."""


class GroundedTrainer(Trainer):
    """The Trainer with every part of the loss in the log, two learning rates, and checkpoints of trained weights."""

    def __init__(self, *args, config: RunConfig, judge: Callable[[D2VLM], dict[str, float]] | None = None,
                 stage: Preferences | Rewards | IntervalLoss | None = None, skips: Skips | None = None, **kwargs):
        self.config, self.judge, self.stage, self.skips = config, judge, stage, skips
        # What compute_loss has noted since the last line of the log, in training (True) and in evaluation (False).
        self.notes: dict[bool, dict[str, list[torch.Tensor]]] = {True: defaultdict(list), False: defaultdict(list)}
        self.judged: tuple[int, dict[str, float]] = (-1, {})  # the step of the newest scores of `judge`, and the scores
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False

    def _prepare_inputs(self, inputs):
        """Report what was left out at the time when a batch is used, so that loading ahead changes nothing."""
        if "indices" in inputs:  # a worker could not load these samples
            data = self.train_dataset if self.model.training else self.eval_dataset
            inputs = self.data_collator([data[index] for index in inputs["indices"]])
        for skip in inputs["skipped"]:
            self.skips.add(skip)
        if inputs["batch"] is None:
            raise LabError(f"no sample can be used; the last: {inputs['skipped'][-1].message}")
        return {"batch": inputs["batch"].to(self.args.device)}

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        """The sum of the parts, which must be finite; each part is noted for the log.

        Checking that it is finite is the only time that a supervised step waits for the GPU.
        """
        batch = inputs["batch"]
        if isinstance(self.stage, Rewards):  # answers are drawn from the model, and learned instead of the true ones
            draw = self.stage.draw(self.plain_model, batch, self.state.global_step)
            out, notes = self.stage(self.plain_model, draw, model(draw.selected.batch))
        else:
            out, notes = model(batch), {}
            if self.stage is not None:
                out, notes = self.stage(self.plain_model, batch, out)
        if not out.loss.isfinite():
            name, value = next((name, part.item()) for name, part in out.parts.items() if not part.isfinite())
            raise NotFinite(f"step {self.state.global_step + 1}: the {name} loss is {value}; samples of the batch: "
                            f"{', '.join(batch.names)}")
        notes |= {f"loss_{name}": part for name, part in out.parts.items()} | {"spread": out.spread}
        for name, value in notes.items():
            self.notes[model.training][name].append(value.detach().to(out.loss.device))  # rewards are on the CPU
        return (out.loss, out) if return_outputs else out.loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def log(self, logs, start_time=None):
        if "loss" in logs:
            logs = logs | self.mean_notes(training=True)
        super().log(logs, start_time)

    def mean_notes(self, training: bool) -> dict[str, float]:
        """The means of what all processes noted since the last call; the values come from the GPU at once."""
        noted = [(name, value) for name, values in self.notes[training].items() for value in values
                 if value.numel()]  # empty are those about evidence in a batch without any
        self.notes[training].clear()
        numbers = iter(torch.cat([value.reshape(-1).float() for _, value in noted]).tolist() if noted else ())
        means = [(name, sum(next(numbers) for _ in range(value.numel())) / value.numel()) for name, value in noted]
        steps: dict[str, list[float]] = defaultdict(list)
        for name, mean in chain.from_iterable(processes.from_all(means)):
            if not math.isnan(mean):  # such as the spread of a batch without evidence tokens
                steps[name].append(mean)
        return {name: sum(values) / len(values) for name, values in steps.items()}

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """The loss on held-out samples; with a second stage, also its log; then the scores of generated answers."""
        self.notes[False].clear()
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        further = []
        if self.stage is not None:
            further.append(self.mean_notes(training=False))
        if self.judge is not None:
            self.judged = self.state.global_step, self.judge(self.plain_model)
            further.append(self.judged[1])
        for values in further:
            values = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
            self.log(values)
            metrics |= values
        return metrics

    @property
    def plain_model(self) -> D2VLM:
        """The model without what distributed training wraps around it."""
        return self.accelerator.unwrap_model(self.model)

    def create_optimizer(self, model=None):
        """AdamW with one learning rate for LoRA and another one for everything else that is trained."""
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

    def save_model(self, output_dir=None, _internal_call=False):
        """Other processes add their own states to a checkpoint, so they wait until the first process has put it there.

        Otherwise a folder that they made would be in the way of the first process, or it would replace what they wrote.
        """
        super().save_model(output_dir, _internal_call)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir=None, state_dict=None):
        if self.args.should_save:  # transformers calls this in every process
            base = self.config.parts.base
            save(self.plain_model, output_dir, base=base, begun=None if base else self.config)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        check_seal(folder, read_json(folder / DESCRIPTION, dict))  # this also checks that the base is still the same
        fill(self.plain_model, folder, whole=False)


class Epochs(TrainerCallback):
    """Tells the training set which pass over the data begins; this decides which group replaces an unusable one."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **_):
        train_dataloader.dataset.epoch = int(state.epoch)


class History(TrainerCallback):
    """Writes all that is logged into history.jsonl, with the clock seconds and CPU seconds that training has taken."""

    def __init__(self, path: Path):
        self.path = path
        self.spent_before = {"seconds": 0.0, "cpu_seconds": 0.0}  # spent by attempts that were interrupted
        self.started: dict[str, float] | None = None

    def on_train_begin(self, args, state, control, **_):
        """A resumed run forgets the lines that came after the checkpoint from which it goes on."""
        self.started = _clocks()
        if state.is_world_process_zero and self.path.exists():
            kept = [line for line in json_lines(self.path) if line["step"] <= state.global_step]
            if kept:
                self.spent_before = {name: kept[-1][name] for name in self.spent_before}
            write_json_lines(self.path, kept)

    def on_log(self, args, state, control, logs=None, **_):
        if state.is_world_process_zero and logs:
            now = _clocks()
            started = self.started or now
            spent = {name: round(self.spent_before[name] + now[name] - started[name], 2) for name in now}
            with open(self.path, "a", encoding="utf-8") as out:
                out.write(json.dumps({"step": state.global_step} | spent | logs) + "\n")


def _clocks() -> dict[str, float]:
    return {"seconds": time.time(), "cpu_seconds": time.process_time()}


def in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and shell.get_ipython() is not None


def arguments(config: RunConfig, folder: Path) -> TrainingArguments:
    """The settings of a run as arguments of the Trainer."""
    training, gpu = config.training, torch.cuda.is_available()
    quiet = not (sys.stderr.isatty() or in_notebook())
    warmup, decay = round(training.warmup * training.steps), max(1, round(training.decay * training.steps))
    given = TrainingArguments(
        output_dir=str(folder / "checkpoints"), report_to="none", max_steps=training.steps,
        run_name=os.environ.get(RUN_NAME, folder.resolve().name), project=os.environ.get(STUDY_NAME, "d2vlm_lab"),
        per_device_train_batch_size=training.videos, per_device_eval_batch_size=training.videos,
        gradient_accumulation_steps=training.accumulate, learning_rate=training.learning_rate,
        weight_decay=training.weight_decay, lr_scheduler_type="warmup_stable_decay", warmup_steps=warmup,
        lr_scheduler_kwargs={"num_decay_steps": min(decay, training.steps - warmup), "min_lr_ratio": 0.0},
        max_grad_norm=training.clip, bf16=training.bfloat16,
        fp16=config.parts.dtype == "float16" and torch.cuda.is_available(),  # scales the loss: small gradients vanish
        logging_steps=training.log_every, disable_tqdm=quiet,
        eval_strategy="steps", eval_steps=training.eval_every, save_strategy="steps", save_steps=training.save_every,
        save_total_limit=2, seed=config.seed, data_seed=config.seed, remove_unused_columns=False,
        dataloader_num_workers=training.workers, use_cpu=not gpu, dataloader_pin_memory=gpu,
        accelerator_config={"non_blocking": gpu}, logging_nan_inf_filter=False,
        ddp_find_unused_parameters=True, log_level="error" if quiet else "warning", average_tokens_across_devices=False)
    if given.n_gpu > 1:  # the Trainer would cut each batch into pieces for several GPUs, and our batches cannot be cut
        print(f"{given.n_gpu} GPUs are visible; this process trains on {given.device} alone. To use all of them, start "
              f"it as: torchrun --nproc_per_node={given.n_gpu} -m d2vlm_lab.cli train ...", file=sys.stderr)
        given._n_gpu = 1
    return given


def check_trackers(config: RunConfig) -> None:
    for name in config.training.report_to:
        if find_spec(name) is None:
            raise LabError(f"training.report_to names {name}, which is not installed: pip install {name}")


def trackers(config: RunConfig, folder: Path) -> list[TrainerCallback]:
    """The Trainer's own integrations; each logs every part of the loss by its name."""
    def make(name: str) -> TrainerCallback:
        if name == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter
            return INTEGRATION_TO_CALLBACK[name](SummaryWriter(folder / name))
        return INTEGRATION_TO_CALLBACK[name]()

    check_trackers(config)
    return [make(name) for name in config.training.report_to]


def fit(model: D2VLM, config: RunConfig, train: Dataset, held_out: Dataset, folder: Path,
        judge: Callable[[D2VLM], dict[str, float]], skips: Skips, content: dict[str, str]) -> dict[str, float]:
    """Train in `folder`, or go on where an interrupted run stopped; the model is left in `folder / "model"`.

    `judge` gives the scores of generated answers, which are logged after each evaluation. Returns the scores of the
    trained model, which are not computed again if the last step was evaluated. `content`: see `resuming.contents`.
    """
    same_run(folder, config, content)
    set_seed(config.seed)
    trainer = GroundedTrainer(
        model=model, args=arguments(config, folder), train_dataset=train, eval_dataset=held_out, config=config,
        data_collator=Collator(model.tokenizer, model.prompt), judge=judge, stage=second_stage(config, model),
        skips=skips, callbacks=[Epochs(), History(folder / "history.jsonl"), Complete(), *trackers(config, folder)])
    model.two_pass = config.training.gradient_checkpointing
    if config.training.gradient_checkpointing:
        model.language.activation_checkpointing_enable({"use_reentrant": False})
    check_trained(model)
    model.can_ground = True  # already now, so that a checkpoint of this run can be gone on from like its end
    checkpoints = folder / "checkpoints"
    try:
        trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    except Exception:
        last_checkpoint(checkpoints)  # removes a checkpoint that was cut off: on a full disk it would be in the way
        raise
    if trainer.is_world_process_zero():
        save(model, folder / "model", base=config.parts.base)
    step, scores = trainer.judged
    return scores if step == trainer.state.global_step else judge(model)


def second_stage(config: RunConfig, model: D2VLM) -> Preferences | Rewards | IntervalLoss | None:
    """What is learned after supervised training, or instead of it; a copy of the model is kept if it is needed."""
    if config.preference.form != "off":
        return Preferences(config.preference, model)
    if config.reward.form == "iou_loss":
        return IntervalLoss(config.reward)
    if not config.reward.draws:
        return None
    return Rewards(config.reward, model, config.seed)


def check_can_draw(config: RunConfig, model: D2VLM) -> None:
    if config.reward.draws and not model.can_ground:
        begun = config.parts.start or config.parts.language
        raise LabError(f"reward.form={config.reward.form} draws answers from a trained model, but {begun} was never "
                       "trained to ground; name a trained checkpoint in parts.start")
