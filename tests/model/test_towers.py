"""Families of vision towers: each gives the patches of its own forward, averaged over the grid, or is refused by name.

All are very small, have random weights and come without a network.
"""

import json

import numpy as np
import pytest
import torch
import transformers as hf

from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.frames import HFFrames

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
       "intermediate_size": 64}
DINO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 8,
        "mlp_ratio": 2}
FOUR = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64}
PYRAMID = FOUR | {"num_attention_heads": [1, 1, 2, 2], "mlp_ratios": [2, 2, 2, 2]}
WINDOWS = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 2],
           "window_size": 2}
CONVOLUTIONS = {"embedding_size": 8, "hidden_sizes": [8, 32], "depths": [1, 1]}
BIG = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8, "intermediate_size": 64}

# The tower, and how many tokens precede its patches; None where its states are a grid.
EQUAL = {
    "clip": (lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**VIT)), 1),
    "chinese_clip": (lambda: hf.ChineseCLIPVisionModel(hf.ChineseCLIPVisionConfig(**VIT)), 1),
    "siglip": (lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**VIT)), 0),
    "dinov2": (lambda: hf.Dinov2Model(hf.Dinov2Config(**DINO)), 1),
    "dinov2 at another size": (lambda: hf.Dinov2Model(hf.Dinov2Config(**DINO | {"image_size": 80})), 1),
    "dinov2 with registers": (lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**DINO)), 5),
    "dinov3_vit": (lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**VIT, num_register_tokens=4)), 5),
    "dinov3_convnext": (lambda: hf.DINOv3ConvNextModel(hf.DINOv3ConvNextConfig(**FOUR)), 1),
    "vit": (lambda: hf.ViTModel(hf.ViTConfig(**VIT)), 1),
    "vit, not square": (lambda: hf.ViTModel(hf.ViTConfig(**VIT | {"image_size": (32, 48)})), 1),
    "deit": (lambda: hf.DeiTModel(hf.DeiTConfig(**VIT)), 2),
    "beit": (lambda: hf.BeitModel(hf.BeitConfig(**VIT)), 1),
    "data2vec-vision": (lambda: hf.Data2VecVisionModel(hf.Data2VecVisionConfig(**VIT)), 1),
    "vit_msn": (lambda: hf.ViTMSNModel(hf.ViTMSNConfig(**VIT)), 1),
    "ijepa": (lambda: hf.IJepaModel(hf.IJepaConfig(**VIT)), 0),
    "aimv2": (lambda: hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**VIT)), 0),
    "eva of blip_2": (lambda: hf.Blip2VisionModel(hf.Blip2VisionConfig(**VIT)), 1),
    "blip": (lambda: hf.BlipVisionModel(hf.BlipVisionConfig(**VIT)), 1),
    "internvl_vision": (lambda: hf.InternVLVisionModel(hf.InternVLVisionConfig(
        **VIT | {"image_size": [32, 32], "patch_size": [8, 8]})), 1),
    "swin": (lambda: hf.SwinModel(hf.SwinConfig(**WINDOWS)), 0),
    "swinv2": (lambda: hf.Swinv2Model(hf.Swinv2Config(**WINDOWS)), 0),
    "focalnet": (lambda: hf.FocalNetModel(hf.FocalNetConfig(
        image_size=32, patch_size=2, embed_dim=8, hidden_sizes=[8, 16, 32], depths=[1, 1, 1], focal_levels=[1, 1, 1],
        focal_windows=[3, 3, 3])), 0),
    "hiera": (lambda: hf.HieraModel(hf.HieraConfig(
        embed_dim=8, image_size=[64, 64], patch_size=[7, 7], patch_stride=[4, 4], patch_padding=[3, 3],
        depths=[1, 1, 1], num_heads=[1, 2, 2], num_query_pool=2, masked_unit_size=[4, 4])), 0),
    "pvt": (lambda: hf.PvtModel(hf.PvtConfig(**PYRAMID)), 1),
    "pvt_v2": (lambda: hf.PvtV2Model(hf.PvtV2Config(**PYRAMID)), None),
    "convnext": (lambda: hf.ConvNextModel(hf.ConvNextConfig(**FOUR)), None),
    "convnextv2": (lambda: hf.ConvNextV2Model(hf.ConvNextV2Config(**FOUR)), None),
    "resnet": (lambda: hf.ResNetModel(hf.ResNetConfig(**CONVOLUTIONS)), None),
    "regnet": (lambda: hf.RegNetModel(hf.RegNetConfig(**CONVOLUTIONS, groups_width=8)), None),
    "bit": (lambda: hf.BitModel(hf.BitConfig(**CONVOLUTIONS, num_groups=4)), None),
    "mobilenet_v2": (lambda: hf.MobileNetV2Model(hf.MobileNetV2Config(depth_multiplier=0.25, image_size=64)), None),
    "segformer": (lambda: hf.SegformerModel(hf.SegformerConfig(**FOUR, num_attention_heads=[1, 1, 2, 2])), None),
}
# The tower, its preparation, and why it is refused.
REFUSED = {
    "siglip2_vision_model": (lambda: hf.Siglip2VisionModel(hf.Siglip2VisionConfig(**BIG, num_patches=16)),
                             "missing 2 required positional arguments"),
    "vit_mae": (lambda: hf.ViTMAEModel(hf.ViTMAEConfig(**VIT)), "sees something else each time"),
    "videomae": (lambda: hf.VideoMAEModel(hf.VideoMAEConfig(**VIT)), "cannot see single pictures of 32x32 pixels"),
    "yolos": (lambda: hf.YolosModel(hf.YolosConfig(**VIT | {"image_size": [32, 32]})), "no grid of patches"),
    "pixtral": (lambda: hf.PixtralVisionModel(hf.PixtralVisionConfig(**VIT)), "no grid of patches"),
    "vjepa2": (lambda: hf.VJEPA2Model(hf.VJEPA2Config(
        **BIG, crop_size=32, pred_hidden_size=16, pred_num_hidden_layers=1, pred_num_attention_heads=2)),
        "cannot see single pictures"),
    "swin": (lambda: hf.SwinModel(hf.SwinConfig(**WINDOWS | {"image_size": (32, 48)})), "no grid of patches"),
}


def build(make):
    torch.manual_seed(0)
    return make().eval()


def cells(patches, grid):
    """(F, rows, columns, C) -> (F, grid * grid, C): the mean of the patches in each cell, one cell after the other."""
    return torch.stack([column.mean((1, 2)) for row in patches.tensor_split(grid, 1)
                        for column in row.tensor_split(grid, 2)], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", EQUAL)
def test_features_are_the_patches_of_the_towers_own_forward(family, dtype):
    make, extra = EQUAL[family]
    tower = build(make).to(dtype)
    preparation = Preparation.square(64) if "another size" in family else None
    frames = HFFrames(tower, 24, 1, preparation)
    height, width = frames.preparation.size
    pixels = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        states = tower(pixel_values=pixels).last_hidden_state
    if extra is None:
        patches = states.permute(0, 2, 3, 1)
    else:
        rows = round(((states.shape[1] - extra) * height / width) ** 0.5)
        patches = states[:, extra:].unflatten(1, (rows, -1))
    assert patches.shape[1] * width == patches.shape[2] * height
    for tokens in (1, 4):
        grid = int(tokens ** 0.5)
        if patches.shape[1] % grid == 0:
            features = HFFrames(tower, 24, tokens, preparation).encode_pixels(pixels)
            tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.02, "rtol": 0.02}
            torch.testing.assert_close(features, cells(patches, grid).to(dtype), **tolerance)
    assert frames.project(frames.encode_pixels(pixels)).shape == (2, 24)


@pytest.mark.parametrize("family", ["swin", "hiera"])
def test_merged_patches_stay_in_the_order_of_rows(family):
    """The library's own grid is the proof; for swin it lacks the last norm."""
    tower = build(EQUAL[family][0])
    size = HFFrames(tower, 24).preparation.size
    with torch.no_grad():
        out = tower(pixel_values=torch.randn(2, 3, *size), output_hidden_states=True)
        grid = out.reshaped_hidden_states[-1]
        expected = tower.layernorm(grid.permute(0, 2, 3, 1)) if family == "swin" else grid
    assert torch.equal(out.last_hidden_state, expected.flatten(1, 2))


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(family):
    make, reason = REFUSED[family]
    with pytest.raises(LabError, match=f"^{family}: .*{reason}"):
        HFFrames(build(make), 24)


def test_pictures_of_a_size_that_the_tower_does_not_take_are_refused():
    with pytest.raises(LabError, match=r"vit: this tower cannot see single pictures of 24x24 pixels \(Input image"):
        HFFrames(build(EQUAL["vit"][0]), 24, 1, Preparation.square(24))
    with pytest.raises(LabError, match="vit: its image processor keeps the shape of a picture"):
        HFFrames(build(EQUAL["vit"][0]), 24, 1, Preparation(32))


def test_the_trial_draws_no_random_numbers():
    tower = build(EQUAL["clip"][0])
    torch.manual_seed(0)
    expected = torch.nn.Linear(32, 24).weight
    torch.manual_seed(0)
    assert torch.equal(HFFrames(tower, 24).projector.weight, expected)


def test_a_tower_with_a_siglip_processor_squashes_its_frames(tmp_path):
    """From a folder as a hub holds it, to features: the processor's own pixels through the tower's own forward."""
    tower = build(EQUAL["siglip"][0])
    tower.save_pretrained(tmp_path)
    processor = hf.SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=2)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor.to_dict()))
    frames = HFFrames.from_pretrained(tmp_path, 24, 4)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 90, 3), dtype=np.uint8)
    pixels = torch.as_tensor(processor(list(pictures), return_tensors="np")["pixel_values"])
    features = frames.encode(torch.from_numpy(frames.preparation.frames(pictures)))
    torch.testing.assert_close(features, frames.encode_pixels(pixels), atol=0.02, rtol=0.02)
    with torch.no_grad():
        patches = tower(pixel_values=pixels).last_hidden_state.unflatten(1, (4, 4))
    torch.testing.assert_close(frames.encode_pixels(pixels), cells(patches, 2))
