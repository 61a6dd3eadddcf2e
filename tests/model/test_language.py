"""Pretrained backbones without a hub."""

import json
from pathlib import Path

import hub_server
import pytest
import torch
from small import history, language, tokenizer
from transformers import CLIPVisionConfig, CLIPVisionModel

from d2vlm_lab.config import read_config
from d2vlm_lab.data.groups import encode_question
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.run import train
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.decoding import Decoding, generate
from d2vlm_lab.model.language import load_language, read_language
from d2vlm_lab.model.start import start
from d2vlm_lab.settings import from_dict, override


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """A small vision tower with random weights, saved as a hub would hold it."""
    folder = tmp_path_factory.mktemp("tower")
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                                     image_size=64, patch_size=16)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_center_crop": True, "size": {"shortest_edge": 64},
         "crop_size": {"height": 64, "width": 64}}))
    return str(folder)


def test_a_local_folder_becomes_a_model_with_evidence_tokens(tmp_path, tower):
    language().save_pretrained(tmp_path / "language")
    tokenizer().save_pretrained(tmp_path / "language")
    config = read_config("smollm2", {"parts.language": str(tmp_path / "language"), "parts.frames": tower,
                                     "method.semantic_layer": 2})
    model = load_language(config.parts, config.method)
    assert model.tokenizer.convert_tokens_to_ids("<evi>") >= 258 and model.frames.preparation.size == (64, 64)


def test_a_language_model_and_a_tower_come_by_their_hub_ids(tmp_path, tower, monkeypatch):
    language().save_pretrained(tmp_path / "language")
    tokenizer().save_pretrained(tmp_path / "language")
    with hub_server.running() as hub:
        hub_server.use(hub, tmp_path / "cache", monkeypatch)
        hub.add_folder("org/language", tmp_path / "language", "v2")
        hub.add_folder("org/tower", Path(tower))
        hub.add("org/pickled", {"config.json": (tmp_path / "language" / "config.json").read_bytes(),
                                "pytorch_model.bin": b"a pickle"})
        one, other = (start(read_config("smollm2", {
            "parts.language": place, "parts.frames": frames, "method.semantic_layer": 2})).state_dict()
            for place, frames in (("org/language@v2", "org/tower"), (str(tmp_path / "language"), tower)))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        with pytest.raises(LabError, match="parts.language: org/pickled cannot be loaded"):
            read_language("org/pickled")
        with pytest.raises(LabError, match="org/missing: no such folder here, and no such model at http://127.0.0.1"):
            read_language("org/missing")
        assert not hub.downloads("pytorch_model.bin")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_of_any_precision_are_held_in_the_wanted_one(tmp_path, tower, dtype):
    """Files of 16 bits, as most are published, become float32 unless `parts.dtype` says otherwise."""
    language().to(torch.bfloat16).save_pretrained(tmp_path / "language")
    tokenizer().save_pretrained(tmp_path / "language")
    config = read_config("smollm2", {"parts.language": str(tmp_path / "language"), "parts.frames": tower,
                                     "method.semantic_layer": 2, "parts.dtype": dtype})
    model = start(config)
    assert {value.dtype for value in (*model.language.parameters(), *model.frames.tower.parameters())} == {
        getattr(torch, dtype)}
    assert model.language.model.rotary_emb.inv_freq.dtype == model.frame_head[1].weight.dtype == torch.float32
    assert load(save(prepare(model, config), tmp_path / "saved")).dtype == getattr(torch, dtype)


def test_weights_that_are_not_there_are_named(tmp_path):
    for source, message in (("package:no_such_package", "no such package"), (str(tmp_path), "cannot be loaded"),
                            ("nowhere.gguf", "cannot be loaded")):
        with pytest.raises(LabError, match=message):
            read_language(source)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_smollm2_learns_a_little_on_the_cpu_and_its_checkpoint_loads_and_answers(tmp_path, tower):
    make_world(tmp_path / "world", from_dict(WorldConfig, {"videos": 10}), workers=1)
    config = override(read_config("smollm2"), {
        "parts.frames": tower, "data.world": str(tmp_path / "world"), "data.limit": 1, "training.steps": 12,
        "training.videos": 1, "training.texts": 4, "training.log_every": 4, "training.eval_every": 12,
        "training.save_every": 12, "training.learning_rate": 1e-3, "training.rest_learning_rate": 1e-3,
        "evaluation.samples": 1, "evaluation.max_new_tokens": 16})
    train(config, tmp_path / "run", str)
    losses = [line["loss"] for line in history(tmp_path / "run") if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    model = load(tmp_path / "run" / "model")
    _, val = splits(config)
    sample = val.samples[0]
    clip = reader(config, model.frames, val.videos)(sample)
    prompt = encode_question(sample, clip, model.tokenizer, model.prompt, model.method)
    assert generate(model, [clip], [[prompt]], Decoding(8))[0].ids
