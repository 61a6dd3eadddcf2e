"""Rewards for sets of intervals: the recorded numbers, and what must hold for any sets."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2vlm_lab.ideas import rewards as r

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "rivals" / "recorded.json").read_text())["rewards"]
TENTHS = st.integers(0, 400)
INTERVAL = st.tuples(TENTHS, st.integers(1, 200)).map(lambda pair: (pair[0] / 10, (pair[0] + pair[1]) / 10))
SETS = st.lists(INTERVAL, min_size=1, max_size=4)
APART = st.lists(st.integers(1, 30), min_size=2, max_size=8).map(
    lambda steps: [(sum(steps[:i]) / 2, sum(steps[:i + 1]) / 2) for i in range(0, len(steps), 2)])
WITHIN_ONE = ("iou", "matched_giou", "wasserstein", "wasserstein2", "precision_iou")


@pytest.mark.parametrize("name, reward", [
    ("iou", r.iou), ("giou", r.giou), ("matched_giou", r.matched_giou), ("wasserstein_beta1", r.wasserstein),
    ("wasserstein_beta3", lambda p, g: r.wasserstein(p, g, 3)),
    ("wasserstein2_beta3", lambda p, g: r.wasserstein2(p, g, 3))])
def test_the_rewards_are_those_recorded_from_the_rivals_code(name, reward):
    known = [case for case in RECORDED if case[name] is not None]
    assert len(known) > 100
    for case in known:
        assert reward(case["predicted"], case["true"]) == pytest.approx(case[name], abs=1e-9), case


@given(APART)
def test_equal_sets_of_separate_intervals_are_worth_one(intervals):
    assert all(r.SET_REWARDS[name](intervals, intervals) == pytest.approx(1) for name in WITHIN_ONE)


@given(SETS, SETS)
def test_rewards_stay_within_their_bounds(predicted, true):
    assert all(0 <= r.SET_REWARDS[name](predicted, true) <= 1 for name in WITHIN_ONE)
    assert -1 <= r.giou(predicted, true) <= 1


@given(APART, APART)
def test_what_compares_two_sets_alike_is_symmetric(a, b):
    for reward in (r.iou, r.giou, r.matched_giou, r.wasserstein2):
        assert reward(a, b) == pytest.approx(reward(b, a))


@given(SETS, SETS, st.integers(-50, 50), st.integers(1, 20))
def test_neither_a_shift_nor_another_unit_of_time_changes_a_reward(predicted, true, shift, scale):
    moved = [[((a + shift) * scale, (b + shift) * scale) for a, b in side] for side in (predicted, true)]
    for reward in r.SET_REWARDS.values():
        assert reward(*moved) == pytest.approx(reward(predicted, true), abs=1e-6)


@given(SETS, SETS, st.randoms())
def test_the_order_of_intervals_does_not_matter(predicted, true, random):
    mixed = [random.sample(side, len(side)) for side in (predicted, true)]
    assert all(reward(*mixed) == pytest.approx(reward(predicted, true)) for reward in r.SET_REWARDS.values())


@given(SETS, SETS)
def test_joining_predictions_that_overlap_changes_only_the_matched_reward(predicted, true):
    for name, reward in r.SET_REWARDS.items():
        if name != "matched_giou":
            assert reward(r.merge(predicted), true) == pytest.approx(reward(predicted, true))


@pytest.mark.parametrize("name", r.SET_REWARDS)
def test_no_reward_has_a_cliff_where_the_intervals_stop_overlapping(name):
    """From a full overlap to 30 seconds apart in small steps, the reward never jumps and never rises."""
    values = [r.SET_REWARDS[name]([(20 + k / 50, 30 + k / 50)], [(20, 30)]) for k in range(2000)]
    steps = [b - a for a, b in zip(values, values[1:])]
    assert max(steps) < 1e-9
    assert min(steps) > -0.01


def test_only_distances_tell_a_near_miss_from_a_far_one():
    near, far, true = [(31.0, 41.0)], [(80.0, 90.0)], [(20.0, 30.0)]
    assert r.iou(near, true) == r.iou(far, true) == r.precision_iou(near, true) == 0
    for reward in (r.giou, r.matched_giou, r.wasserstein, r.wasserstein2):
        assert reward(near, true) > reward(far, true) + 0.05


def test_precision_counts_for_two_fifths():
    assert r.precision_iou([(0, 10)], [(0, 5)]) == pytest.approx(0.5 ** 0.6 * 0.5 ** 0.4)
    assert r.precision_iou([(0, 5)], [(0, 10)]) == pytest.approx(0.5 ** 0.6)
    pair = torch.tensor([[0.0, 4.0]]), torch.tensor([[0.0, 10.0]])
    assert r.pair_rewards("precision_iou", *pair).item() == pytest.approx(0.4 ** 0.6)


@pytest.mark.parametrize("name", WITHIN_ONE)
def test_saying_nothing_is_right_only_where_there_is_nothing(name):
    reward, some = r.SET_REWARDS[name], [(1.0, 2.0)]
    assert reward([], []) == 1 and reward(some, []) == 0 and reward([], some) == 0
    assert reward([(3.0, 3.0)], []) == 0, "an event of one frame has no length, but it is none the less claimed"


@pytest.mark.parametrize("bad", [(3.0, 3.0), (5.0, 2.0), (math.nan, 4.0), (1.0, math.inf)])
def test_an_interval_that_covers_nothing_counts_for_nothing(bad):
    some, true = [(1.0, 2.0)], [(1.5, 4.0)]
    assert all(reward([*some, bad], true) == reward(some, true) for reward in r.SET_REWARDS.values())


@given(INTERVAL, INTERVAL, st.sampled_from([0.5, 1.0, 3.0]))
def test_the_closed_form_of_one_pair_is_that_of_two_sets(a, b, beta):
    pair = [torch.tensor(span, dtype=torch.float64) for span in (a, b)]
    for name, reward in r.SET_REWARDS.items():
        more = {"beta": beta} if name.startswith("wasserstein") else {}
        assert r.pair_rewards(name, *pair, **more).item() == pytest.approx(reward([a], [b], **more), abs=1e-9)


@pytest.mark.parametrize("name", r.SET_REWARDS)
def test_an_instant_has_a_finite_reward_that_is_highest_for_itself(name):
    instants = torch.tensor([[2.0, 2.0], [3.0, 3.0], [2.0, 4.0]])
    values = r.pair_rewards(name, instants, torch.tensor([2.0, 2.0]))
    assert values.isfinite().all() and values[0] == values.max() == 1


def test_an_unknown_reward_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown reward 'f1': use one of iou, giou"):
        r.pair_rewards("f1", torch.zeros(2), torch.zeros(2))
