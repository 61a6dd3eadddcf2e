"""The exact distribution over intervals, against a brute force that looks at every one of them."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from d2vlm_lab.ideas import intervals as d
from d2vlm_lab.ideas.grounding import frame_targets, interval_log_probability
from d2vlm_lab.ideas.rewards import pair_rewards

LENGTHS = (7, 4, 1)


@pytest.fixture
def curves():
    """Logits of three videos of different length and the mask of their frames; what does not exist is huge."""
    torch.manual_seed(0)
    logits, mask = 3 * torch.randn(3, 7, dtype=torch.float64), torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    return logits.masked_fill(~mask, 1e4), mask


def brute_force(logits):
    """{(s, e): probability} of one video, from the probability of the paper."""
    n = len(logits)
    spans = [(s, e) for s in range(n) for e in range(s, n)]
    targets = frame_targets(torch.tensor(spans, dtype=torch.float64), n, None)
    p = interval_log_probability(logits.expand(len(spans), n), targets).exp()
    return dict(zip(spans, (p / p.sum()).tolist()))


def each(curves):
    return [(row, n, brute_force(curves[0][row, :n])) for row, n in enumerate(LENGTHS)]


def test_every_interval_has_its_share_of_the_papers_probability(curves):
    table = d.log_probabilities(*curves).exp()
    for row, _, p in each(curves):
        for (s, e), value in p.items():
            assert table[row, s, e].item() == pytest.approx(value, rel=1e-6)  # the paper's has 1e-10 added
            one = d.log_probability(curves[0][[row]], torch.tensor([[s, e]]), curves[1][[row]])
            assert one.exp().item() == pytest.approx(value, rel=1e-6)
    assert torch.allclose(table.sum((1, 2)), torch.ones(3, dtype=torch.float64))


def test_entropy_and_the_probability_of_a_frame(curves):
    h, inside = d.entropy(*curves), d.frame_probability(*curves)
    for row, n, p in each(curves):
        assert h[row].item() == pytest.approx(-sum(v * math.log(v) for v in p.values()), abs=1e-6)
        for f in range(n):
            assert inside[row, f].item() == pytest.approx(sum(v for (s, e), v in p.items() if s <= f <= e), rel=1e-6)
    assert (inside[~curves[1]] == 0).all()
    assert d.entropy(torch.zeros(1, 40)).item() == pytest.approx(math.log(40 * 41 / 2), rel=1e-5)


def test_the_divergence_is_zero_from_itself_and_else_that_of_all_intervals(curves):
    logits, mask = curves
    other = logits + torch.randn_like(logits)
    assert d.divergence(logits, logits, mask).abs().max() < 1e-9
    kl = d.divergence(logits, other, mask)
    for row, n, p in each(curves):
        q = brute_force(other[row, :n])
        assert kl[row].item() == pytest.approx(sum(v * math.log(v / q[span]) for span, v in p.items()), abs=1e-6)


def test_intervals_are_drawn_as_often_as_they_are_probable(curves):
    logits, mask = curves
    for row, _, p in each(curves):
        chances = torch.rand(20000, 2, generator=torch.Generator().manual_seed(row), dtype=torch.float64)
        drawn = d.draw(logits[[row]].expand(20000, -1), chances, mask[[row]].expand(20000, -1))
        for span, value in p.items():
            share = (drawn == torch.tensor(span)).all(-1).double().mean().item()
            assert abs(share - value) < 4 * math.sqrt(value * (1 - value) / 20000) + 1e-4


@pytest.mark.parametrize("chance", [0.0, 1 - 1e-16])
def test_a_chance_at_either_end_draws_an_interval_that_exists(curves, chance):
    drawn = d.draw(*curves[:1], torch.full((3, 2), chance, dtype=torch.float64), curves[1])
    assert (drawn >= 0).all() and (drawn[:, 0] <= drawn[:, 1]).all()
    assert (drawn[:, 1] < torch.tensor(LENGTHS)).all()


def test_long_videos_and_certain_curves_stay_finite():
    logits = torch.full((1, 2000), -30.0)
    logits[0, 700:900] = 30.0
    logits.requires_grad_()
    value = d.log_probability(logits, torch.tensor([[700, 899]]))
    assert value.item() == pytest.approx(0, abs=1e-2) and d.entropy(logits).item() == pytest.approx(0, abs=1e-2)
    value.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("n_frames, outside", [(350, -12.0), (1000, -15.0), (3600, -8.0)])
def test_sums_over_long_videos_lose_no_digits(n_frames, outside):
    torch.manual_seed(0)
    logits = (outside + torch.randn(1, n_frames)).index_fill(1, torch.arange(100, 112), 4.0)
    exact, moved = logits.double(), logits + 0.01 * torch.randn(1, n_frames)
    for of in (d.entropy, d.frame_probability):
        assert of(logits).dtype == torch.float32 and torch.allclose(of(logits).double(), of(exact), rtol=1e-6)
    assert d.divergence(logits, moved).double().item() == pytest.approx(d.divergence(exact, moved.double()).item(),
                                                                        rel=1e-5)
    assert d.frame_probability(logits).max() <= 1


def test_the_expected_reward_is_that_of_all_intervals(curves):
    logits, mask = curves
    seconds = torch.arange(7, dtype=torch.float64) / 2
    spans = d.all_intervals(seconds)
    table = pair_rewards("iou", spans, torch.tensor([0.5, 1.5], dtype=torch.float64)).expand(3, 7, 7)
    value = d.expected_reward(logits, table, mask)
    for row, _, p in each(curves):
        assert value[row].item() == pytest.approx(sum(v * table[row, s, e].item() for (s, e), v in p.items()), rel=1e-6)


def test_gradients_are_those_of_the_formulas(curves):
    logits, mask = curves
    logits = logits.masked_fill(~mask, 0).requires_grad_()
    spans = torch.tensor([[1, 5], [0, 2], [0, 0]])
    rewards, reference = torch.rand(3, 7, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    for function in (lambda x: d.log_probability(x, spans, mask), lambda x: d.entropy(x, mask),
                     lambda x: d.expected_reward(x, rewards, mask),
                     lambda x: d.divergence(x, reference, mask)):
        assert gradcheck(function, (logits,))


def test_the_exact_gradient_is_the_mean_of_many_drawn_ones():
    """`E[R d log p]`: the policy gradient, whose noise the exact form does not have."""
    torch.manual_seed(0)
    logits, rewards = torch.randn(1, 5, dtype=torch.float64), torch.rand(1, 5, 5, dtype=torch.float64)
    exact, = torch.autograd.grad(d.expected_reward(x := logits.clone().requires_grad_(), rewards).sum(), x)
    many = logits.expand(40000, -1).clone().requires_grad_()
    spans = d.draw(many.detach(), torch.rand(40000, 2, dtype=torch.float64))
    reward = rewards[0, spans[:, 0], spans[:, 1]]
    drawn, = torch.autograd.grad((d.log_probability(many, spans) * reward).sum(), many)
    assert torch.allclose(drawn.mean(0), exact[0], atol=0.01)
