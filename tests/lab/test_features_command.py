"""Features are kept in the precision that is set, computed beforehand where one likes, or not kept at all."""

import numpy as np
import pytest
import torch
import transformers as hf
from small import eva_qformer, history, tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import RunConfig
from d2vlm_lab.data import features, splits
from d2vlm_lab.data.groups import batch_of
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.predict import predict
from d2vlm_lab.lab.run import dry_run, train
from d2vlm_lab.model.checkpoint import save
from d2vlm_lab.model.decoding import Decoding
from d2vlm_lab.model.frames import HFFrames
from d2vlm_lab.settings import from_dict, override


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A world of six videos, a random base and a preset beside it."""
    folder = tmp_path_factory.mktemp("features")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 6, "seed": 5}), workers=1)
    save(tiny_model(), folder / "base")
    (folder / "plain.yaml").write_text(f"parts: {{start: {folder / 'base'}}}\ndata: {{world: {folder / 'world'}}}\n"
                                       "method: {semantic_layer: 1}\nadapter: {rank: 4}\n")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setattr(splits, "CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def config(place):
    return override(RunConfig(), {
        "parts.start": str(place / "base"), "data.world": str(place / "world"), "method.semantic_layer": 1,
        "adapter.rank": 4, "training.steps": 3, "training.videos": 2, "training.eval_every": 3,
        "training.save_every": 3, "training.log_every": 1, "evaluation.samples": 2, "evaluation.max_new_tokens": 6})


def clip_tower(dropout=0.0):
    torch.manual_seed(0)
    return hf.CLIPVisionModel(hf.CLIPVisionConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                                  image_size=28, patch_size=7, intermediate_size=64,
                                                  attention_dropout=dropout))


def read_first(config, encoder):
    train_split, _ = splits.splits(config)
    sample = train_split.samples[0]
    return sample, splits.reader(config, encoder, train_split.videos)(sample)


@pytest.mark.parametrize("make", [lambda: HFFrames(clip_tower(), 32), lambda: eva_qformer(32)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_features_of_a_tower_in_any_precision_are_kept_as_the_setting_says(config, make, dtype):
    encoder = make()
    encoder.tower.to(dtype)
    _, frames = read_first(override(config, {"data.cache": "off"}), encoder)
    assert frames.features.dtype == torch.uint8 and frames.features.shape[1:] == (28, 28, 3)
    exact = encoder.encode(frames.features)
    assert exact.dtype == dtype
    for kept_as, kept in (("fp32", torch.float32), ("fp16", torch.float16)):
        for _ in range(2):  # made, then read
            _, clip = read_first(override(config, {"data.cache": kept_as}), encoder)
            assert torch.equal(clip.features, exact.to(kept)) and np.array_equal(clip.timestamps, frames.timestamps)


def test_features_that_are_too_large_for_16_bits_are_an_error(place, cache):
    kept = features.FeatureCache(cache, "e", kept_as="fp16")
    with pytest.raises(LabError, match="too large for 16 bits; set data.cache=fp32"):
        kept.get(place / "world" / "videos" / "train_00000.mp4", lambda frames: frames.float().mean((1, 2)) + 1e5)


def test_training_on_frames_equals_training_on_their_features(config, tmp_path):
    for kept_as in ("fp32", "off"):
        train(override(config, {"data.cache": kept_as}), tmp_path / kept_as, str)
    timeless = [[{key: value for key, value in line.items() if "second" not in key and "runtime" not in key}
                 for line in history(tmp_path / kept_as)] for kept_as in ("fp32", "off")]
    assert timeless[0] == timeless[1] and any("loss" in line for line in timeless[0])


def test_frames_are_encoded_in_evaluation_mode_and_without_gradients(config):
    model = tiny_model(HFFrames(clip_tower(dropout=0.9), 32, 4)).train()
    model.frames.tower.requires_grad_(True)
    sample, frames = read_first(override(config, {"data.cache": "off"}), model.frames)
    _, kept = read_first(config, model.frames)
    with torch.autocast("cpu", torch.bfloat16):
        read = [model.read(batch_of(model, [sample], lambda _, clip=clip: clip)).projected for clip in (frames, kept)]
    assert torch.equal(*read)
    read[0].sum().backward()
    assert model.frames.projector.weight.grad is not None
    assert all(value.grad is None for value in model.frames.tower.parameters())


def test_answers_about_frames_are_answers_about_their_features(config):
    model = tiny_model().eval()
    train_split, _ = splits.splits(config)
    answers = [[p.generated.ids for p in predict(model, train_split.samples[:4], splits.reader(
        override(config, {"data.cache": kept_as}), model.frames, train_split.videos), Decoding(6))]
        for kept_as in ("fp32", "off")]
    assert answers[0] == answers[1]


def test_frames_cannot_be_pruned_by_features_that_are_not_kept(config):
    with pytest.raises(LabError, match="data.keep_frames: frames are chosen by their features"):
        override(config, {"data.cache": "off", "data.keep_frames": 4})


def test_the_features_of_a_run_are_computed_beforehand_in_shards(place, config, cache, capsys, monkeypatch):
    for shard in ("0/2", "1/2"):
        assert main(["features", str(place / "plain.yaml"), "data.cache=fp16", "--shard", shard]) == 0
    made = list(cache.glob("*/*-fp16/*.features"))
    train_split, val = splits.splits(config)
    videos = {s.video for s in train_split.samples} | {s.video for s in splits.held_out_questions(val, config)}
    assert len(made) == len(videos)
    capsys.readouterr()
    assert main(["features", str(place / "plain.yaml"), "data.cache=fp16"]) == 0
    assert f"{len(made)} of {len(made)} videos: 0 encoded, {len(made)} were there before" in capsys.readouterr().out
    monkeypatch.setattr(features, "read_parts", None)  # reading a video would fail
    kept = override(config, {"data.cache": "fp16"})
    _, clip = read_first(kept, tiny_model().frames)
    assert clip.features.dtype == torch.float16


def test_videos_that_cannot_be_read_are_named_and_skipped(place, tmp_path, capsys):
    broken = tmp_path / "world"
    make_world(broken, from_dict(WorldConfig, {"videos": 6, "seed": 5}), workers=1)
    (broken / "videos" / "train_00001.mp4").write_bytes(b"no video")
    command = ["features", str(place / "plain.yaml"), f"data.world={broken}"]
    assert main(command) == 1  # more than data.bad_share
    out = capsys.readouterr().out
    assert "train_00001.mp4: not a video" in out and "1 cannot be read" in out
    assert main([*command, "data.bad_share=0.5"]) == 0


def test_without_a_cache_there_is_nothing_to_compute(place, capsys):
    assert main(["features", str(place / "plain.yaml"), "data.cache=off"]) == 2
    assert "data.cache=off keeps no features" in capsys.readouterr().err


def test_a_dry_run_says_how_much_disk_the_features_take(config, monkeypatch):
    train_split, _ = splits.splits(config)
    seconds = {sample.video: sample.duration for sample in train_split.samples}
    frames = sum(int(each * 2) + 1 for each in seconds.values())
    size = 16 + 6  # of TinyFrames: a summary and its words
    monkeypatch.setattr("d2vlm_lab.lab.commands.features.BYTES", {"fp16": 2 * 2**20, "fp32": 4 * 2**20})
    for kept_as, bytes_each in (("fp16", 2), ("fp32", 4)):
        plan = dry_run(override(config, {"data.cache": kept_as}))
        assert f"features: {size * bytes_each * 2**20:,} bytes a frame, {frames * size * bytes_each:,} MB in" in plan
        assert f"{len(seconds)} training videos with about {frames:,} frames (data.cache={kept_as})" in plan
    plan = dry_run(override(config, {"data.cache": "off"}))
    assert f"keeps nothing; for {len(seconds)} training videos with about {frames:,} frames it would be " in plan
    assert f"{frames * size * 2:,} MB (fp16) or {frames * size * 4:,} MB (fp32)" in plan
