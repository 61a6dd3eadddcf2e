"""A step in its faster form and in its plain form: the same losses and gradients."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from small import LinearFrames, clip, language, mixed, model, text, tokenizer
from test_d2vlm import assert_same, run
from test_families import EQUAL, small
from test_passes import answers_to_one_question

from d2vlm_lab.config import Method, Preference
from d2vlm_lab.data import branches
from d2vlm_lab.data.batch import IGNORE, PromptFormat, collate
from d2vlm_lab.data.plan import packing_of, plan_of
from d2vlm_lab.learning.fpo import Preferences, log_probabilities
from d2vlm_lab.model import packed
from d2vlm_lab.model.adapter import adapt
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.folding import folded


def around(lm, **method):
    torch.manual_seed(1)
    return D2VLM(LinearFrames(), lm, tokenizer(), Method(**{"semantic_layer": 2} | method),
                 PromptFormat("watch: ", "\nask: {question}\nsay:", "<end>"))


def assert_equal_forms(net, batch):
    assert net.sparing
    fast = run(net, batch)
    net.fast = False
    assert not net.sparing
    plain = run(net, batch)
    assert_same(fast, plain)
    torch.testing.assert_close(fast[0].similarity, plain[0].similarity, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fast[0].loss, plain[0].loss, atol=1e-5, rtol=2e-6)


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("switch", [{}, {"bidirectional_frames": False}, {"frame_block": 4}])
def test_a_mixed_batch(switch, padding):
    net = model(**switch)
    assert_equal_forms(net, mixed(net, padding)[2])


@pytest.mark.parametrize("switch", [{"semantics": "projection"}, {"semantic_layer": 0}, {"semantic_layer": 4},
                                    {"style": "coupled"}])
def test_other_methods(switch):
    net = model(**switch)
    assert_equal_forms(net, mixed(net)[2])


def test_rejected_answers_with_the_question_of_their_chosen_ones(monkeypatch):
    monkeypatch.setattr(branches, "MIN_SPARED", 0)
    net = model()
    batch = answers_to_one_question(net)
    plan = plan_of(batch)
    spared = int(plan.branches.asked[~batch.supervised].sum())
    assert spared > 0
    assert len(packing_of(batch).row) == int(batch.mask.sum()) - spared, "each question is in the row once"
    assert_equal_forms(net, batch)


def test_rejected_answers_with_questions_of_their_own():
    net = model()
    clips = [clip(12, 1)]
    texts = [[text(net, clips[0], "what?"), text(net, clips[0], "when does it spin?", ((0, 2), (3, 3.5)))]]
    batch = replace(collate(clips, texts, net.tokenizer, net.prompt), preferred=torch.tensor([0, 0]),
                    factors=["", "which"])
    assert plan_of(batch).branches is None
    assert_equal_forms(net, batch)


def test_texts_with_position_ids_of_their_own():
    net = model()
    *_, batch = mixed(net)
    assert_equal_forms(net, replace(batch, position_ids=40 + torch.arange(batch.ids.shape[1]).expand_as(batch.ids)))


def test_grouped_keys():
    net = around(language(num_key_value_heads=2))
    assert_equal_forms(net, mixed(net)[2])


@pytest.mark.parametrize("name", sorted(packed.FAMILIES))
def test_a_family(name):
    net = around(small(name, EQUAL[name] | {"attention_dropout": 0.0, "residual_dropout": 0.0}))
    assert_equal_forms(net, mixed(net)[2])


def test_the_plain_form_runs_where_the_faster_one_cannot():
    net = model()
    assert net.sparing
    net.two_pass = True
    assert not net.sparing
    net.two_pass = False
    net.language.config._attn_implementation = "eager"
    assert not net.sparing
    assert not around(small("gpt2", {})).sparing


def test_the_attention_of_the_model_is_what_it_was_after_a_step_that_fails():
    net = model()
    with pytest.raises(TypeError), packed.attention(net.language.get_decoder(), packed.NAME):
        assert net.language.config._attn_implementation == packed.NAME
        raise TypeError
    assert net.language.config._attn_implementation == "sdpa"


def with_lora(**settings):
    """A model whose LoRA has already learned something."""
    net = model()
    net.requires_grad_(False)
    net.language = adapt(net.language, LoraConfig(target_modules=["q_proj", "o_proj", "up_proj", "down_proj"],
                                                  **{"r": 4, "lora_alpha": 8, "lora_dropout": 0.0} | settings))
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
    return net


@pytest.mark.parametrize("rank, pays", [(1, False), (4, True), (48, False)])
def test_lora_is_folded_where_that_pays(rank, pays):
    net = with_lora(r=rank, lora_alpha=2 * rank)
    assert folded_layers(net) == (lora_layers(net) if pays else [])
    assert_equal_forms(net, mixed(net)[2])


def folded_layers(net):
    with folded(net.language):
        return [layer for layer in lora_layers(net) if "forward" in vars(layer)]


def lora_layers(net):
    return [module for module in net.modules() if isinstance(module, Linear)]


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"use_rslora": True}])
def test_variants_of_lora(settings):
    net = with_lora(**settings)
    assert bool(folded_layers(net)) is ("use_rslora" in settings), "dora does more than add"
    assert_equal_forms(net, mixed(net)[2])


def test_lora_with_dropout_is_folded_in_evaluation_only():
    net = with_lora(lora_dropout=0.5)
    *_, batch = mixed(net)
    assert folded_layers(net) == []
    first, second = (net(batch).loss.detach() for _ in range(2))
    assert first != second, "dropout was not drawn"
    net.eval()
    assert folded_layers(net) == lora_layers(net)
    assert_equal_forms(net, batch)


def test_a_frozen_reference_is_folded_from_its_own_weights():
    net = with_lora()
    *_, batch = mixed(net)
    batch = replace(batch, preferred=torch.tensor([0, 0, 2, 3, 3]), factors=["", "when", "", "", "what"])
    preferences = Preferences(Preference(form="fpo", reference=True), net)
    with torch.no_grad():
        for layer in lora_layers(net):
            layer.lora_A["default"].weight.mul_(1.5)
    assert net.sparing
    fast = preferences.reference(net, batch)
    net.fast = False
    torch.testing.assert_close(fast, preferences.reference(net, batch), atol=1e-4, rtol=1e-5)
    assert not torch.allclose(fast, log_probabilities(net(batch), batch, net.method).total(*preferences.weights))


def test_layers_with_lora_compute_as_before_after_a_step():
    net = with_lora()
    net(mixed(net)[2])
    assert not any("forward" in vars(module) for module in net.modules())


def test_the_last_layer_computes_at_the_tokens_that_predict_an_answer_and_nowhere_else():
    net = with_lora()
    *_, batch = mixed(net)
    seen, last = [], net.language.get_decoder().layers[-1]
    for part in (last.mlp.act_fn, last.self_attn.q_proj.base_layer):
        part.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[:-1].numel()))
    net.fast = False
    net(batch)
    assert seen[-1] == batch.mask.numel()
    seen.clear()
    net.fast = True
    net.language.disable_adapter_layers()  # a folded layer does not call its base layer
    net(batch)
    predicted = int((batch.labels[:, 1:] != IGNORE).sum())
    assert seen == [0, 0, predicted, predicted], "nothing at the frames, then the answers"


def test_the_last_layer_is_whole_where_the_semantic_layer_is_the_last():
    net = model(semantic_layer=4)
    *_, batch = mixed(net)
    fast = net.read(batch).meaning
    net.fast = False
    torch.testing.assert_close(fast, net.read(batch).meaning)


@pytest.mark.parametrize("answers", ["mixed", "branching"])
def test_copies_of_the_frames_that_are_made_again_for_the_gradient(answers, monkeypatch):
    monkeypatch.setattr(packed, "COPIES", 0)
    monkeypatch.setattr(branches, "MIN_SPARED", 0)
    again, plain = [], packed.checkpoint
    monkeypatch.setattr(packed, "checkpoint", lambda *args, **kwargs: again.append(1) or plain(*args, **kwargs))
    net = model()
    assert_equal_forms(net, mixed(net)[2] if answers == "mixed" else answers_to_one_question(net))
    assert again


def test_no_text_keeps_a_copy_of_its_frames_for_the_gradient(monkeypatch):
    net = around(language().requires_grad_(False))

    def kept(n_texts, n_frames):
        """Numbers that the gradient of a step will need, of tensors that depend on the texts."""
        shown = clip(n_frames)
        texts = [[text(net, shown, "what?", ((0.0, 1.0),))] * n_texts]
        batch, sizes = collate([shown], texts, net.tokenizer, net.prompt), {}
        prefix = net.read(batch)

        def keep(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = packed.packed_pass(net.language, batch, prefix, net.embed(batch, prefix))
        assert out.last.requires_grad
        return sum(sizes.values())

    def of_eight_texts(limit):
        monkeypatch.setattr(packed, "COPIES", limit)
        return kept(8, 400) - kept(8, 20)

    frames = 2 * 4 * 380 * 32 * 4  # bytes of keys and values in four layers of 380 frames
    assert of_eight_texts(2**40) > 7 * frames
    assert of_eight_texts(0) < 1.5 * frames
