"""What the words of an answer may look at, and whose interval an evidence token carries: settings off by default."""

from dataclasses import replace

import pytest
import small
import torch

from d2vlm_lab.data.batch import IGNORE
from d2vlm_lab.model import passes
from d2vlm_lab.model.d2vlm import predicted_intervals
from d2vlm_lab.model.decoding import Decoding, generate

BLIND = {"answer_view": "evidence"}


def prompts(net):
    clips, texts, _ = small.mixed(net)
    asked = [[replace(t, ids=t.ids[:(n := t.labels.count(IGNORE))], labels=t.labels[:n],
                      **{name: [v for v, c in zip(getattr(t, name), t.columns) if c < n]
                         for name in ("columns", "intervals", "roles", "events")}) for t in group] for group in texts]
    return clips, asked


def test_only_the_words_of_answers_are_kept_from_the_frames():
    net = small.model(**BLIND)
    _, _, batch = small.mixed(net)
    prefix = net.read(batch)
    seen, usual = passes.view(batch, prefix), passes.view(batch, replace(prefix, hidden=None))
    size = prefix.mask.shape[1]
    answer = batch.labels != IGNORE
    frames = torch.zeros_like(prefix.mask).scatter(1, prefix.columns.flatten(1), True)[batch.video] \
        & prefix.mask[batch.video]
    blocked = usual & ~seen
    assert torch.equal(blocked[..., :size], answer[:, :, None] & frames[:, None] & usual[..., :size])
    assert not blocked[..., size:].any() and blocked.any() and torch.equal(seen[~answer], usual[~answer])


def test_nothing_of_the_frames_reaches_an_answer_by_the_words_between_them(monkeypatch):
    """The question is kept from the video as well, so that another video must not change what the answer says."""
    net = small.model(**BLIND, semantics="off", frame_times="text").eval()
    view = passes.view

    def without_a_video(batch, prefix):
        attend = view(batch, prefix)
        attend[..., batch.before_ids.shape[1]:prefix.mask.shape[1]] &= (batch.labels != IGNORE)[:, :, None]
        return attend

    def said(shown):
        with torch.no_grad():
            return net(small.collate([shown], [[small.text(net, shown)]], net.tokenizer, net.prompt)).log_p

    assert not torch.allclose(said(small.clip(5, 1)), said(small.clip(5, 2)), atol=1e-3)
    monkeypatch.setattr(passes, "view", without_a_video)
    assert torch.equal(said(small.clip(5, 1)), said(small.clip(5, 2)))


@pytest.mark.parametrize("padding", ["right", "left"])
def test_all_passes_agree_when_answers_see_no_frame(padding):
    def losses(**changes):
        net = small.model(**BLIND)
        for name, value in changes.items():
            setattr(net, name, value)
        _, _, batch = small.mixed(net, padding)
        out = net(batch)
        out.loss.backward()
        return out, net.frames.linear.weight.grad

    fast, slope = losses()
    usual = small.model()
    assert not torch.isclose(usual(small.mixed(usual, padding)[2]).parts["answer"], fast.parts["answer"], atol=1e-3)
    for changes in ({"fast": False}, {"two_pass": True}):
        out, grad = losses(**changes)
        assert torch.allclose(out.loss, fast.loss, atol=1e-5)
        assert torch.allclose(grad, slope, atol=1e-4), changes


def test_branching_answers_see_no_frame_either():
    net = small.model(**BLIND)
    clip = small.clip(12, 1)
    question = "when does it spin, and what else is there to see in this video at that time, and why is that so?"
    texts = [[small.text(net, clip, question, ((a, a + 1.0),)) for a in (1.0, 2.0, 3.0)]]
    batch = small.collate([clip], texts, net.tokenizer, net.prompt)
    batch = replace(batch, preferred=torch.tensor([0, 0, 0]), factors=["", "when", "when"])
    net.fast = False
    branching = net(batch)
    apart = net(replace(batch, preferred=None))
    assert torch.allclose(branching.log_p, apart.log_p, atol=1e-5)


def test_written_answers_are_those_of_whole_passes_when_they_see_no_frame():
    net = small.model(**BLIND).eval()
    clips, asked = prompts(net)
    together = generate(net, clips, asked, Decoding(12))
    net.fast = False
    assert [g.ids for g in generate(net, clips, asked, Decoding(12))] == [g.ids for g in together]
    usual = small.model().eval()
    assert [g.ids for g in generate(usual, clips, asked, Decoding(12))] != [g.ids for g in together]


def test_the_next_word_after_a_written_one_is_that_of_the_whole_text():
    net = small.model(**BLIND, semantics="off").eval()
    clips, asked = prompts(net)
    one = generate(net, clips[:1], [asked[0][:1]], Decoding(6))[0]
    text, n = asked[0][0], len(asked[0][0].ids)
    whole = replace(text, ids=text.ids + list(one.ids), labels=text.labels + list(one.ids))
    batch = small.collate(clips[:1], [[whole]], net.tokenizer, net.prompt)
    with torch.no_grad():
        out = net(batch)
    assert out.logits.argmax(-1).tolist() == list(one.ids) and n


def test_evidence_may_carry_what_it_finds_and_not_the_truth():
    net = small.model(evidence_from="predicted")
    _, _, batch = small.mixed(net)
    found = predicted_intervals(net, batch)
    asked = ~batch.in_answer
    assert torch.equal(found[asked], batch.interval[asked]) and not torch.equal(found, batch.interval)
    out = net(batch)
    out.loss.backward()
    true = small.model()
    prefix = net.read(batch)
    first = net.ground(batch, prefix, net.read_texts(batch, prefix, net.embed(batch, prefix)))  # after the truth
    before = batch.interval.clone()
    before[batch.in_answer] = net.formulation.read(first.similarity, first.frame_mask, net.salient)[1].to(before)
    again = net.ground(batch, prefix, net.read_texts(batch, prefix, net.embed(batch, prefix, before)))
    expected_spans = net.formulation.read(again.similarity, again.frame_mask, net.salient)[1]
    assert torch.equal(found[batch.in_answer], expected_spans.to(found))
    expected = true(replace(batch, interval=found))  # the same words, with the intervals that were found put there
    assert torch.allclose(out.parts["answer"], expected.parts["answer"], atol=1e-5)
    evidence = net.ground(batch, prefix, net.read_texts(batch, prefix, net.embed(batch, prefix, found)))
    assert torch.allclose(out.parts["grounding"], net.grounding_loss(batch, evidence), atol=1e-5)  # towards the truth
    for changes in ({"fast": False}, {"two_pass": True}):
        other = small.model(evidence_from="predicted")
        for name, value in changes.items():
            setattr(other, name, value)
        assert torch.allclose(other(batch).loss, out.loss, atol=1e-5)


def test_evidence_that_points_at_a_proposal_carries_that_one():
    net = small.model(evidence_from="predicted", formulation="cite")
    _, _, batch = small.mixed(net)
    other = small.model(formulation="cite")
    for _ in range(2):
        cited = other(batch).cited.interval.float()  # of the answers; first each carries the truth
        batch = replace(batch, interval=batch.interval.clone().index_put((batch.in_answer.nonzero()[:, 0],), cited))
    assert torch.equal(predicted_intervals(net, small.mixed(net)[2])[batch.in_answer], cited)


def test_without_evidence_tokens_nothing_is_predicted():
    net = small.model(evidence_from="predicted")
    clip = small.clip(7, 2)
    batch = small.collate([clip], [[small.text(net, clip, "does it blink?", ())]], net.tokenizer, net.prompt)
    assert torch.isfinite(net(batch).loss)
