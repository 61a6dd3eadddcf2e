"""Answers in their faster form, where all texts about a video share its frames, and in the plain one: the same."""

import pytest
import torch
from small import clip, language, mixed, model
from test_families import EQUAL, small
from test_fast import around, lora_layers, with_lora

from d2vlm_lab.data.batch import collate, encode_prompt
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.model import growing, packed
from d2vlm_lab.model.decoding import Decoding, generate, steps
from d2vlm_lab.model.folding import merged
from d2vlm_lab.model.growing import Apart, Together, start_texts

ASKED = [["when does it spin?", "what?", "does the red disc blink?"], ["does it blink at all?"], ["why?", "what now?"]]


def questions(net, padding="right"):
    """Three videos with three, one and two questions."""
    clips = mixed(net)[0]
    prompts = [[encode_prompt(q, (), c, net.tokenizer, net.prompt) for q in qs] for c, qs in zip(clips, ASKED)]
    return collate(clips, prompts, net.tokenizer, net.prompt, padding=padding)


def scripted(net, logits, rows, step):
    """The same tokens for any logits; an `<evi>` now and then; each text stops after another number of them."""
    token = (7 * rows + 13 * step) % 256
    token = torch.where((rows + step) % 3 == 0, net.tokenizer.convert_tokens_to_ids(EVIDENCE), token)
    return torch.where(step == 3 + 2 * rows, net.tokenizer.convert_tokens_to_ids("<end>"), token)


def written(net, batch, limit=20):
    taken = list(steps(net, batch, lambda *given: scripted(net, *given), limit))
    return [(step.rows, step.tokens, step.logits, step.curves, step.intervals, step.embeddings) for step in taken]


def assert_equal_forms(net, padding="right"):
    net.eval()
    fast = written(net, questions(net, padding))
    net.fast = False
    plain = written(net, questions(net, padding))
    assert len(fast) == len(plain) == 14 and len({len(step[0]) for step in plain}) == 6, "texts stopped one by one"
    for ours, expected in zip(fast, plain):
        for a, b in zip(ours, expected):
            torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-4)


def test_the_form_follows_the_model():
    net = model()
    batch = questions(net)
    assert isinstance(start_texts(net, batch, net.read(batch), 3), Together)
    net.language.config._attn_implementation = "eager"
    assert isinstance(start_texts(net, batch, net.read(batch), 3), Apart)
    net = around(small("gpt2", {}))
    assert isinstance(start_texts(net, batch, net.read(batch), 3), Apart)


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("room", [1, 3, 64])
def test_both_forms_write_the_same(padding, room, monkeypatch):
    monkeypatch.setattr(growing, "ROOM", room)
    assert_equal_forms(model(), padding)


@pytest.mark.parametrize("live", [0.0, 1.0])
def test_videos_without_a_text_that_grows_may_be_dropped_soon_or_never(live, monkeypatch):
    monkeypatch.setattr(growing, "LIVE", live)
    assert_equal_forms(model())


def test_grouped_keys():
    assert_equal_forms(around(language(num_key_value_heads=2)))


@pytest.mark.parametrize("name", sorted(packed.FAMILIES))
def test_a_family(name):
    assert_equal_forms(around(small(name, EQUAL[name] | {"attention_dropout": 0.0, "residual_dropout": 0.0})))


@torch.no_grad()
def test_the_frames_are_kept_once_for_all_texts_about_them():
    net, one = model().eval(), clip(30)
    sizes = {}
    for n in (1, 8):
        prompts = [encode_prompt("what?", (), one, net.tokenizer, net.prompt)] * n
        batch = collate([one], [prompts], net.tokenizer, net.prompt)
        texts = start_texts(net, batch, net.read(batch), 5)
        for _ in range(3):
            texts.grow(net.embed_words(torch.arange(n)))
        assert all(len(layer.keys) == len(layer.values) == 1 for layer in texts.cache.layers)
        sizes[n] = sum(states.numel() for layer in texts.states for states in layer)
        for layer in texts.states:
            assert layer[0].shape[2] == batch.ids.shape[1] + growing.ROOM, "only the text's own tokens"
    assert sizes[8] == 8 * sizes[1]


@torch.no_grad()
def test_a_new_token_moves_no_keys_that_are_kept():
    net = model().eval()
    batch = questions(net)
    texts = start_texts(net, batch, net.read(batch), 5)
    before = [states.data_ptr() for layer in texts.states for states in layer]
    frames = [states.data_ptr() for layer in texts.cache.layers for states in (layer.keys, layer.values)]
    texts.grow(net.embed_words(torch.arange(6)))
    assert before == [states.data_ptr() for layer in texts.states for states in layer]
    assert frames == [states.data_ptr() for layer in texts.cache.layers for states in (layer.keys, layer.values)]


def test_the_adapter_is_part_of_the_weights_while_answers_are_written_and_no_longer():
    net = with_lora(trainable_token_indices={"model.embed_tokens": [3, 258], "lm_head": [3, 258]}).eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "trainable_tokens_delta" in name:
                value.normal_()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batch = questions(net)
    with merged(net.language):
        assert all("forward" in vars(layer) for layer in lora_layers(net))
        table = net.language.get_output_embeddings()
        assert table.weight is table.weight, "a table is made once and not at each use"
        ours = written(net, batch)
    expected = written(net, batch)
    for a, b in zip(ours, expected):
        torch.testing.assert_close(a[2], b[2], atol=2e-4, rtol=2e-4)
    assert not any({"forward", "get_merged_weights"} & set(vars(module)) for module in net.modules())
    assert table.weight is not table.weight
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_answers_leave_the_adapter_as_it_was_also_when_they_fail(monkeypatch):
    net = with_lora().eval()
    one = clip(9)
    prompt = encode_prompt("what?", (), one, net.tokenizer, net.prompt)
    seen = []

    def failing(*given):
        seen.append(all("forward" in vars(layer) for layer in lora_layers(net)))
        raise RuntimeError

    monkeypatch.setattr("d2vlm_lab.model.decoding.chooser", lambda *given: failing)
    with pytest.raises(RuntimeError):
        generate(net, [one], [[prompt]], Decoding(3))
    assert seen == [True] and not any("forward" in vars(module) for module in net.modules())


def test_lora_that_would_take_too_much_memory_stays_apart(monkeypatch):
    monkeypatch.setattr("d2vlm_lab.model.folding.MEMORY", 1000)
    net = with_lora()
    with merged(net.language):
        assert not any("forward" in vars(layer) for layer in lora_layers(net))
