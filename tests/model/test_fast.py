"""A step in its faster form and in its plain form: the same losses and gradients."""

from dataclasses import replace

import pytest
import torch
from small import LinearFrames, clip, language, mixed, model, text, tokenizer
from test_d2vlm import assert_same, run
from test_families import EQUAL, small
from test_passes import answers_to_one_question

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import PromptFormat, collate
from d2vlm_lab.model import packed, passes
from d2vlm_lab.model.d2vlm import D2VLM


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
@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_mixed_batch(bidirectional, padding):
    net = model(bidirectional_frames=bidirectional)
    assert_equal_forms(net, mixed(net, padding)[2])


@pytest.mark.parametrize("switch", [{"semantics": "projection"}, {"semantic_layer": 0}, {"semantic_layer": 4},
                                    {"style": "coupled"}])
def test_other_methods(switch):
    net = model(**switch)
    assert_equal_forms(net, mixed(net)[2])


def test_rejected_answers_with_the_question_of_their_chosen_ones(monkeypatch):
    monkeypatch.setattr(passes, "MIN_SPARED", 0)
    net = model()
    batch = answers_to_one_question(net)
    branches = passes.find_branches(batch)
    prefix = net.read(batch)
    packing = packed.pack(batch, prefix.cache, branches)
    spared = int(branches.asked[~batch.supervised].sum())
    assert spared > 0 and len(packing.row) == int(batch.mask.sum()) - spared, "each question is in the row once"
    assert_equal_forms(net, batch)


def test_rejected_answers_with_questions_of_their_own():
    net = model()
    clips = [clip(12, 1)]
    texts = [[text(net, clips[0], "what?"), text(net, clips[0], "when does it spin?", ((0, 2), (3, 3.5)))]]
    batch = replace(collate(clips, texts, net.tokenizer, net.prompt), preferred=torch.tensor([0, 0]),
                    factors=["", "which"])
    assert passes.find_branches(batch) is None
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
    with pytest.raises(TypeError), packed.packed_attention(net.language.get_decoder()):
        assert net.language.config._attn_implementation == packed.NAME
        raise TypeError
    assert net.language.config._attn_implementation == "sdpa"
