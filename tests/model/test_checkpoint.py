"""Saved and loaded is the same model, whole or as what was trained beside its base."""

import json

import pytest
import torch
from small import clip, text, tiny_model
from transformers import CLIPVisionConfig, CLIPVisionModel

from d2vlm_lab.config import RunConfig
from d2vlm_lab.data.batch import collate
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import checkpoint_id, load, save
from d2vlm_lab.model.frames import HFFrames
from d2vlm_lab.settings import override


def outputs(model):
    torch.manual_seed(1)
    shown = clip(9)
    features = model.frames.encode(torch.randint(0, 255, (9, 64, 64, 3), dtype=torch.uint8))
    shown = type(shown)(features, shown.timestamps)
    batch = collate([shown], [[text(model, shown, "when does the red disc spin?")]], model.tokenizer, model.prompt)
    with torch.no_grad():
        out = model(batch)
    return torch.cat([out.logits.flatten(), out.similarity.flatten(), out.loss[None]])


def train_a_little(model, **adapter):
    config = override(RunConfig(), {"adapter.rank": 4, "adapter.dropout": 0.0} | adapter)
    prepare(model, config)
    generator = torch.Generator().manual_seed(2)
    for value in model.parameters():
        if value.requires_grad:
            value.data += 0.1 * torch.randn(value.shape, generator=generator)
    model.can_ground = True
    return model.eval()


def test_a_whole_model_comes_back_bit_for_bit(tmp_path):
    model = tiny_model().eval()
    again = load(save(model, tmp_path / "whole"))
    assert torch.equal(outputs(model), outputs(again))
    assert again.prompt == model.prompt and again.method == model.method
    assert again.frames.id == model.frames.id


@pytest.mark.parametrize("adapter", [{}, {"adapter.embeddings": "evidence"}, {"adapter.targets": "linear"},
                                     {"adapter.targets": "all"}, {"adapter.variant": "dora"},
                                     {"adapter.targets": "none", "adapter.embeddings": "frozen"}])
def test_an_adapter_beside_its_base_comes_back_bit_for_bit(tmp_path, adapter):
    base = save(tiny_model(), tmp_path / "base")
    model = train_a_little(load(base), **adapter)
    again = load(save(model, tmp_path / "adapter", base=str(base)))
    assert torch.equal(outputs(model), outputs(again))
    assert again.can_ground and not torch.equal(outputs(again), outputs(load(base)))


def test_tied_embeddings_are_written_once_and_come_back_tied(tmp_path):
    model = tiny_model()
    config = model.language.config
    config.tie_word_embeddings = True
    model.language = type(model.language)(config)
    again = load(save(model.eval(), tmp_path / "tied"))
    assert again.language.lm_head.weight is again.language.model.embed_tokens.weight
    assert torch.equal(outputs(model), outputs(again))


def test_only_trained_tensors_are_written_beside_a_base(tmp_path):
    base = save(tiny_model(), tmp_path / "base")
    model = train_a_little(load(base), **{"adapter.embeddings": "frozen", "adapter.frames": "frozen"})
    small, whole = save(model, tmp_path / "small", base=str(base)), save(model, tmp_path / "whole")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (small, whole)]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_model_with_a_hugging_face_vision_tower_comes_back(tmp_path):
    torch.manual_seed(0)
    tower = CLIPVisionModel(CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                             num_attention_heads=2, image_size=64, patch_size=32))
    model = tiny_model(HFFrames(tower, 32, 4, Preparation((64, 64), resample=3, mean=(0.5, 0.5, 0.5)))).eval()
    again = load(save(model, tmp_path / "hf"))
    assert torch.equal(outputs(model), outputs(again)) and again.frames.preparation == model.frames.preparation


def test_a_checkpoint_whose_frames_were_described_by_size_mean_and_deviation_still_loads(tmp_path):
    tower = CLIPVisionModel(CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                             num_attention_heads=2, image_size=64, patch_size=32))
    model = tiny_model(HFFrames(tower, 32, 1, Preparation.square(64, (0.5, 0.4, 0.3)))).eval()
    folder = save(model, tmp_path / "hf")
    description = json.loads((folder / "d2vlm.json").read_text())
    preparation = description["frames"].pop("preparation")
    description["frames"] |= {"size": 64, "mean": preparation["mean"], "std": preparation["std"]}
    (folder / "d2vlm.json").write_text(json.dumps(description))
    again = load(folder)
    assert torch.equal(outputs(model), outputs(again)) and again.frames.id == model.frames.id


def test_bad_checkpoints_are_named(tmp_path):
    with pytest.raises(LabError, match="neither a checkpoint of this project"):
        load(tmp_path)
    folder = save(tiny_model(), tmp_path / "model")
    identity = checkpoint_id(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(LabError, match="damaged"):
        load(folder)
    assert checkpoint_id(folder) != identity
    (folder / "d2vlm.json").write_text("{")
    with pytest.raises(LabError, match="damaged"):
        load(folder)


def test_saving_over_a_checkpoint_replaces_it_whole(tmp_path):
    save(tiny_model(), tmp_path / "model")
    (tmp_path / "model" / "stray").touch()
    save(tiny_model(), tmp_path / "model")
    assert not (tmp_path / "model" / "stray").exists() and len(list(tmp_path.iterdir())) == 1


def test_a_checkpoint_stays_as_it_is_if_another_cannot_be_written_over_it(tmp_path):
    folder = save(tiny_model(), tmp_path / "model")
    identity, broken = checkpoint_id(folder), tiny_model()
    broken.tokenizer = None
    with pytest.raises(AttributeError):
        save(broken, folder)
    assert checkpoint_id(folder) == identity and list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("change, message", [
    ({"adapter.rank": 8}, "adapter.rank is 8, but the adapter in parts.start has 4"),
    ({"adapter.variant": "dora"}, "adapter.variant is dora, but .* has lora"),
    ({"adapter.targets": "linear"}, "adapter.targets=linear is .*gate_proj.*, but .* has k_proj, o_proj")])
def test_training_goes_on_with_the_adapter_of_a_checkpoint_and_with_no_other(tmp_path, change, message):
    base = save(tiny_model(), tmp_path / "base")
    folder = save(train_a_little(load(base)), tmp_path / "adapter", base=str(base))
    same = {"adapter.rank": 4, "adapter.dropout": 0.0}
    again = prepare(load(folder), override(RunConfig(), same))
    assert any(value.requires_grad for name, value in again.named_parameters() if "lora_A" in name)
    with pytest.raises(LabError, match=message):
        prepare(load(folder), override(RunConfig(), same | change))
