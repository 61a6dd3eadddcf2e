"""The authors' checkpoint finds its place in our modules, tensor by tensor."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Blip2VisionConfig

from d2vlm_lab.config import RunConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.frames import EvaQFormer
from d2vlm_lab.model.reference import encoder_sizes, import_reference, released_name
from d2vlm_lab.model.start import start
from d2vlm_lab.model.towers.qformer import QFormerConfig, word_tokenizer
from d2vlm_lab.settings import override

HEADS, EVIDENCE = ("frm_head", "evi_head"), ("<evi>", "</evi>")
CHECKPOINT = Path(__file__).parents[1] / "golden" / "checkpoint"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))


def change(folder, **changes):
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


def configure(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_every_tensor_is_where_its_name_says():
    model, tensors = import_reference(CHECKPOINT), load_file(CHECKPOINT / "model.safetensors")
    placed = {released_name(name): value for name, value in model.state_dict().items()}
    joined = {name for name in placed if name.endswith("attn.qkv.bias")}
    assert len(joined) == 2 and set(placed) - joined < set(tensors)
    for name in set(placed) - joined:
        assert torch.equal(placed[name], tensors[name]), name
    for name in joined:
        q, k, v = placed[name].chunk(3)
        assert torch.equal(q, tensors[name.replace("qkv.bias", "q_bias")]) and not k.any()
        assert torch.equal(v, tensors[name.replace("qkv.bias", "v_bias")])
    left = set(tensors) - set(placed)
    assert all(name.endswith(("q_bias", "v_bias", "position_ids")) for name in left)


def test_a_missing_and_an_unknown_tensor_are_both_named(folder):
    change(folder, **{"frm_head.1.weight": None, "model.layers.3.self_attn.o_proj.weight": None,
                      "vid_head.weight": torch.zeros(3)})  # beside an evi_head
    with pytest.raises(LabError) as error:
        import_reference(folder)
    for name in ("frm_head.1.weight", "model.layers.3.self_attn.o_proj.weight", "vid_head.weight"):
        assert name in str(error.value)


def test_a_missing_bias_of_the_vision_tower_is_named(folder):
    name = "model.vision_tower.vision_tower.blocks.1.attn.v_bias"
    change(folder, **{name: None})
    with pytest.raises(LabError, match="blocks.1.attn"):
        import_reference(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder):
    change(folder, **{"lm_head.weight": torch.zeros(320, 63)})
    with pytest.raises(LabError, match=r"lm_head.weight is \[320, 63\] where \[320, 64\] is needed"):
        import_reference(folder)


def test_shards_are_read_as_one_checkpoint(folder):
    whole = import_reference(folder).state_dict()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:70], "b.safetensors": names[70:]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, folder / file)
    index = {"weight_map": {name: file for file, own in parts.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    sharded = import_reference(folder).state_dict()
    assert whole.keys() == sharded.keys() and all(torch.equal(whole[name], sharded[name]) for name in whole)


@pytest.mark.parametrize("file", ["../model.safetensors", "model.bin"])
def test_an_index_cannot_name_a_file_elsewhere_or_of_another_kind(folder, file):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": file}}))
    with pytest.raises(LabError, match="not a safetensors file in this folder"):
        import_reference(folder)


def test_sizes_come_from_the_tensors_except_the_number_of_heads(folder):
    frames = import_reference(folder).frames
    eva, qformer = frames.tower.config, frames.config
    assert (eva.image_size, eva.patch_size, eva.hidden_size, eva.num_attention_heads) == (28, 14, 32, 2)
    assert (eva.num_hidden_layers, eva.intermediate_size) == (2, 139)
    assert (qformer.width, qformer.layers, qformer.heads, qformer.look_every, qformer.queries) == (32, 4, 4, 2, 32)
    (folder / "tiny_dims.json").unlink()
    with pytest.raises(LabError, match="tiny_dims.json"):
        import_reference(folder)


def test_released_sizes_are_recognized_by_their_tensors_alone(tmp_path):
    with torch.device("meta"):
        released = EvaQFormer(3072, word_tokenizer(CHECKPOINT / "qformer_tokenizer" / "vocab.txt"))
    shapes = {released_name(f"frames.{name}"): value for name, value in released.state_dict().items()}
    assert encoder_sizes(tmp_path, shapes) == (Blip2VisionConfig(), QFormerConfig())


def test_the_method_is_read_from_the_released_config(folder):
    configure(folder, alpha=1.5, bi_attention=False, consistency_loss=False)
    method = import_reference(folder).method
    assert (method.target_base, method.bidirectional_frames, method.consistency_weight) == (1.5, False, 0.0)


@pytest.mark.parametrize("changes, words", [
    ({"mm_projector": "mlp2x_gelu"}, "mm_projector is 'mlp2x_gelu'"),
    ({"use_evidence": False}, "use_evidence is False"),
    ({"hidden_size": "64"}, "hidden_size is '64'"),
])
def test_a_checkpoint_of_another_kind_is_an_error_that_names_the_setting(folder, changes, words):
    configure(folder, **changes)
    with pytest.raises(LabError, match=words):
        import_reference(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors", "qformer_tokenizer/vocab.txt"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(LabError, match=Path(file).name):
        import_reference(folder)


def test_damaged_weights_are_an_error_that_names_the_file(folder):
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(LabError, match="model.safetensors: not readable"):
        import_reference(folder)


def test_the_precision_can_be_chosen_but_the_heads_keep_theirs():
    model, whole = import_reference(CHECKPOINT, dtype=torch.bfloat16, attention="sdpa"), import_reference(CHECKPOINT)
    for name, value in model.named_parameters():
        if name.split(".")[0] in ("frame_head", "evidence_head"):
            assert value.equal(whole.state_dict()[name])
        else:
            assert value.dtype == torch.bfloat16
    assert model.language.config._attn_implementation == "sdpa"


def as_stage_2(folder):
    """The same checkpoint before anything of this method was in it."""
    change(folder, **{name: None for name in load_file(folder / "model.safetensors") if name.split(".")[0] in HEADS})
    (folder / "special_tokens_map.json").unlink()
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        content = json.loads((folder / file).read_text())
        content = {key: value for key, value in content.items() if "evidence" not in key and key != "arch_module"}
        if "added_tokens" in content:
            content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in EVIDENCE]
        for name in ("added_tokens_decoder", "additional_special_tokens"):
            content.pop(name, None)
        (folder / file).write_text(json.dumps(content))
    return folder


def test_stage_2_gets_new_heads_and_tokens_and_says_so(folder):
    released = import_reference(folder)
    assert released.can_ground and released.added == []
    torch.manual_seed(3)
    model = import_reference(as_stage_2(folder))
    assert not model.can_ground
    assert "the evidence head has new weights, drawn as the language model draws its own" in model.added
    assert "<evi> is a new token, number 311, with the row that the vocabulary has for it" in model.added
    assert model.tokenizer.convert_tokens_to_ids(["<evi>", "</evi>"]) == [311, 312]
    rows, old = model.language.get_input_embeddings().weight, released.language.get_input_embeddings().weight
    assert torch.equal(rows, old)
    for head in (model.frame_head, model.evidence_head):
        norm, up, _, down = head
        assert torch.equal(norm.weight, torch.ones(64)) and not up.bias.any() and not down.bias.any()
        assert 0.01 < float(up.weight.detach().std()) < 0.03  # initializer_range is 0.02
    torch.manual_seed(3)
    assert torch.equal(import_reference(folder).frame_head[1].weight, model.frame_head[1].weight)


def test_stage_3_brings_its_frame_head_and_leaves_its_own_head_behind(folder):
    heads = {name: value for name, value in load_file(folder / "model.safetensors").items() if name.startswith("frm_")}
    foreign = {name.replace("frm_", "vid_"): value.clone() for name, value in heads.items()}
    change(as_stage_2(folder), **heads, **foreign)
    configure(folder, use_matching=True)
    model = import_reference(folder)
    assert torch.equal(model.frame_head[3].weight, heads["frm_head.3.weight"]) and not model.can_ground
    assert len([line for line in model.added if "head" in line]) == 1 and "evidence head" in model.added[0]


def test_the_start_of_a_run_prints_what_stage_2_lacked(folder, capsys):
    def heads(seed):
        model = start(override(RunConfig(), {"parts.start": str(folder), "seed": seed}))
        return torch.cat([model.frame_head[1].weight, model.evidence_head[1].weight])

    as_stage_2(folder)
    assert torch.equal(heads(1), heads(1)) and not torch.equal(heads(1), heads(2))
    printed = capsys.readouterr().out
    assert f"{folder}: the frame head has new weights" in printed and "</evi> is a new token, number 312" in printed


def test_a_partial_checkpoint_is_an_error_that_says_how_to_merge_it(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.safetensors")
    save_file({"lora_A": torch.zeros(1)}, folder / "adapter_model.safetensors")
    configure(folder, model_name_or_path="models/phi-3")
    with pytest.raises(LabError, match=r"on top of models/phi-3. Merge them first.*merge_and_unload"):
        import_reference(folder)
