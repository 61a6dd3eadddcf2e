"""Frozen weights may have 16 bits; what is trained, the heads, similarities and log-probabilities have 32."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small import clip, language, text, tiny_model
from transformers import AutoConfig, AutoModel

from d2vlm_lab.config import RunConfig
from d2vlm_lab.data.batch import collate
from d2vlm_lab.data.plan import plan_of
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.formulation import FORMULATIONS
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.d2vlm import interval_mean
from d2vlm_lab.model.decoding import Decoding, generate
from d2vlm_lab.model.frames import HFFrames
from d2vlm_lab.model.precision import cast, check_trained, hold
from d2vlm_lab.settings import override

RELEASE = Path(__file__).parents[1] / "golden" / "checkpoint"
HALF = (torch.bfloat16, torch.float16)
ADAPTERS = [{}, {"adapter.embeddings": "evidence"}, {"adapter.targets": "linear", "adapter.variant": "dora"},
            {"adapter.targets": "all"}, {"adapter.frames": "frozen", "adapter.embeddings": "frozen"}]


def ready(dtype, seed=0, **adapter):
    """A tiny model that is about to be trained, its frozen weights held in `dtype`."""
    model = tiny_model()
    torch.manual_seed(seed)
    for value in model.parameters():
        value.data += 0.02 * torch.randn(value.shape)
    hold(model, dtype)
    torch.manual_seed(seed)
    return prepare(model, override(RunConfig(), {"adapter.rank": 4, "adapter.dropout": 0.0} | adapter))


def batch_for(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clips = [clip(n) for n in (9, 6)]
    clips = [type(c)(model.frames.encode(torch.randint(0, 255, (len(c.timestamps), 64, 64, 3), dtype=torch.uint8,
                                                       generator=generator)), c.timestamps) for c in clips]
    texts = [[text(model, clips[0], "when does the red disc spin?")], [text(model, clips[1], "when?", ((0.5, 1),))]]
    return collate(clips, texts, model.tokenizer, model.prompt)


def trained(model):
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("dtype", HALF)
def test_frozen_weights_keep_16_bits_and_trained_ones_have_32(dtype, adapter):
    model = ready(dtype, **adapter)
    assert all(value.dtype == torch.float32 for value in trained(model).values())
    frozen = [value for name, value in model.named_parameters() if not value.requires_grad and "lora" not in name]
    assert frozen and all(value.dtype == dtype for value in frozen)
    out = model(batch_for(model))
    out.loss.backward()
    assert out.log_p.dtype == out.similarity.dtype == out.evidence.dtype == out.loss.dtype == torch.float32
    assert all(torch.isfinite(value.grad).all() for value in trained(model).values() if value.grad is not None)
    check_trained(model)


def test_position_ids_keep_their_precision():
    model = tiny_model()
    before = model.language.model.rotary_emb.inv_freq.clone()
    hold(model, torch.bfloat16)
    assert torch.equal(model.language.model.rotary_emb.inv_freq, before)


@pytest.mark.parametrize("seed", range(3))
def test_bfloat16_gives_the_losses_and_gradients_of_float32_within_a_tolerance(seed):
    """Of each loss 2 %; of the gradient of each weight 10 % of its norm, and 3 % of all gradients together."""
    losses, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        model = ready(dtype, seed, **{"adapter.embeddings": "evidence"})
        out = model(batch_for(model, seed))
        out.loss.backward()
        losses.append(out.parts)
        gradients.append({name: value.grad for name, value in trained(model).items() if value.grad is not None})
    for name, value in losses[0].items():
        assert losses[1][name].item() == pytest.approx(value.item(), rel=0.02)
    assert gradients[0].keys() == gradients[1].keys()
    error = {name: (gradients[1][name] - value).norm() / value.norm()
             for name, value in gradients[0].items() if value.norm() > 0}
    assert max(error.values()) < 0.1, max(error, key=error.get)
    flat = [torch.cat([value.flatten() for value in each.values()]) for each in gradients]
    assert (flat[1] - flat[0]).norm() < 0.03 * flat[0].norm()


def moved(dtype, steps=1000, every=50):
    """How far each trained weight moves in 1,000 steps of the authors' size; its gradient is renewed now and then."""
    model = ready(dtype)
    before = {name: value.detach().clone().float() for name, value in trained(model).items()}
    batch = batch_for(model)
    optimizer = torch.optim.AdamW(trained(model).values(), 2e-5, weight_decay=0.0)
    for step in range(steps):
        if step % every == 0:
            optimizer.zero_grad()
            model(batch).loss.backward()
        optimizer.step()
    return {name: value.detach().float() - before[name] for name, value in trained(model).items()}


def test_a_thousand_small_steps_move_the_weights_of_a_bfloat16_model_as_those_of_a_float32_one():
    expected, actual = moved(torch.float32), moved(torch.bfloat16)
    for name, value in expected.items():
        assert 0.75 < actual[name].norm() / value.norm() < 1.33, name
    expected, actual = (torch.cat([value.flatten() for value in each.values()]) for each in (expected, actual))
    assert torch.cosine_similarity(actual, expected, 0) > 0.9


def test_formulas_are_computed_in_float32_also_in_mixed_precision():
    """The numbers of frames above 256 cannot be told apart in bfloat16."""
    model, shown = ready(torch.float32), clip(600)
    model.formulation = FORMULATIONS["boundary"]
    batch = collate([shown], [[text(model, shown, events=((150.5, 201.5),))]], model.tokenizer, model.prompt)
    n, mask = len(plan_of(batch).mention), torch.ones(1, 600, dtype=torch.bool)
    logits = torch.full((n, 2, 600), -30.0)
    logits[:, 0, 301] = logits[:, 1, 403] = 30.0
    states = torch.randn(1, 600, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.grounding_loss(batch, SimpleNamespace(similarity=logits, frame_mask=mask.expand(n, -1)))
        seen = interval_mean(torch.tensor([[301.0, 403.0]]), torch.tensor([0]), states, mask)
    assert loss < 1e-5 and seen.dtype == torch.float32
    torch.testing.assert_close(seen[0], states[0, 301:404].mean(0))


def test_a_weight_that_would_be_trained_in_16_bits_is_named():
    model = ready(torch.bfloat16)
    model.language.get_decoder().norm.weight.requires_grad_(True)
    with pytest.raises(LabError, match=r"norm.weight is trained in bfloat16.*float32 only"):
        check_trained(model)


def test_mixed_precision_leaves_the_heads_and_the_similarity_in_float32():
    model = ready(torch.float32)
    states, batch = [], batch_for(model)
    for part in (model.frame_head, model.evidence_head):
        part[1].register_forward_hook(lambda module, args, out: states.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        out = model(batch)
        f = model.frame_head(torch.randn(1, 9, 32))
        similarity = model.compare(out.evidence, f, torch.zeros(len(out.evidence), dtype=torch.long))
    assert set(states) == {torch.float32} and out.similarity.dtype == torch.float32
    assert torch.equal(similarity, out.evidence @ f[0].T / 32 ** 0.5)


@pytest.mark.parametrize("dtype", HALF)
def test_a_model_in_16_bits_answers_while_it_is_trained(dtype):
    """With trained token tables, new evidence rows, an open projector: whatever precisions meet in generation."""
    for adapter in ADAPTERS:
        model = ready(dtype, **adapter)
        batch = batch_for(model)
        shown = clip(9)
        shown = type(shown)(batch.features[0], shown.timestamps)
        asked = [[text(model, shown, asked=[(0.5, 1.5)], question="<evi> it"), text(model, shown)]]
        for training in (True, False):
            assert generate(model.train(training), [shown], asked, Decoding(6))[0].ids


@pytest.mark.parametrize("dtype", HALF)
def test_a_checkpoint_is_loaded_in_the_precision_it_was_saved_in_unless_another_is_chosen(tmp_path, dtype):
    base = save(tiny_model(), tmp_path / "base")
    model = load(base, dtype=dtype)
    prepare(model, override(RunConfig(), {"adapter.rank": 4, "adapter.dropout": 0.0}))
    for place, beside in (("whole", ""), ("adapter", str(base))):
        folder = save(model, tmp_path / place, base=beside)
        again = load(folder)
        assert {name: value.dtype for name, value in again.named_parameters()} == {
            name: value.dtype for name, value in model.named_parameters()}
        assert all(value.equal(model.state_dict()[name]) for name, value in again.state_dict().items())
        held = load(folder, dtype=dtype)  # what was trained in float32 is not rounded if it is named again
        assert all(value.equal(model.state_dict()[name]) for name, value in held.state_dict().items())
        single = load(folder, dtype=torch.float32)
        assert {value.dtype for value in single.parameters()} == {torch.float32}
        assert load(save(single, tmp_path / "single")).dtype == torch.float32


def test_holding_in_one_16_bit_format_and_computing_in_the_other_is_refused():
    with pytest.raises(LabError, match="parts.dtype is float16; set parts.dtype=bfloat16"):
        override(RunConfig(), {"parts.dtype": "float16", "training.bfloat16": True})


@pytest.mark.parametrize("adapter", [{"adapter.frames": "attention"}, {"adapter.frames": "all"},
                                     {"adapter.frames": "projector", "adapter.embeddings": "evidence"}])
def test_the_authors_model_is_trained_from_bfloat16_with_its_q_former(tmp_path, adapter):
    """Everything that is opened in the Q-Former is float32, with or without checkpointing and mixed precision."""
    model = prepare(load(RELEASE, dtype=torch.bfloat16), override(RunConfig(), {"adapter.rank": 4} | adapter))
    assert all(value.dtype == torch.float32 for value in trained(model).values())
    assert model.frames.tower.embeddings.class_embedding.dtype == model.dtype == torch.bfloat16
    size = model.frames.tower.config.image_size
    shown = clip(5)
    shown = type(shown)(model.frames.encode(torch.zeros(5, size, size, 3, dtype=torch.uint8)), shown.timestamps)
    batch = collate([shown], [[text(model, shown)]], model.tokenizer, model.prompt, ["when does it spin?"])
    model.train()
    for mixed, checkpointing in ((False, False), (True, False), (False, True)):
        if checkpointing:
            model.two_pass = True
            model.language.activation_checkpointing_enable({"use_reentrant": False})
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            out = model(batch)
        out.loss.backward()
        assert out.loss.dtype == torch.float32 and torch.isfinite(out.loss)
        assert all(torch.isfinite(value.grad).all() for value in trained(model).values() if value.grad is not None)
    assert sum(value.grad.abs().sum() for name, value in trained(model).items() if "frames" in name) > 0
    again = load(save(model, tmp_path / "trained", base=str(RELEASE)))
    assert all(value.equal(model.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("embeddings", ["all", "evidence", "frozen"])
def test_tied_token_tables_stay_tied_in_either_precision(tmp_path, embeddings):
    model = tiny_model()
    model.language = language(vocab_size=len(model.tokenizer), tie_word_embeddings=True, layers=2)
    hold(model, torch.bfloat16)
    prepare(model, override(RunConfig(), {"adapter.rank": 4, "adapter.embeddings": embeddings}))
    out = model(batch_for(model))
    out.loss.backward()
    again = load(save(model, tmp_path / "tied"))
    for each in (model, again):
        tables = [each.language.get_input_embeddings().weight, each.language.get_output_embeddings().weight]
        assert torch.equal(*tables) and tables[0].dtype == (torch.float32 if embeddings == "all" else torch.bfloat16)
    assert all(value.equal(model.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("tower", ["clip_vision_model", "resnet", "convnext"])
def test_a_tower_is_held_in_bfloat16(tower):
    """Also one with running statistics, which are no weights."""
    sizes = {"clip_vision_model": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
                                   "num_attention_heads": 2, "image_size": 64, "patch_size": 32},
             "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
             "convnext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "image_size": 64}}[tower]
    frames = HFFrames(AutoModel.from_config(AutoConfig.for_model(tower, **sizes)), 32, 1, Preparation.square(64))
    shown = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    before = frames.encode(shown)
    cast(frames, torch.bfloat16)
    after = frames.encode(shown)
    assert after.dtype == torch.bfloat16
    assert (after.float() - before).norm() < 0.05 * before.norm()
