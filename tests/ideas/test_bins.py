"""A time as a distribution over bins: the recorded numbers, and what must hold for any."""

import json
import math
from pathlib import Path

import pytest
import torch

from d2vlm_lab.ideas import bins

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "rivals" / "recorded.json").read_text())["time_bins"]


@pytest.mark.parametrize("case", RECORDED)
def test_times_and_both_losses_are_those_recorded_from_the_rivals_code(case):
    logits, target = torch.tensor(case["logits"]).unflatten(-1, (2, case["bins"] + 1)), torch.tensor(case["target"])
    expected = bins.expected_anchors(logits)
    assert torch.allclose(expected, torch.tensor(case["expected_times"]), atol=1e-5)
    assert bins.distribution_focal_loss(logits, target).sum().item() \
        == pytest.approx(case["dfl_sum_over_both_ends_divided_by_bins"], abs=1e-6)
    assert bins.diou_loss(expected, target).mean().item() == pytest.approx(case["diou_mean"], abs=1e-6)


def test_the_focal_loss_is_lowest_where_both_neighbours_share_the_time():
    """The mean of the best distribution is the true time, also between anchors and at both ends of the video."""
    times = torch.tensor([[0.0, 3.25], [7.5, 8.0]])
    logits = torch.zeros(2, 2, 9, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        bins.distribution_focal_loss(logits, times).sum().backward()
        optimizer.step()
    assert torch.allclose(bins.expected_anchors(logits), times, atol=0.05)


def test_the_distance_loss_also_pulls_where_nothing_overlaps_or_the_ends_are_exchanged():
    predicted = torch.tensor([[1.0, 2.0], [7.0, 5.0], [3.0, 3.0]], requires_grad=True)
    loss = bins.diou_loss(predicted, torch.tensor([6.0, 8.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and (loss >= 1).all() and (predicted.grad != 0).any(-1).all()
    assert bins.diou_loss(torch.tensor([[6.0, 8.0]]), torch.tensor([[6.0, 8.0]])).item() == pytest.approx(0)


def test_a_time_spreads_over_the_anchors_around_it():
    spread = bins.gaussian_over_anchors(torch.tensor([[4.0, 0.0]]), 8)
    assert spread.shape == (1, 2, 9) and torch.allclose(spread.sum(-1), torch.ones(1, 2))
    assert spread.argmax(-1).tolist() == [[4, 0]] and torch.allclose(spread[0, 0], spread[0, 0].flip(-1))
    assert (spread[0, 0, 5] / spread[0, 0, 4]).item() == pytest.approx(math.exp(-0.5))  # one sigma away


def test_the_loss_is_the_sum_of_both_at_times_between_the_anchors():
    torch.manual_seed(0)
    logits, mask = torch.randn(3, 2, 9), torch.ones(3, 6, dtype=torch.bool)
    times = torch.tensor([[0.8, 3.2], [1.6, 5.6], [4.0, 8.0]])  # 8 bins for the 5 steps between frames
    distance = bins.diou_loss(bins.expected_anchors(logits), times, published=False)
    assert torch.allclose(bins.bins_loss(logits, times * 5 / 8, mask, None),
                          bins.distribution_focal_loss(logits, times) + distance, atol=1e-6)
    right, swapped = torch.tensor([[2.0, 5.0]]), torch.tensor([[5.0, 2.0]])
    assert bins.diou_loss(right, times[1:2], published=False) == bins.diou_loss(right, times[1:2])
    assert bins.diou_loss(swapped, torch.tensor([[3.0, 3.0]]), published=False) == 1 + (0.5 / 3) ** 2


def test_an_event_of_one_frame_has_a_loss_of_ordinary_size_whatever_is_predicted():
    torch.manual_seed(0)
    logits, frame = torch.randn(500, 2, 33), torch.randint(40, (500, 1)).float()
    loss = bins.bins_loss(logits, frame.expand(-1, 2), torch.ones(500, 40, dtype=torch.bool), None)
    assert loss.max() < 10


def test_frames_lie_at_the_anchors_that_their_place_in_the_video_says():
    n_frames = torch.tensor([[9], [5], [1]])
    positions = torch.tensor([[0.0, 8.0], [2.5, 9.0], [0.0, 3.0]])
    assert bins.to_anchors(positions, n_frames, 16).tolist() == [[0, 16], [10, 16], [0, 0]]


def test_the_curve_is_how_likely_a_frame_lies_between_the_ends():
    mask = torch.tensor([[True] * 9 + [False] * 3])
    logits = torch.full((1, 2, 5), -30.0)
    logits[0, 0, 1] = logits[0, 1, 2] = logits[0, 1, 3] = 0.0  # begins at anchor 1; ends at 2 or at 3
    curve, ends = bins.bins_read(logits, mask, None)
    assert ends.tolist() == [[pytest.approx(2.0), pytest.approx(5.0)]]
    assert curve[0].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0], abs=1e-6)
    swapped, in_order = bins.bins_read(logits.flip(1), mask, None)
    assert torch.equal(in_order, ends) and float(swapped.max()) < 1
