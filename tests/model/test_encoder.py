"""The frame encoder alone is the one that the whole model has."""

import pytest
import torch
import transformers

from d2vlm_lab.config import read_config
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.rehearsal.miniature import write_parts
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.encoder import start_encoder
from d2vlm_lab.model.start import start
from d2vlm_lab.settings import override

TEXTS = ["when does the red disc spin? the red disc spins in"]


@pytest.mark.parametrize("preset, changes", [
    ("tiny", {}), ("tiny", {"parts.dtype": "bfloat16"}), ("tiny", {"parts.start": "data/tiny-sft"}), ("paper", {}),
    ("phi3", {}), ("phi3", {"parts.dtype": "float32"})])
def test_it_sees_the_same_without_the_language_model_being_loaded(tmp_path, monkeypatch, preset, changes):
    config = override(read_config(preset), changes)
    config = override(config, write_parts(config, tmp_path, TEXTS))
    whole = start(config).frames
    for name in ("from_pretrained", "from_config"):
        monkeypatch.setattr(transformers.AutoModelForCausalLM, name, None)
    alone = start_encoder(config)
    assert alone.id == whole.id and alone.preparation == whole.preparation and not alone.training
    size = alone.preparation.size or (64, 64)
    frames = torch.randint(0, 255, (3, *size, 3), dtype=torch.uint8)
    assert torch.equal(alone.encode(frames), whole.encode(frames))
    assert all(not value.is_meta for value in alone.state_dict().values())


def test_of_a_checkpoint_beside_a_video_language_model_it_is_the_right_one_too(tmp_path):
    config = read_config("smolvlm2")
    config = override(config, write_parts(config, tmp_path, TEXTS))
    model = start(config)
    saved = save(model, tmp_path / "saved", base=config.parts.language)
    later = override(config, {"parts.start": str(saved), "parts.language": "", "parts.frames": ""})
    assert start_encoder(config).id == start_encoder(later).id == load(saved).frames.id


def test_what_is_missing_is_named(tmp_path):
    config = override(read_config("tiny"), {"parts.start": str(tmp_path)})
    with pytest.raises(LabError, match="neither a checkpoint of this project"):
        start_encoder(config)
    config = read_config("phi3", {"parts.frames": str(tmp_path)})
    with pytest.raises(LabError, match="parts.frames: .* cannot be loaded"):
        start_encoder(config)
