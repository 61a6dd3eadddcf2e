"""A model from a checkpoint, from the authors' release, or neither."""

from pathlib import Path

import pytest
import torch
from small import tiny_model

from d2vlm_lab.config import Method, RunConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.checkpoint import save
from d2vlm_lab.model.start import read_model, start
from d2vlm_lab.settings import override

RELEASE = Path(__file__).parents[1] / "golden" / "checkpoint"


def test_a_finished_model_keeps_its_method_unless_another_is_given(tmp_path):
    folder = save(tiny_model(), tmp_path / "model")
    assert read_model(str(folder)).method == Method(semantic_layer=1)
    assert read_model(str(folder), Method(semantic_layer=2)).method.semantic_layer == 2
    assert read_model(str(RELEASE)).method.semantic_layer == 6
    assert read_model(str(RELEASE), Method(semantic_layer=2)).method.semantic_layer == 2


def test_a_folder_without_a_model_is_an_error_that_says_what_is_missing(tmp_path):
    with pytest.raises(LabError, match=r"no d2vlm.json.*no config.json"):
        read_model(str(tmp_path))


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
