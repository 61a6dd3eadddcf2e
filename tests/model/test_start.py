"""A model from a checkpoint, from the authors' release, or neither."""

from pathlib import Path

import pytest
import torch
from small import tiny_model

from d2vlm_lab.config import Method, RunConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, merge, save
from d2vlm_lab.model.start import start
from d2vlm_lab.settings import override

RELEASE = Path(__file__).parents[1] / "golden" / "checkpoint"


def test_a_finished_model_keeps_its_method_unless_another_is_given(tmp_path):
    folder = save(tiny_model(), tmp_path / "model")
    assert load(folder).method == Method(semantic_layer=1)
    assert load(folder, Method(semantic_layer=2)).method.semantic_layer == 2
    assert load(RELEASE).method.semantic_layer == 6
    assert load(RELEASE, Method(semantic_layer=2)).method.semantic_layer == 2


def test_a_model_trained_from_the_release_comes_back_beside_it(tmp_path):
    model = prepare(load(RELEASE), override(RunConfig(), {"adapter.rank": 4}))
    for value in (value for value in model.parameters() if value.requires_grad):
        value.data += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    again = load(save(model, tmp_path / "trained", base=str(RELEASE)))
    assert again.can_ground and again.state_dict().keys() == model.state_dict().keys()
    assert all(value.equal(model.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_model_trained_in_bfloat16_from_the_release_is_loaded_saved_and_continued(tmp_path):
    """The Q-Former is trained in places, in float32, and the rest of it must not stay behind in bfloat16."""
    model = prepare(load(RELEASE, dtype=torch.bfloat16), override(RunConfig(), {
        "adapter.rank": 4, "adapter.frames": "attention", "adapter.embeddings": "all"}))
    for value in (value for value in model.parameters() if value.requires_grad):
        value.data += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    folder = save(model, tmp_path / "trained", base=str(RELEASE))
    again = load(folder)
    assert {name: value.dtype for name, value in again.named_parameters()} == {
        name: value.dtype for name, value in model.named_parameters()}
    frames = torch.randint(0, 255, (3, 28, 28, 3), dtype=torch.uint8)
    assert again.frames.project(again.frames.encode(frames), "what is it?").isfinite().all()
    copy = load(save(again, tmp_path / "copy", base=str(RELEASE)))
    further = load(save(prepare(load(folder), override(RunConfig(), {"adapter.rank": 4, "adapter.embeddings": "all"})),
                        tmp_path / "further", base=str(folder)))
    for other in (copy, further):
        assert all(value.equal(model.state_dict()[name]) for name, value in other.state_dict().items())


def test_a_model_trained_from_the_release_can_be_merged_and_stand_alone(tmp_path):
    model = prepare(load(RELEASE), override(RunConfig(), {"adapter.rank": 4}))
    for value in (value for value in model.parameters() if value.requires_grad):
        value.data += 0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(20)[None]
    expected = model.eval().language(input_ids=ids).logits
    again = load(save(merge(model), tmp_path / "merged"))
    assert not any("lora_" in name for name in again.state_dict())
    torch.testing.assert_close(again.language(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
    frames = torch.randint(0, 255, (3, 28, 28, 3), dtype=torch.uint8)
    assert torch.equal(again.frames.project(again.frames.encode(frames), "what is it?"),
                       model.frames.project(model.frames.encode(frames), "what is it?"))


def test_a_folder_without_a_model_is_an_error_that_says_what_is_missing(tmp_path):
    with pytest.raises(LabError, match=r"no d2vlm.json.*no config.json"):
        load(tmp_path)


def test_untrained_heads_begin_from_the_seed_and_trained_ones_are_kept(tmp_path):
    model = tiny_model()
    untrained = save(model, tmp_path / "untrained")
    model.can_ground = True
    trained = save(model, tmp_path / "trained")

    def heads(folder, seed, **parts):
        config = override(RunConfig(), {"parts.start": str(folder), "method.semantic_layer": 1, "seed": seed} | parts)
        started = start(config)
        return torch.cat([started.frame_head[1].weight, started.evidence_head[1].weight])

    assert torch.equal(heads(untrained, 1), heads(untrained, 1))
    assert not torch.equal(heads(untrained, 1), heads(untrained, 2))
    assert torch.equal(heads(trained, 1), heads(trained, 2))
    frame_head, evidence_head = heads(untrained, 1, **{"parts.equal_heads": True}).chunk(2)
    assert torch.equal(frame_head, evidence_head)


def test_a_run_that_goes_on_with_another_method_says_so(tmp_path, capsys):
    model = tiny_model()
    for can_ground in (False, True):
        model.can_ground = can_ground
        save(model, tmp_path / str(can_ground))
        config = override(RunConfig(), {"parts.start": str(tmp_path / str(can_ground)), "method.semantic_layer": 1})
        start(config)
        start(override(config, {"method.style": "coupled", "method.frame_block": 4}))
    assert capsys.readouterr().out == (
        f"{tmp_path / 'True'} was trained with method.style='interleaved', method.frame_block=null; this run goes on "
        "with method.style='coupled', method.frame_block=4\n")


def test_a_layer_that_is_not_there_is_an_error_that_names_the_setting(tmp_path):
    folder = save(tiny_model(), tmp_path / "model")
    with pytest.raises(LabError, match=r"has layers 0 to 2; set method.semantic_layer to one of them \(it is 6\)"):
        load(folder, Method(semantic_layer=6))
