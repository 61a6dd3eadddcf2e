"""One forward, many equivalent ways to run it."""

import pytest
import torch
from small import language, mixed, model, tokenizer

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import collate
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.d2vlm import D2VLM


def run(net, batch):
    net.zero_grad()
    out = net(batch)
    out.loss.backward()
    return out, {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def assert_same(a, b, atol=2e-5):
    (out_a, grad_a), (out_b, grad_b) = a, b
    for part in out_a.parts:
        torch.testing.assert_close(out_a.parts[part], out_b.parts[part], atol=atol, rtol=1e-5)
    torch.testing.assert_close(out_a.logits, out_b.logits, atol=atol * 5, rtol=1e-4)
    assert grad_a.keys() == grad_b.keys()
    for name in grad_a:
        scale = grad_a[name].abs().max().clamp_min(1e-6)
        assert (grad_a[name] - grad_b[name]).abs().max() / scale < 2e-4, name


@pytest.mark.parametrize("switch", [{}, {"bidirectional_frames": False}, {"frame_block": 4},
                                    {"semantics": "projection"},
                                    {"style": "coupled"}, {"style": "factorized", "end_marker": False}])
def test_one_pass_and_two_passes_give_the_same_loss_and_gradients(switch):
    net = model(**switch)
    *_, batch = mixed(net)
    one = run(net, batch)
    net.two_pass = True
    assert_same(one, run(net, batch))


def test_padding_on_the_left_and_on_the_right_give_the_same():
    net = model()
    assert_same(run(net, mixed(net, "right")[2]), run(net, mixed(net, "left")[2]))


def test_several_tokens_per_frame_run_in_one_and_two_passes_alike():
    net = model(tokens_per_frame=3)
    *_, batch = mixed(net)
    one = run(net, batch)
    assert one[0].similarity.shape[1] == 12
    net.two_pass = True
    assert_same(one, run(net, batch))


def test_texts_that_share_a_video_equal_texts_alone():
    net = model()
    clips, texts, batch = mixed(net)
    together = net(batch)
    start = 0
    for i, (clip, group) in enumerate(zip(clips, texts)):
        for j, text in enumerate(group):
            alone = net(collate([clip], [[text]], net.tokenizer, net.prompt))
            row = sum(len(g) for g in texts[:i]) + j
            torch.testing.assert_close(alone.logits, together.logits[together.target_row == row], atol=1e-4, rtol=1e-4)
            end = start + len(alone.similarity)
            torch.testing.assert_close(alone.similarity, together.similarity[start:end, :len(clip.timestamps)],
                                       atol=1e-4, rtol=1e-4)
            start = end
    assert start == len(together.similarity)


def test_a_batch_without_events_gives_every_head_a_zero_gradient():
    net = model()
    clips, texts, _ = mixed(net)
    out, grads = run(net, collate(clips[1:2], texts[1:2], net.tokenizer, net.prompt))
    assert out.parts["grounding"] == 0 and out.parts["consistency"] == 0
    assert grads["evidence_head.1.weight"].abs().max() == 0


def test_the_meaning_of_an_event_reaches_its_evidence_token_and_can_be_switched_off():
    on, off = model(), model(semantics="off")
    off.load_state_dict(on.state_dict())
    *_, batch = mixed(on)
    prefix = on.read(batch)
    carried = on.embed(batch, prefix) - on.language.get_input_embeddings()(batch.ids)
    spots = carried.abs().sum(-1) > 0
    assert spots.sum() == len(batch.row) and spots[batch.row, batch.column].all()
    event = int((batch.role == 1).nonzero()[0])
    first, last = batch.interval[event].round().int().tolist()
    expected = prefix.meaning[batch.video[batch.row[event]], first:last + 1].mean(0)
    torch.testing.assert_close(carried[batch.row[event], batch.column[event]], expected, atol=1e-5, rtol=1e-5)
    off_carried = off.embed(batch, off.read(batch)) - off.language.get_input_embeddings()(batch.ids)
    in_question = batch.role == 0
    assert 0 < in_question.sum() < len(batch.row) and (off_carried.abs().sum(-1) > 0).sum() == in_question.sum()
    asked = batch.row[in_question], batch.column[in_question]
    torch.testing.assert_close(off_carried[asked], carried[asked], msg="a question that points at frames needs them")


def test_frames_do_not_see_what_follows_them():
    net = model()
    clips, texts, batch = mixed(net)
    other = collate(clips, [[t] for t, *_ in texts], net.tokenizer, net.prompt)
    torch.testing.assert_close(net.read(batch).meaning, net.read(other).meaning)


def test_a_missing_layer_is_an_error_that_says_which_exist():
    with pytest.raises(LabError, match="layers 0 to 4"):
        D2VLM(None, language(), tokenizer(), Method(semantic_layer=6))


def test_frames_of_another_width_are_an_error_before_the_language_model_runs():
    net = model()
    net.frames.linear = torch.nn.Linear(6, 16)
    with pytest.raises(LabError, match="width 16, but the language model's is 32"):
        net(mixed(net)[2])


@pytest.mark.parametrize("switch, message", [
    ({"semantics": "layers"}, "'layers' is not one of layer"), ({"style": "loose"}, "interleaved"),
    ({"end_marker": "yes"}, "expected true or false")])
def test_an_unknown_switch_is_an_error_also_in_a_notebook(switch, message):
    with pytest.raises(LabError, match=message):
        Method(**switch)


def test_soft_targets_have_a_base_and_hard_ones_have_none():
    assert Method(target_base=3.0).base == 3.0 and Method(targets="hard").base is None


def test_new_evidence_rows_start_as_the_mean_row_and_existing_ones_stay():
    lm, words = language(vocab_size=258), tokenizer()
    before = lm.get_input_embeddings().weight.detach().clone()
    net = D2VLM(None, lm, words, Method(semantic_layer=2))
    table = net.language.get_input_embeddings().weight
    torch.testing.assert_close(table[-2:], before.mean(0).expand(2, -1))
    torch.testing.assert_close(table[:-2], before)
    trained = table.detach().clone()
    D2VLM(None, lm, words, Method(semantic_layer=2))
    assert torch.equal(lm.get_input_embeddings().weight, trained)


def test_two_passes_read_the_same_layer_whether_or_not_the_first_call_is_cut_short():
    """Which layers report their states is settled at a model's first call."""
    fresh, used = model().eval(), model().eval()
    used(mixed(used)[2])
    fresh.two_pass = used.two_pass = True
    torch.testing.assert_close(fresh(mixed(fresh)[2]).loss, used(mixed(used)[2]).loss)
