"""Frame encoders keep one protocol: frozen features first, then trained tokens."""

import json
from pathlib import Path

import pytest
import torch
import transformers as hf
from small import eva_qformer

from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.frames import EvaQFormer, HFFrames
from d2vlm_lab.model.reference import import_reference
from d2vlm_lab.model.towers.qformer import read_questions, word_tokenizer

GOLDEN = Path(__file__).parents[1] / "golden"
VOCABULARY = GOLDEN / "checkpoint" / "qformer_tokenizer" / "vocab.txt"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 7}
TOWERS = {
    "clip": lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**SIZES, intermediate_size=64)),
    "whole clip": lambda: hf.CLIPModel(hf.CLIPConfig(
        vision_config={**SIZES, "intermediate_size": 64},
        text_config={"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1})),
    "siglip": lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**SIZES, intermediate_size=64)),
    "dinov2": lambda: hf.Dinov2Model(hf.Dinov2Config(**SIZES, mlp_ratio=2)),
    "dinov2 with registers": lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2)),
    "vit": lambda: hf.ViTModel(hf.ViTConfig(**SIZES, intermediate_size=64)),
    "resnet": lambda: hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 32], depths=[1, 1])),
}


def tower(kind="clip", seed=0):
    torch.manual_seed(seed)
    return TOWERS[kind]()


def video(n=5, seed=0):
    return torch.randint(0, 256, (n, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("tokens", [1, 4, "pooled"])
def test_any_vision_tower_gives_the_stated_number_of_tokens_per_frame(kind, tokens):
    frames = HFFrames(tower(kind), 24, tokens, Preparation.square(28))
    features = frames.encode(video())
    assert features.shape == (5, frames.tokens_per_frame, 32) and not features.requires_grad
    out = frames.project(features)
    assert out.shape == (5 * frames.tokens_per_frame, 24) and out.requires_grad


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2 with registers"])
def test_several_tokens_average_to_the_one_token(kind):
    one, four = (HFFrames(tower(kind), 24, n) for n in (1, 4))
    torch.testing.assert_close(one.encode(video())[:, 0], four.encode(video()).mean(1))


def test_a_token_of_the_grid_is_the_mean_of_its_own_patches():
    frames = HFFrames(tower("dinov2 with registers"), 24, 4)
    pixels = torch.randn(2, 3, 28, 28)
    patches = frames.tower(pixels).last_hidden_state[:, -16:].unflatten(1, (4, 4))
    expected = patches[:, :2, 2:].mean((1, 2))  # upper right
    torch.testing.assert_close(frames.encode_pixels(pixels)[:, 1], expected)


@pytest.mark.parametrize("frames", [lambda: HFFrames(tower("vit"), 24), eva_qformer])
def test_only_what_follows_the_features_is_trained(frames):
    frames = frames().train()
    features = frames.encode(video())
    assert torch.equal(features, frames.encode(video()))
    frames.project(features, "what happens?").sum().backward()
    trained = {name.split(".")[0] for name, p in frames.named_parameters() if p.grad is not None}
    assert trained == {"projector"}
    assert not any(p.requires_grad for p in frames.tower.parameters())


def test_long_videos_are_encoded_in_parts_with_the_same_result(monkeypatch):
    frames = HFFrames(tower(), 24)
    whole = frames.encode(video(7))
    monkeypatch.setattr("d2vlm_lab.model.frames.AT_ONCE", 3)
    torch.testing.assert_close(frames.encode(video(7)), whole)


def test_features_of_different_encoders_are_kept_apart():
    ids = [HFFrames(tower(), 24).id, HFFrames(tower(seed=1), 24).id, HFFrames(tower(), 24, 4).id,
           HFFrames(tower(), 24, 1, Preparation((28, 28))).id,
           HFFrames(tower(), 24, 1, Preparation.square(28, (0, 0, 0))).id, HFFrames(tower("vit"), 24).id,
           eva_qformer().id, eva_qformer(seed=1).id]
    assert len(set(ids)) == len(ids)
    assert HFFrames(tower(), 24).id == HFFrames(tower(), 48).id


def test_a_saved_tower_comes_back_with_its_own_preparation(tmp_path):
    tower().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({
        "do_center_crop": True, "crop_size": {"height": 28, "width": 28}, "size": {"shortest_edge": 32},
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}))
    frames = HFFrames.from_pretrained(tmp_path, 24, tokens_per_frame=4)
    assert frames.preparation == Preparation(32, (28, 28), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    live = HFFrames(tower(), 24, 4, frames.preparation)
    torch.testing.assert_close(frames.encode(video()), live.encode(video()))
    assert frames.id == live.id


def test_a_number_of_tokens_that_is_no_square_is_an_error():
    with pytest.raises(LabError, match="tokens_per_frame is 3"):
        HFFrames(tower(), 24, 3)


def test_a_tower_without_pooled_output_says_so():
    bare = hf.ViTModel(TOWERS["vit"]().config, add_pooling_layer=False)
    with pytest.raises(LabError, match="no pooled output"):
        HFFrames(bare, 24, "pooled").encode(video())


def test_videos_projected_together_equal_videos_projected_alone():
    frames = eva_qformer().eval()
    features = [frames.encode(video(n, seed=n)) for n in (4, 1, 6)]
    questions = ["what happens when the person opens the door?", None, "when <evi>?"]
    together = frames.project_batch(features, questions)
    for each, own, question in zip(together, features, questions):
        torch.testing.assert_close(each, frames.project(own, question), atol=1e-5, rtol=1e-5)


def test_the_question_decides_what_is_seen():
    frames = eva_qformer().eval()
    features = frames.encode(video())
    seen = [frames.project(features, question) for question in ("open the door", "walk down", " open the door <image>")]
    assert (seen[0] - seen[1]).abs().max() > 1e-3
    torch.testing.assert_close(seen[0], seen[2])


def test_dropout_is_active_in_training_only():
    frames = eva_qformer()
    features = frames.encode(video())
    draw = [frames.project(features, "open") for _ in range(2)]
    assert not torch.equal(*draw)
    frames.eval()
    assert torch.equal(frames.project(features, "open"), frames.project(features, "open"))


def test_a_long_question_loses_its_beginning():
    recorded = json.loads((GOLDEN / "long_question.json").read_text())
    ids, mask = read_questions(word_tokenizer(VOCABULARY), [recorded["question"], "open"])
    assert ids[0].tolist() == recorded["ids"] and mask.sum(1).tolist() == [256, 3]


def test_the_released_sizes_are_the_defaults():
    with torch.device("meta"):
        frames = EvaQFormer(3072, word_tokenizer(VOCABULARY))
    assert frames.preparation == Preparation.square(224)
    assert frames.tower.embeddings.position_embedding.shape == (1, 257, 1408)
    layers = frames.tower.encoder.layers
    assert len(layers) == 39 and layers[0].mlp.fc1.out_features == 6144 and layers[0].self_attn.num_heads == 16
    bert = frames.projector.bert
    assert bert.words.weight.shape == (30523, 768) and len(bert.layers) == 12
    assert [layer.cross_attention is not None for layer in bert.layers] == [True, False] * 6


def test_an_imported_encoder_keeps_its_precision_and_its_features():
    full, half = (import_reference(GOLDEN / "checkpoint", dtype=dtype).frames for dtype in (None, torch.bfloat16))
    features = half.encode(video())
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), full.encode(video()), atol=0.1, rtol=0.1)
    torch.testing.assert_close(half.project(features, "open").float(), full.project(full.encode(video()), "open"),
                               atol=0.2, rtol=0.1)
