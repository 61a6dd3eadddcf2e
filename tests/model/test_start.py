"""A model from a checkpoint, from the authors' release, or neither."""

from pathlib import Path

import pytest
import torch
from small import tiny_model

from d2vlm_lab.config import Method, RunConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, save
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
