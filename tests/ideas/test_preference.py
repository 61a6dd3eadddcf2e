"""The preference losses, and that answers behind one prefix are the answers as sequences of their own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import clip, model, text

from d2vlm_lab.config import Preference, RunConfig
from d2vlm_lab.data.batch import collate
from d2vlm_lab.data.branches import find_branches
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas import preference as p
from d2vlm_lab.learning.fpo import Preferences, log_probabilities
from d2vlm_lab.settings import override

RECORDED = Path(__file__).parents[1] / "golden" / "fpo" / "sample1_grounding_perturbed" / "outputs.json"


def answers(net, shared=True, reversed_roles=False):
    """A chosen answer, and three rejected ones: at another time, with an event less, with other words."""
    video = clip(12, 1)
    told = [text(net, video, "what?", ((0, 2), (3, 3.5))), text(net, video, "what?", ((0, 2), (4, 5.5))),
            text(net, video, "what?", ((0, 2),)), text(net, video, "what?", ((0, 2), (3, 3.5)), ["red ", 0, " or ", 1])]
    groups = [told] if shared else [[each] for each in told]
    batch = collate([video] * len(groups), groups, net.tokenizer, net.prompt)
    return replace(batch, preferred=torch.zeros(4, dtype=torch.long), factors=["", "when", "which", "what"])


def log_p(net, batch, average=False):
    return log_probabilities(net(batch), batch, net.method, average)


@pytest.mark.parametrize("loss", [
    lambda c, r, a, b: p.fpo_loss(c, r, 0.3), lambda c, r, a, b: p.dpo_loss(c, r, a, b, 0.3)])
def test_losses_have_right_gradients_in_double_precision(loss):
    torch.manual_seed(0)
    inputs = [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("average", [False, True])
def test_log_probabilities_have_right_gradients_in_double_precision(average):
    torch.manual_seed(0)
    each = torch.randn(5, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    targets, row = torch.rand(3, 6, dtype=torch.float64), torch.tensor([2, 0, 2])
    assert torch.autograd.gradcheck(
        lambda e: p.text_log_probability(e, torch.tensor([0, 0, 2, 2, 2]), 3, average), (each,))
    assert torch.autograd.gradcheck(
        lambda s: p.grounding_log_probability(s, targets, row, 3, None, average), (logits,))


def test_the_recorded_term_follows_from_the_recorded_log_probabilities():
    recorded = json.loads(RECORDED.read_text())["fpo_per_sample"][0]
    both = {name: p.LogProbability(*(torch.tensor([recorded[name][part]]) for part in ("text", "grounding")))
            for name in ("chosen", "rejected")}
    for name in both:
        assert float(both[name].total()) == pytest.approx(recorded[name]["total"], abs=1e-4)
    term = p.fpo_loss(both["chosen"].total(), both["rejected"].total())
    assert float(term) == pytest.approx(recorded["fpo_term"], abs=1e-5)


def test_text_and_grounding_have_weights_of_their_own():
    both = p.LogProbability(torch.tensor([-3.0, -5.0]), torch.tensor([-7.0, 0.0]))
    assert both.total().tolist() == [-10, -5]
    assert both.total(text_weight=0).tolist() == [-7, 0] and both.total(2.0, 0.5).tolist() == [-9.5, -10]


def test_sums_and_means_by_hand_and_an_answer_without_evidence_has_no_grounding_term():
    each, row = torch.tensor([-1.0, -3.0, -2.0]), torch.tensor([0, 0, 2])
    assert p.text_log_probability(each, row, 3).tolist() == [-4, 0, -2]
    assert p.text_log_probability(each, row, 3, average=True).tolist() == [-2, 0, -2]
    similarity, mask = torch.zeros(1, 4), torch.tensor([[True, True, False, False]])
    half = torch.tensor(0.5).log()
    for average, value in ((False, 2 * half), (True, half)):
        found = p.grounding_log_probability(similarity, torch.ones(1, 4), torch.tensor([1]), 2, mask, average)
        torch.testing.assert_close(found, torch.stack([torch.zeros(()), value]))


def test_a_reference_equal_to_the_policy_leaves_no_margin_and_a_wrong_order_costs_more():
    chosen, rejected = torch.tensor([-4.0]), torch.tensor([-9.0])
    assert float(p.dpo_loss(chosen, rejected, chosen, rejected)) == pytest.approx(0.693147, abs=1e-6)
    assert p.fpo_loss(chosen, rejected) < p.fpo_loss(rejected, chosen)


@pytest.fixture(autouse=True)
def questions_always_branch(monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.branches.MIN_SPARED", 0)


def test_a_question_is_read_once_only_where_that_saves_more_than_a_pass_costs(monkeypatch):
    net = model()
    batch = answers(net)
    spared = 3 * int(find_branches(batch).asked[0])  # of four answers three need not repeat it
    monkeypatch.setattr("d2vlm_lab.data.branches.MIN_SPARED", spared)
    assert find_branches(batch) is not None
    monkeypatch.setattr("d2vlm_lab.data.branches.MIN_SPARED", spared + 1)
    assert find_branches(batch) is None


def test_only_answers_to_one_question_about_one_video_branch_off_it():
    net = model()
    shared = find_branches(answers(net))
    assert shared.text.tolist() == [0] and shared.question.tolist() == [0] * 4
    assert find_branches(answers(net, shared=False)) is None
    video = clip(12, 1)
    texts = [text(net, video, "what?"), text(net, video, "where?")]
    batch = collate([video], [texts], net.tokenizer, net.prompt)
    assert find_branches(batch) is None
    assert find_branches(replace(batch, preferred=torch.tensor([0, 0]))) is None


def test_questions_of_different_length_and_videos_branch_together():
    net = model().eval()
    clips = [clip(12, 1), clip(7, 2)]
    groups = [[text(net, clips[0], "what?"), text(net, clips[0], "what?", ((0, 2), (3, 3.5)))],
              [text(net, clips[1], "what is there in <evi>?", ((0, 1),), asked=[(0.5, 1.5)]),
               text(net, clips[1], "what is there in <evi>?", ((2, 3),), asked=[(0.5, 1.5)])]]
    together = collate(clips, groups, net.tokenizer, net.prompt)
    branching = replace(together, preferred=torch.tensor([0, 0, 2, 2]))
    assert find_branches(branching).text.tolist() == [0, 2]
    ours, theirs = log_p(net, branching), log_p(net, together)
    torch.testing.assert_close(ours.text, theirs.text, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.grounding, theirs.grounding, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("average", [False, True])
def test_answers_behind_one_prefix_have_the_log_probabilities_of_separate_sequences(average):
    net = model().eval()
    together, apart = (log_p(net, answers(net, shared), average) for shared in (True, False))
    torch.testing.assert_close(together.text, apart.text, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(together.grounding, apart.grounding, atol=1e-4, rtol=1e-5)
    net.two_pass = True
    torch.testing.assert_close(log_p(net, answers(net), average).total(), together.total(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("two_pass", [False, True])
def test_answers_behind_one_prefix_have_the_gradients_of_separate_sequences(two_pass):
    def gradients(shared):
        net = model().eval()
        net.two_pass = two_pass and not shared
        batch = answers(net, shared)
        out, _ = Preferences(Preference(form="fpo"), net)(net, batch, net(batch))
        out.loss.backward()
        return out.loss, {name: value.grad for name, value in net.named_parameters() if value.grad is not None}

    (loss, ours), (theirs_loss, theirs) = gradients(True), gradients(False)
    torch.testing.assert_close(loss, theirs_loss, atol=1e-5, rtol=1e-5)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-5 * float(theirs[name].abs().max()) + 1e-6, rtol=0)


def test_each_answer_is_scored_as_if_it_were_alone():
    net = model().eval()
    together = log_p(net, answers(net)).total()
    video = clip(12, 1)
    alone = collate([video], [[text(net, video, "what?", ((0, 2),))]], net.tokenizer, net.prompt)
    torch.testing.assert_close(log_p(net, alone).total()[0], together[2], atol=1e-4, rtol=1e-5)


def test_supervised_losses_are_those_of_the_chosen_answers_alone():
    net = model().eval()
    both = net(answers(net))
    video = clip(12, 1)
    chosen = net(collate([video], [[text(net, video, "what?", ((0, 2), (3, 3.5)))]], net.tokenizer, net.prompt))
    for name in chosen.parts:
        torch.testing.assert_close(both.parts[name], chosen.parts[name], atol=1e-5, rtol=1e-5)


def test_the_term_joins_the_loss_and_the_log_tells_factors_apart():
    net = model().eval()
    batch = answers(net)
    plain = net(batch)
    out, notes = Preferences(Preference(form="fpo", weight=0.5, supervised=2.0), net)(net, batch, plain)
    total = log_p(net, batch).total().detach()
    term = p.fpo_loss(total[:1], total[1:]).mean()
    torch.testing.assert_close(out.loss, 2 * plain.loss + 0.5 * term)
    right = (total[0] > total[1:]).float()
    assert [notes[f"accuracy_{factor}"] for factor in ("when", "which", "what")] == right.tolist()
    assert notes["margin"] == pytest.approx(float((total[0] - total[1:]).mean()), rel=1e-4)
    assert {"text_chosen", "text_rejected", "grounding_chosen", "grounding_rejected"} <= notes.keys()


def test_a_batch_without_rejected_answers_has_no_term():
    net = model()
    video = clip(9)
    batch = collate([video], [[text(net, video)]], net.tokenizer, net.prompt)
    plain = net(batch)
    out, notes = Preferences(Preference(form="fpo", reference=True), net)(net, batch, plain)
    assert out.parts["preference"].item() == 0 and notes == {}
    torch.testing.assert_close(out.loss, plain.loss)


def test_dpo_is_blind_to_where_the_evidence_points_and_fpo_is_not():
    net = model(semantics="off").eval()
    for value in net.evidence_head.parameters():
        value.requires_grad_(True)
    batch = answers(net)
    for form, seen in (("dpo", False), ("fpo", True)):
        net.zero_grad()
        out, _ = Preferences(Preference(form=form), net)(net, batch, net(batch))
        out.parts["preference"].backward()
        gradient = net.evidence_head[1].weight.grad
        assert (gradient is not None and bool(gradient.abs().sum() > 0)) is seen


@pytest.mark.parametrize("change", ["preference.form=ppo", "preference.beta=0", "preference.rejects=0",
                                    "preference.factors=[]", "preference.factors=[whose]", "preference.weight=-1",
                                    "preference.betta=1"])
def test_preference_settings_are_strict(change):
    with pytest.raises(LabError, match="preference"):
        override(RunConfig(), ["preference.form=fpo", change])


def test_preference_is_off_by_default():
    assert RunConfig().preference.form == "off"
