"""Saved and loaded is the same model, whole or as what was trained beside its base."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import clip, text, tiny_model
from transformers import CLIPVisionConfig, CLIPVisionModel

from d2vlm_lab import files
from d2vlm_lab.config import ROOT, RunConfig
from d2vlm_lab.data.batch import collate
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.errors import LabError
from d2vlm_lab.files import sweep
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import checkpoint_id, load, replaced, save
from d2vlm_lab.model.frames import HFFrames
from d2vlm_lab.model.seal import base_hash, own_hashes
from d2vlm_lab.settings import override


def batch_of(model):
    torch.manual_seed(1)
    shown = clip(9)
    features = model.frames.encode(torch.randint(0, 255, (9, 64, 64, 3), dtype=torch.uint8))
    shown = type(shown)(features, shown.timestamps)
    return collate([shown], [[text(model, shown, "when does the red disc spin?")]], model.tokenizer, model.prompt)


def outputs(model):
    with torch.no_grad():
        out = model(batch_of(model))
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
    sizes = [sum(path.stat().st_size for path in folder.rglob("*.safetensors")) for folder in (small, whole)]
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
    with pytest.raises(LabError, match="d2vlm.json: line 1: not readable as JSON"):
        load(folder)


def test_saving_over_a_checkpoint_replaces_it_whole(tmp_path):
    save(tiny_model(), tmp_path / "model")
    (tmp_path / "model" / "stray").touch()
    save(tiny_model(), tmp_path / "model")
    assert not (tmp_path / "model" / "stray").exists() and len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_had_begun_to_save_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # a process that cannot be
    saving = replaced(tmp_path / "model")
    partial = saving.__enter__()  # and is never left
    assert partial.is_dir()
    sweep(tmp_path)
    assert not partial.exists()


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
    ({"adapter.targets": "linear"}, "adapter.targets=linear is .*gate_proj.*, but .* has k_proj, o_proj"),
    ({"adapter.targets": "all"}, "adapter.targets=all .* has LoRA; .* --merge"),
    ({"adapter.embeddings": "evidence"}, "adapter.embeddings=evidence .* has none; .* to all or frozen")])
def test_training_goes_on_with_the_adapter_of_a_checkpoint_and_with_no_other(tmp_path, change, message):
    base = save(tiny_model(), tmp_path / "base")
    folder = save(train_a_little(load(base)), tmp_path / "adapter", base=str(base))
    same = {"adapter.rank": 4, "adapter.dropout": 0.0}
    again = prepare(load(folder), override(RunConfig(), same))
    assert any(value.requires_grad for name, value in again.named_parameters() if "lora_A" in name)
    with pytest.raises(LabError, match=message):
        prepare(load(folder), override(RunConfig(), same | change))


@pytest.mark.parametrize("targets", ["attention", "none"])
@pytest.mark.parametrize("before", ["all", "evidence", "frozen"])
@pytest.mark.parametrize("after", ["all", "frozen"])
def test_going_on_from_an_adapter_trains_the_embeddings_that_are_named(tmp_path, before, after, targets):
    base = save(tiny_model(), tmp_path / "base")
    first = save(train_a_little(load(base), **{"adapter.embeddings": before}), tmp_path / "first", base=str(base))
    model = train_a_little(load(first), **{"adapter.embeddings": after, "adapter.targets": targets})
    tables = [model.language.get_input_embeddings(), model.language.get_output_embeddings()]
    assert {value.requires_grad for table in tables for value in table.parameters()} == {after == "all"}
    again = load(save(model, tmp_path / "second", base=str(first)))
    assert torch.equal(outputs(model), outputs(again))
    model(batch_of(model)).loss.backward()
    if after == "all":
        assert all(value.grad.abs().sum() > 0 for table in tables for value in table.parameters())


def adapted(folder):
    base = save(tiny_model(), folder / "base")
    return save(train_a_little(load(base)), folder / "adapter", base=str(base))


def refused(folder, function=load):
    with pytest.raises(LabError) as error:
        function(folder)
    message = str(error.value)
    assert "\n" not in message and len(message) < 700
    return message


def described(folder, **changes):
    """The checkpoint with other lines in its description."""
    path = folder / "d2vlm.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_changed_bytes_missing_tensors_and_another_tokenizer_are_named(tmp_path):
    folder = adapted(tmp_path)
    for path in [*folder.glob("*.safetensors"), *(tmp_path / "base").glob("*.safetensors"), folder / "tokenizer.json",
                 tmp_path / "base" / "tokenizer.json"]:
        file, content = path.parent, path.read_bytes()
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        assert str(path if file == folder else file) in refused(folder)
        path.write_bytes(content)
    tensors = load_file(folder / "d2vlm.safetensors")
    del tensors["frame_head.0.weight"]
    save_file(tensors, folder / "d2vlm.safetensors")
    assert "damaged or replaced" in refused(folder)
    described(folder, hashes={})  # as checkpoints of before are
    assert "tensors of this model are missing, such as frame_head.0.weight" in refused(folder)


def test_a_checkpoint_loads_on_its_own_base_alone(tmp_path):
    folder, other = adapted(tmp_path), tiny_model()
    other.frame_head[0].weight.data += 1
    described(folder, base=str(save(other, tmp_path / "other")))
    assert f"{tmp_path / 'other'} is not the base that this checkpoint was trained from" in refused(folder)
    described(folder, base=str(tmp_path / "moved"))
    assert "base:" in refused(folder) and "no such folder" in refused(folder)
    (tmp_path / "base").rename(tmp_path / "moved")
    load(folder)
    assert checkpoint_id(folder) != checkpoint_id(described(folder, base=str(tmp_path / "other")))


def test_a_base_that_leads_back_is_named(tmp_path):
    folder = adapted(tmp_path)
    described(folder, base=str(folder))
    assert "leads back to this checkpoint itself" in refused(folder) and "leads back" in refused(folder, checkpoint_id)
    second = tmp_path / "second"
    shutil.copytree(folder, second)
    described(folder, base=str(second), base_hash="")
    described(second, base_hash="")
    assert "leads back to this checkpoint itself" in refused(folder)


def test_checkpoints_without_hashes_still_load(tmp_path):
    folder = adapted(tmp_path)
    before = outputs(load(folder))
    for each in (folder, tmp_path / "base"):
        description = json.loads((each / "d2vlm.json").read_text())
        assert description.pop("hashes") and description.pop("base_hash") == "" or each == folder
        (each / "d2vlm.json").write_text(json.dumps(description))
    assert torch.equal(outputs(load(folder)), before)


@pytest.mark.parametrize("name", ["tiny-sft", "tiny-coupled", "tiny-live", "base/small", "base/full",
                                  "base/clock", "base/varied"])
def test_the_checkpoints_that_come_along_are_sealed(name):
    description = json.loads((ROOT / "data" / name / "d2vlm.json").read_text())
    assert description["hashes"] == own_hashes(ROOT / "data" / name)
    assert description["base_hash"] == base_hash(description["base"])


def test_the_folder_of_a_run_leads_to_its_checkpoint(tmp_path):
    base = save(tiny_model(), tmp_path / "run" / "model")
    (tmp_path / "run" / "config.json").write_text("{}")
    assert torch.equal(outputs(load(tmp_path / "run")), outputs(load(base)))
    assert checkpoint_id(tmp_path / "run") == checkpoint_id(base)
    save(tiny_model(), tmp_path / "study" / "a" / "model")
    save(tiny_model(), tmp_path / "study" / "b" / "model")
    assert f"several checkpoints; give one of them: {tmp_path / 'study' / 'a' / 'model'}" in refused(tmp_path / "study")


@pytest.mark.parametrize("changes, problem", [
    ({"base": None}, "base: expected text, found null"), ({"method": []}, "method: expected an object"),
    ({"method": {"style": "x"}}, "method: style: 'x' is not one of"), ({"adapter": 3}, "adapter: expected an object"),
    ({"prompt": {"after": "no place"}}, "prompt.after is 'no place'; it needs the place {question}"),
    ({"prompt": {"around_frame": "{frame}{seconds:1000000}"}}, "prompt.around_frame"),
    ({"prompt": {"after": "{question.__class__}"}}, "prompt.after"), ({"prompt": {"after": "{"}}, "its braces"),
    ({"dtype": "float64"}, "dtype: 'float64' is not one of"), ({"frames": {"kind": "x"}}, "frames.kind: 'x' is not"),
    ({"language": {"model_type": "llama", "num_hidden_layers": 10**6}}, "num_hidden_layers: expected a number of at"),
    ({"language": {"model_type": "llama", "vocab_size": 10**9}}, "vocab_size: expected a number of at most"),
    ({"language": {}}, "no model can be built of this"), ({"language": {"model_type": "no"}}, "no model can be built")])
def test_a_description_that_is_wrong_is_named_before_anything_large_is_built(tmp_path, changes, problem):
    folder = described(save(tiny_model(), tmp_path / "model"), **changes)
    assert refused(folder).startswith(f"{folder / 'd2vlm.json'}: ") and problem in refused(folder)


def test_no_file_of_a_checkpoint_is_waited_for(tmp_path):
    folder = save(tiny_model(), tmp_path / "model")
    for name in ("model.safetensors", "d2vlm.safetensors", "d2vlm.json", "tokenizer.json", "tokenizer_config.json"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert f"{folder / name}: expected a file, found a pipe" in refused(folder)
        (folder / name).unlink()
        (folder / name).write_bytes(content)


def test_a_file_is_hashed_in_pieces_and_all_of_it_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE", 10)
    path, found = tmp_path / "file", set()
    for place in (None, 0, 9, 10, 34):
        content = bytearray(35)
        if place is not None:
            content[place] = 1
        path.write_bytes(content)
        os.utime(path, ns=(0, len(found)))
        found.add(files.file_hash(path))
    assert len(found) == 5
