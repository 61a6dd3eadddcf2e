"""A model computes on a GPU if there is one, whoever asks it. Here, where there is none, moves are only noted."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from small import tiny_model

from d2vlm_lab.config import Data, RunConfig, read_config
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.ideas.rejected import Recipe
from d2vlm_lab.judging import evaluate as e
from d2vlm_lab.judging.exam import examine
from d2vlm_lab.lab import ask
from d2vlm_lab.lab.preferences.command import sample_pairs
from d2vlm_lab.learning.trainer import arguments
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.decoding import Decoding
from d2vlm_lab.model.device import on_device
from d2vlm_lab.settings import from_dict, override


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 10, "seed": 1}), workers=1)
    save(tiny_model(), folder / "model")
    return folder


@pytest.fixture
def moves(monkeypatch):
    """Two GPUs, to all appearances; the devices that a model is moved to."""
    noted = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    monkeypatch.setattr(D2VLM, "to", lambda model, device: noted.append(device) or model)
    return noted


def test_evaluate_spreads_its_shards_over_the_gpus(place, moves, tmp_path):
    world = place / "world"
    for index in range(3):
        e.evaluate(str(place / "model"), world / "etbench.json", world / "videos", tmp_path / "out", Decoding(2),
                   Data(fps=2.0), shard=(index, 3), limit=3, report=str)
    assert moves == ["cuda:0", "cuda:1", "cuda:0"]


def test_the_exam_the_policy_and_the_lab_use_a_gpu(place, moves):
    config = override(read_config("tiny"), {"data.world": str(place / "world"), "evaluation.max_new_tokens": 2})
    examine(load(place / "model"), config, 1)
    assert moves == ["cuda"]
    args = Namespace(policy=str(place / "model"), videos=place, source=Path(), fps=2.0, max_frames=None,
                     temperature=1.0, max_new_tokens=8, tries=1, shard=(3, 4))
    sample_pairs([], Recipe(), args, str)
    assert moves == ["cuda", "cuda:1"], "of two GPUs, the fourth shard takes the second"
    ask.load(place / "model")
    ask.load(place / "model", device="cuda:1")
    assert moves == ["cuda", "cuda:1", "cuda", "cuda:1"]


def test_without_a_gpu_it_stays_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert on_device(tiny_model(), worker=1).device.type == "cpu"


def test_one_process_trains_on_one_of_several_gpus_and_says_so(tmp_path, monkeypatch, capsys):
    import d2vlm_lab.learning.trainer as trainer

    class SeesThree(trainer.TrainingArguments):
        def __post_init__(self):
            super().__post_init__()
            self._n_gpu = 3

    monkeypatch.setattr(trainer, "TrainingArguments", SeesThree)
    given = arguments(RunConfig(), tmp_path)
    assert given.n_gpu == 1 and given.train_batch_size == RunConfig().training.videos
    assert "3 GPUs are visible; this process trains on cpu alone" in (told := capsys.readouterr().err)
    assert "torchrun --nproc_per_node=3" in told
