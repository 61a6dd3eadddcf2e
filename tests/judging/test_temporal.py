from itertools import permutations

import numpy as np
import pytest
from golden_metrics import recorded
from hypothesis import given
from hypothesis import strategies as st

from d2vlm_lab.judging.metrics import quirks
from d2vlm_lab.judging.metrics.soda import in_order, soda
from d2vlm_lab.judging.metrics.temporal import (
    assign,
    grounding_f1,
    interval_f1_miou,
    matched_f1,
    merged,
    seconds_f1,
    temporal_iou,
)

TIMES = st.integers(0, 60).map(lambda n: n / 2)
INTERVAL = st.tuples(TIMES, TIMES).map(lambda pair: tuple(sorted(pair)))
INTERVALS = st.lists(INTERVAL, max_size=6)


def test_overlap_of_half_is_a_third_and_touching_is_none():
    np.testing.assert_allclose(temporal_iou([[0, 10]], [[5, 15], [10, 20], [0, 10], [2, 4]]), [[1 / 3, 0, 1, 0.2]])


def test_a_point_overlaps_itself_and_nothing_else():
    np.testing.assert_array_equal(temporal_iou([[5, 5]], [[5, 5], [4, 6], [6, 6]]), [[1, 0, 0]])


def test_no_intervals_make_an_empty_table():
    assert temporal_iou([], [[0, 1]]).shape == (0, 1) and grounding_f1([], [[0, 1]], 0.5) == 0


@given(INTERVALS, INTERVALS)
def test_overlap_is_symmetric_and_between_0_and_1(a, b):
    iou = temporal_iou(a, b)
    np.testing.assert_array_equal(iou, temporal_iou(b, a).T)
    assert ((iou >= 0) & (iou <= 1)).all()


@given(INTERVALS)
def test_every_interval_overlaps_itself_fully(a):
    assert (np.diag(temporal_iou(a, a)) == 1).all()


@given(INTERVALS, INTERVALS, st.sampled_from([0.1, 0.3, 0.5, 0.7]))
def test_matching_uses_nothing_twice_and_finds_as_many_pairs_as_there_can_be(pred, truth, threshold):
    pred, truth = pred[:4], truth[:4]
    iou = temporal_iou(pred, truth)
    pairs = assign(iou, threshold)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(iou[i, j] >= threshold for i, j in pairs)
    wide = iou if iou.shape[0] <= iou.shape[1] else iou.T
    most = max((sum(wide[i, j] >= threshold for i, j in enumerate(order))
                for order in permutations(range(wide.shape[1]), wide.shape[0])), default=0)
    assert len(pairs) == most


@given(INTERVALS, st.randoms())
def test_matched_f1_of_the_truth_in_any_order_is_1(truth, rng):
    truth = list(dict.fromkeys(truth))
    shuffled = rng.sample(truth, len(truth))
    assert matched_f1(temporal_iou(shuffled, truth), 0.7) == 1


def test_duplicates_count_for_coverage_but_not_one_to_one():
    pred, truth = [[0, 10], [0, 10], [1, 10]], [[0, 10]]
    assert grounding_f1(pred, truth, 0.5) == 1
    assert matched_f1(temporal_iou(pred, truth), 0.5) == pytest.approx(2 * 1 / 4)


def test_training_scores_of_a_worked_case():
    scores = interval_f1_miou([[(0, 10), (30, 40)], [], [(3, 5)]], [[(0, 10), (20, 25)], [], [(3, 4)]], (0.5, 0.7))
    assert scores["F1@0.5"] == pytest.approx((0.5 + 1 + 1) / 3)  # 1 of 2 and 2; nothing asked or said; IoU one half
    assert scores["F1@0.7"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert scores["mIoU"] == pytest.approx((0.5 + 1 + 0.5) / 3)


def test_training_scores_without_samples_are_0_and_lists_of_unequal_length_an_error():
    assert interval_f1_miou([], [])["mIoU"] == 0
    with pytest.raises(ValueError):
        interval_f1_miou([[]], [])


def test_seconds_are_rounded_to_even_and_overlapping_intervals_count_once():
    assert merged([(5, 9), (0, 2), (1, 3), (7, 7), (-4, 1)]) == [(0, 3), (5, 9)]
    assert seconds_f1([(0.5, 2.5)], [(0, 2)]) == 1  # halves go to 0 and 2
    assert seconds_f1([(0, 4), (2, 6)], [(3, 9)]) == pytest.approx(2 * 3 / (6 + 6))
    assert seconds_f1([(990, 1010)], [(980, 1020)], 1000) == pytest.approx(2 * 10 / 30)


def test_published_overlaps_equal_the_recorded_ones():
    for case in recorded("unit/small_functions.json")["iou"]:
        a, b = case["a"], case["b"]
        assert quirks.iou_with_epsilon([a], [b])[0, 0] == pytest.approx(case["dvc_eval"]["out"], abs=1e-12)
        assert quirks.iou_with_epsilon([sorted(a)], [sorted(b)])[0, 0] == pytest.approx(case["youcook2"]["out"])
        if "out" in case["charades"]:
            assert quirks.iou_of_hull(a, b) == pytest.approx(case["charades"]["out"])
        expected = float(case["nncore"]["out"])
        assert float(quirks.iou_in_float32([a], [b])[0, 0]) == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_stories_in_order_equal_the_recorded_ones():
    for case in recorded("unit/small_functions.json")["soda_dp"]:
        assert in_order(np.array(case["scores"])) == pytest.approx(case["res"]["out"][0], abs=1e-12)


def test_soda_of_a_perfect_story_is_1_and_of_none_0():
    assert soda(np.eye(3), np.ones((3, 3))) == 1 and soda(np.zeros((0, 3)), np.zeros((0, 3))) == 0
    assert soda(np.eye(3)[::-1], np.ones((3, 3))) == pytest.approx(1 / 3)  # told backwards, one event fits
