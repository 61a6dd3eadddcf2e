"""The life of a run with other outputs for time: trained, interrupted, examined, asked."""

import shutil

import pytest
import torch
from small import tiny_model, weights

from d2vlm_lab.config import RunConfig
from d2vlm_lab.data.world import load as load_world
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.judging.exam import examine
from d2vlm_lab.lab import ask
from d2vlm_lab.lab.rehearsal.command import rehearse
from d2vlm_lab.lab.run import dry_run, train
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.settings import from_dict, override

TOKENS = {"method.style": "time_tokens"}
BINS = {"method.formulation": "bins", "method.consistency_weight": 0.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A world of ten videos and a random base beside it."""
    folder = tmp_path_factory.mktemp("times")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 10, "seed": 5}), workers=1)
    save(tiny_model(), folder / "base")
    return folder


def config(place, way):
    return override(RunConfig(), {
        "parts.start": str(place / "base"), "data.world": str(place / "world"), "method.semantic_layer": 1,
        "adapter.rank": 4, "adapter.embeddings": "evidence", "training.steps": 4, "training.videos": 4,
        "training.log_every": 1, "training.eval_every": 4, "training.save_every": 2, "evaluation.samples": 2,
        "evaluation.max_new_tokens": 8} | way)


@pytest.mark.parametrize("way", [TOKENS, BINS])
def test_a_run_is_trained_goes_on_after_an_interruption_and_is_examined(place, tmp_path, monkeypatch, way):
    monkeypatch.setattr("d2vlm_lab.data.splits.CACHE", str(tmp_path / "cache"))
    run, whole = config(place, way), tmp_path / "whole"
    train(run, whole, str)
    shutil.copytree(whole, again := tmp_path / "again")
    for name in ("metrics.json", "model", "checkpoints/checkpoint-4"):
        path = again / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    train(run, again, str)
    first, second = (weights(folder / "model") for folder in (whole, again))
    own = "time_symbols.table.weight" if way is TOKENS else "bins.encoder.0.weight"
    assert own in {name for _, name in first} and first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)

    model = load(whole / "model")
    scores = examine(model, run, 2).scores
    assert {"named_F1@0.5", "dvc_caption_F1", "held_out_answer", "refusal_F1"} <= set(scores)
    if way is BINS:
        assert "read_at_0.5" in scores and scores["held_out_grounding"] > 0
        assert not any(name.startswith("prefers") for name in scores), "these intervals have no probability"
    else:
        assert "read_at_0.5" not in scores and "prefers_when" in scores
    video = next(load_world(place / "world").videos.iterdir())
    assert ask.load(whole).watch(video).ask("what happens in <evi>?", intervals=[(1.0, 2.0)]).text


def test_a_dry_run_shows_the_symbols_of_times(place, tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.splits.CACHE", str(tmp_path / "cache"))
    shown = dry_run(config(place, TOKENS | {"data.tasks": ["tvg"]}))
    supervised = next(line for line in shown.splitlines() if line.startswith("supervised:"))
    sample = next(line for line in shown.splitlines() if line.startswith("sample ")).split(",")[0].split()[1]
    events = next(s for s in load_world(place / "world").samples("train") if s.id == sample).events
    assert "<evi>{:06.1f},{:06.1f};".format(*events[0].interval) in supervised


@pytest.mark.slow
@pytest.mark.parametrize("way", [TOKENS, BINS])
def test_the_whole_life_of_a_run_can_be_rehearsed(way):
    results = rehearse("tiny", [f"{key}={value}" for key, value in way.items()], report=lambda done: None)
    assert [done.note for done in results if not done.ok] == []
