"""Proposals from a curve, and pointing at one of them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import clip, mixed, model, text

from d2vlm_lab.config import RunConfig, read_config
from d2vlm_lab.data.batch import collate, encode_prompt
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas import citing
from d2vlm_lab.ideas.citing import cited, citing_loss, proposal_means, proposals
from d2vlm_lab.ideas.grounding import frame_overlap
from d2vlm_lab.ideas.intervals import log_probability
from d2vlm_lab.judging.exam import teacher_forced
from d2vlm_lab.lab.run import train
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.decoding import steps
from d2vlm_lab.model.times.citing import Citing
from d2vlm_lab.settings import from_dict, override


def random_logits(rows, frames, seed=0):
    return 3 * torch.randn(rows, frames, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 99), st.floats(0.1, 0.9))
def test_proposals_are_what_a_search_through_all_intervals_finds(n_frames, k, seed, same):
    logits = random_logits(1, n_frames, seed)
    every = torch.tensor([(s, e) for s in range(n_frames) for e in range(s, n_frames)])
    likely = log_probability(logits.expand(len(every), -1), every).argsort(descending=True, stable=True)
    expected = []
    for span in every[likely].tolist():
        if all(frame_overlap(torch.tensor([span]), torch.tensor([other])) <= same for other in expected):
            expected.append(span)
    spans, exist = proposals(logits, k, same=same)
    assert spans.shape == (1, k, 2) and int(exist.sum()) == min(k, len(expected))
    assert spans[0, exist[0]].tolist() == expected[:k]


def test_proposals_lie_within_the_frames_that_exist_and_do_not_depend_on_the_others():
    logits, mask = random_logits(2, 10), torch.tensor([[True] * 10, [True] * 4 + [False] * 6])
    spans, exist = proposals(logits.masked_fill(~mask, 50.0), 20, mask)
    assert (spans[1][exist[1]] < 4).all() and not exist[1].all()
    alone, there = proposals(logits[1:, :4], 20)
    assert torch.equal(alone[0][there[0]], spans[1][exist[1]])


def test_proposals_of_many_tokens_are_those_of_each_alone(monkeypatch):
    logits, together = random_logits(7, 12), proposals(random_logits(7, 12), 5)
    monkeypatch.setattr(citing, "AT_ONCE", 300)  # two tokens at a time
    assert all(torch.equal(one, other) for one, other in zip(proposals(logits, 5), together))


def test_the_mean_state_of_a_proposal_is_that_of_its_frames():
    states = torch.randn(3, 8, 4)
    spans = torch.tensor([[[0, 7], [2, 2]], [[1, 3], [5, 6]]])
    means = proposal_means(states, torch.tensor([2, 0]), spans)
    for row, video in enumerate((2, 0)):
        for k, (first, last) in enumerate(spans[row].tolist()):
            torch.testing.assert_close(means[row, k], states[video, first:last + 1].mean(0), atol=1e-5, rtol=1e-5)


def test_the_loss_asks_for_the_proposal_that_overlaps_the_true_interval_best():
    spans = torch.tensor([[[0, 9], [2, 4], [3, 6]]]).expand(3, -1, -1)
    scores = torch.tensor([[1.0, 0.5, -0.2], [1.0, 0.5, -torch.inf], [1.0, 0.5, 0.0]], requires_grad=True)
    truth = torch.tensor([[3.2, 5.4], [3.2, 5.4], [20.0, 22.0]])
    loss = citing_loss(scores, spans, truth)
    expected = -scores.log_softmax(-1)
    # [3, 6] is the best of three; without it, [2, 4] overlaps in 2 of 4 frames, and [0, 9] in 3 of 10.
    torch.testing.assert_close(loss[:2], torch.stack([expected[0, 2], expected[1, 1]]))
    assert loss[2].item() == 0  # nothing overlaps it
    loss.sum().backward()
    assert (scores.grad[0].argmin(), scores.grad[2].abs().max()) == (2, 0)
    assert cited(scores.detach(), spans).tolist() == [[0, 9]] * 3


# In a model.

def same(one, other):
    for name in ("logits", "similarity", "evidence"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-4, rtol=1e-4)
    assert torch.equal(one.cited.spans, other.cited.spans)
    torch.testing.assert_close(one.cited.scores, other.cited.scores, atol=1e-4, rtol=1e-4)
    assert one.parts.keys() == other.parts.keys()


def test_one_pass_two_passes_the_faster_form_and_a_video_alone_agree():
    net = model(formulation="cite").eval()
    clips, texts, batch = mixed(net)
    with torch.no_grad():
        faster = net(batch)
        net.fast = False
        one = net(batch)
        net.two_pass = True
        two = net(batch)
        net.two_pass, net.fast = False, True
        alone = net(collate(clips[1:], texts[1:], net.tokenizer, net.prompt))
    same(faster, one)
    same(one, two)
    mentions = len(alone.similarity)
    exist = alone.cited.scores > -torch.inf
    assert torch.equal(alone.cited.spans[exist], one.cited.spans[-mentions:][exist])
    torch.testing.assert_close(alone.cited.scores, one.cited.scores[-mentions:], atol=1e-4, rtol=1e-4)


def test_the_heads_learn_to_point_at_the_proposal_that_is_asked_for():
    """Two questions about one video, with the same curve: the token decides which of its proposals is right."""
    torch.manual_seed(0)
    heads, asked, frames = Citing(16, 6), torch.randn(2, 16), torch.randn(1, 20, 16)
    curve = torch.full((2, 20), -3.0)
    curve[:, 2:6] = curve[:, 11:15] = 3.0
    truth, row, mask = torch.tensor([[2.0, 5.0], [11.0, 14.0]]), torch.tensor([0, 0]), torch.ones(2, 20).bool()
    optimizer = torch.optim.Adam(heads.parameters(), 1e-2)
    for _ in range(60):
        out = heads(asked, frames, row, curve, mask)
        optimizer.zero_grad()
        citing_loss(out.scores, out.spans, truth).sum().backward()
        optimizer.step()
    assert out.interval.tolist() == truth.tolist() and out.overlap(truth).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("fast", [True, False])
def test_decoding_cites_what_the_forward_pass_cites(fast):
    net = model(formulation="cite", semantics="off").eval()
    net.fast = fast
    shown = clip(12, 1)
    prompt = encode_prompt("when does it spin?", (), shown, net.tokenizer, net.prompt)
    whole = text(net, shown, events=((1.0, 2.0), (3.0, 4.0)))
    written = whole.ids[len(prompt.ids):]
    with torch.no_grad():
        cited_there = net(collate([shown], [[whole]], net.tokenizer, net.prompt)).cited.interval
        batch, evidence = collate([shown], [[prompt]], net.tokenizer, net.prompt), []
        for step in steps(net, batch, lambda logits, rows, n: torch.tensor([written[n]]), len(written)):
            if step.tokens.item() == net.tokenizer.convert_tokens_to_ids("<evi>"):
                evidence.append(step.intervals[0])
    assert torch.equal(torch.stack(evidence), cited_there)


def test_a_batch_without_events_and_a_video_of_one_frame_are_learned_from():
    net = model(formulation="cite").train()
    for n_frames, events in ((7, ()), (1, ((0.0, 0.0),))):
        shown = clip(n_frames, 2)
        out = net(collate([shown], [[text(net, shown, events=events)]], net.tokenizer, net.prompt))
        out.loss.backward()
        assert out.loss.isfinite() and out.parts["citing"].item() == 0
    assert out.cited.interval.tolist() == [[0, 0]] * 2


def test_without_proposals_not_a_number_changes():
    plain, other = model().eval(), model(formulation="cite").eval()
    assert plain.state_dict().keys() < other.state_dict().keys()
    with torch.no_grad():
        one, two = plain(mixed(plain)[2]), other(mixed(other)[2])
    assert torch.equal(one.similarity, two.similarity) and torch.equal(one.parts["grounding"], two.parts["grounding"])
    assert one.cited is None and set(two.parts) - set(one.parts) == {"citing"}
    assert two.loss == pytest.approx(float(one.loss + two.parts["citing"]), rel=1e-6)


def test_a_checkpoint_carries_its_heads_and_one_of_before_starts_with_new_ones(tmp_path):
    before = load("data/tiny-sft")
    started = load("data/tiny-sft", replace(before.method, formulation="cite"))
    again = load(save(started, tmp_path / "model"))
    assert again.method == started.method
    assert all(torch.equal(value, started.state_dict()[name]) for name, value in again.state_dict().items())
    assert load(tmp_path / "model", before.method).state_dict().keys() == before.state_dict().keys()


@pytest.mark.parametrize("changes, message", [
    ({"method.style": "digits"}, "method.formulation=cite reads times off `<evi>` tokens; .*style=digits"),
    ({"method.style": "time_tokens"}, "method.formulation=cite reads times off"),
    ({"preference.form": "fpo"}, "preference.form=fpo scores intervals by the sigmoid of each frame; .* is cite"),
    ({"reward.form": "grpo"}, "only method.formulation=sigmoid gives; it is cite"),
    ({"method.proposals": 0}, "method.proposals: expected a whole number from 1")])
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(LabError, match=message):
        override(RunConfig(), {"method.formulation": "cite"} | changes)


def test_a_run_with_proposals_trains_and_is_examined(tmp_path):
    make_world(tmp_path / "world", from_dict(WorldConfig, {"videos": 10, "seed": 5}), workers=1)
    config = read_config("tiny", [
        "parts.start=data/tiny-sft", "training.steps=2", "training.videos=2", "training.log_every=1",
        "training.eval_every=2", "training.save_every=1", "evaluation.samples=2", "evaluation.tasks=[tvg]",
        "evaluation.max_new_tokens=30", f"data.world={tmp_path / 'world'}", "method.formulation=cite"])
    train(config, tmp_path / "run", str)
    assert '"loss_citing"' in (tmp_path / "run" / "history.jsonl").read_text()
    trained = load(tmp_path / "run" / "model")
    _, val = splits(config)
    samples = [sample for sample in val.samples if sample.events][:4]
    scores = teacher_forced(trained, samples, reader(config, trained.frames, val.videos))
    assert 0 <= scores["read_at_0.5"] <= scores["proposed_at_0.5"] <= 1 and "held_out_citing" in scores
