"""Frames are prepared as the tower's own image processor does it, whatever the shape of the video."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers as hf

from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.errors import LabError

# Torch and PIL, which both resize uint8 pictures, round differently: by so many of 255 levels, before normalization.
LEVELS = {0: 0, 1: 0, 2: 1, 3: 3}  # by the number of the filter: nearest, lanczos, bilinear, bicubic
PROCESSORS = {
    "clip": (hf.CLIPImageProcessorPil, {}),
    "clip, small": (hf.CLIPImageProcessorPil, {"size": {"shortest_edge": 40},
                                               "crop_size": {"height": 28, "width": 36}}),
    "clip, lanczos": (hf.CLIPImageProcessorPil, {"resample": 1}),
    "clip, nearest": (hf.CLIPImageProcessorPil, {"resample": 0}),
    "siglip": (hf.SiglipImageProcessorPil, {}),
    "dinov2": (hf.BitImageProcessorPil, {"size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406],
                                         "image_std": [0.229, 0.224, 0.225]}),
    "vit": (hf.ViTImageProcessorPil, {}),
    "vit, old": (hf.ViTImageProcessorPil, {"size": 60}),
    "beit": (hf.BeitImageProcessorPil, {}),
    "beit, cropped": (hf.BeitImageProcessorPil, {"size": 256, "do_center_crop": True}),
    "deit": (hf.DeiTImageProcessorPil, {}),
    "convnext": (hf.ConvNextImageProcessorPil, {"size": {"shortest_edge": 224}}),
    "convnext, large": (hf.ConvNextImageProcessorPil, {"size": {"shortest_edge": 384}}),
    "levit": (hf.LevitImageProcessorPil, {}),
    "poolformer": (hf.PoolFormerImageProcessorPil, {}),
    "blip": (hf.BlipImageProcessorPil, {}),
    "pvt": (hf.PvtImageProcessorPil, {}),
    "vit, not normalized": (hf.ViTImageProcessorPil, {"do_normalize": False}),
    "vit, not rescaled": (hf.ViTImageProcessorPil, {"do_rescale": False}),
}


def pictures(height, width, n=2):
    """Pictures with edges and smooth parts."""
    coarse = torch.rand(n, 3, 8, 11, generator=torch.Generator().manual_seed(height))
    smooth = F.interpolate(coarse, (height, width), mode="bilinear") * 255
    smooth[..., height // 3:, width // 2:] = 255 - smooth[..., height // 3:, width // 2:]
    return smooth.permute(0, 2, 3, 1).byte().numpy()


@pytest.mark.parametrize("shape", [(45, 80), (240, 135), (360, 641), (301, 301)], ids=str)
@pytest.mark.parametrize("case", PROCESSORS)
def test_a_frame_becomes_what_its_own_image_processor_makes_of_it(case, shape):
    kind, changes = PROCESSORS[case]
    processor, frames = kind(**changes), pictures(*shape)
    expected = torch.as_tensor(np.stack(processor(list(frames), return_tensors="np")["pixel_values"]))
    # What a checkpoint holds: all settings in new files; in old ones only those that are no defaults.
    old = {"image_processor_type": kind.__name__.removesuffix("Pil"), **changes}
    for settings in (processor.to_dict(), old):
        preparation = Preparation.from_processor(settings)
        prepared = preparation.frames(frames)
        assert prepared.dtype == np.uint8 and prepared.shape[1:3] == preparation.size
        pixels = preparation.pixels(torch.from_numpy(prepared))
        assert pixels.shape == expected.shape
        levels = (pixels - expected).abs() * torch.tensor(preparation.std)[:, None, None] * preparation.levels
        assert levels.max() <= LEVELS[preparation.resample] + 1e-3


IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(("settings", "expected"), [
    ({"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 224,
      "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
      "image_std": [0.26862954, 0.26130258, 0.27577711]}, Preparation(224, (224, 224), resample=3)),
    ({"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224,
      "feature_extractor_type": "ViTFeatureExtractor"},
     Preparation((224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))),
    ({"crop_size": None, "data_format": "channels_first", "default_to_square": True, "device": None,
      "disable_grouping": None, "do_center_crop": None, "do_convert_rgb": None, "do_normalize": True,
      "do_rescale": True, "do_resize": True, "image_processor_type": "DINOv3ViTImageProcessorFast",
      "input_data_format": None, "resample": 2, "rescale_factor": 1 / 255, "return_tensors": None,
      "size": {"height": 224, "width": 224}, **IMAGENET},
     Preparation((224, 224), mean=tuple(IMAGENET["image_mean"]), std=tuple(IMAGENET["image_std"]))),
    ({"do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 256},
      "resample": 3, "image_processor_type": "BitImageProcessor", "do_convert_rgb": True, **IMAGENET},
     Preparation(256, (224, 224), resample=3, mean=tuple(IMAGENET["image_mean"]), std=tuple(IMAGENET["image_std"]))),
])
def test_files_of_published_towers_are_understood(settings, expected):
    """CLIP and ViT as they were first published, DINOv3 (its processor needs torchvision), DINOv2."""
    assert Preparation.from_processor(settings) == expected


def test_a_picture_is_squashed_where_the_processor_squashes_and_cut_where_it_cuts():
    frames = np.zeros((1, 20, 60, 3), np.uint8)
    frames[:, :, 18:42] = 255  # the middle square is white
    assert Preparation.square(10).frames(frames).min() == 255
    squashed = Preparation((10, 10)).frames(frames)[0, 5, :, 0]
    assert squashed[0] == 0 and squashed[4] > 240 and squashed[9] == 0


def test_the_preparations_of_the_shipped_encoders_are_as_they_were():
    frames = pictures(90, 160)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    short = F.interpolate(pixels, (64, 113), mode="bilinear", antialias=True)
    assert np.array_equal(Preparation(64).frames(frames), short.permute(0, 2, 3, 1).numpy())  # TinyFrames
    square = Preparation.square(64)  # EVA, and Hugging Face towers in older checkpoints
    mean, std = (torch.tensor(value)[:, None, None] for value in (square.mean, square.std))
    expected = (short[..., 24:88].float() / 255 - mean) / std
    assert torch.equal(square.pixels(torch.from_numpy(square.frames(frames))), expected)


def test_a_folder_of_features_names_the_sizes():
    assert [p.label for p in (Preparation(), Preparation(64), Preparation((28, 36)), Preparation(256, (224, 224)))] == [
        "None", "64", "28x36", "256-224x224"]


@pytest.mark.parametrize(("settings", "message"), [
    ({"size": {"longest_edge": 500}}, "its size is {'longest_edge': 500}"),
    ({"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": 28}, "cuts 28x28 pixels out of pictures"),
    ({"size": 28, "do_center_crop": True, "crop_size": {"shortest_edge": 9}}, "its crop_size is {'shortest_edge': 9}"),
    (hf.EfficientNetImageProcessorPil().to_dict(), "EfficientNetImageProcessor: frames cannot be prepared"),
    (hf.MobileViTImageProcessorPil(size={"shortest_edge": 288}).to_dict(), "MobileViTImageProcessor: frames cannot be"),
    (hf.Siglip2ImageProcessorPil().to_dict(), "Siglip2ImageProcessor: its size is None"),
])
def test_a_processor_that_does_more_is_refused_by_name(settings, message):
    with pytest.raises(LabError, match=message):
        Preparation.from_processor(settings)


@pytest.mark.parametrize("frames", [torch.zeros(2, 3, 28, 28, dtype=torch.uint8), torch.zeros(2, 28, 28, 3)])
def test_frames_of_another_form_are_an_error_that_says_which_is_right(frames):
    with pytest.raises(LabError, match=r"must be uint8 \(F, H, W, 3\)"):
        Preparation.square(28).pixels(frames)


def test_frames_that_were_not_prepared_are_an_error():
    with pytest.raises(LabError, match="frames are 40x60 pixels, but this encoder sees 28x28"):
        Preparation.square(28).pixels(torch.zeros(2, 40, 60, 3, dtype=torch.uint8))
