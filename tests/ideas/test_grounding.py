"""Similarity, targets, losses and salient intervals: the recorded numbers, and what must hold for any."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from d2vlm_lab.ideas import grounding as g
from d2vlm_lab.ideas import salience
from d2vlm_lab.ideas.consistency import consistency_loss, mean_by_sample, spread
from d2vlm_lab.ideas.evidence import overlap
from d2vlm_lab.ideas.formulation import FORMULATIONS

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "interval" / "cases.json").read_text())
DEGENERATE = [c for c in json.loads((GOLDEN / "interval" / "degenerate.json").read_text()) if c["similarity"]]


def test_the_authors_rule_is_the_one_that_spans_ties():
    assert all(salience.criterion("peak_share", None, "span")(curve := torch.tensor([c["similarity"]]), None, curve)
               .tolist() == [c["interval"]] for c in CASES)


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c['kind']}" for i, c in enumerate(CASES)])
def test_the_salient_interval_is_the_recorded_one_alone_and_among_padding(case):
    curve = torch.tensor([case["similarity"]])
    assert salience.peak_share(curve)[0].tolist() == case["interval"]
    padded = torch.nn.functional.pad(curve, (0, 4), value=0.99)
    mask = torch.arange(padded.shape[1])[None] < curve.shape[1]
    assert salience.peak_share(padded, mask)[0].tolist() == case["interval"]


@pytest.mark.parametrize("case", DEGENERATE, ids=[c["case"] for c in DEGENERATE])
def test_degenerate_curves_give_the_recorded_interval(case):
    assert salience.peak_share(torch.tensor([[float(v) for v in case["similarity"]]])).tolist() == case["result"]


def test_all_recorded_curves_at_once_equal_one_at_a_time():
    curves = [torch.tensor(c["similarity"]) for c in CASES]
    batch = torch.nn.utils.rnn.pad_sequence(curves, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(c, dtype=torch.bool) for c in curves], batch_first=True)
    assert salience.peak_share(batch, mask).tolist() == [c["interval"] for c in CASES]


@pytest.mark.parametrize("name", salience.CRITERIA)
@pytest.mark.parametrize("mask", [None, torch.zeros(1, 0, dtype=torch.bool)])
def test_a_curve_without_frames_is_an_error(name, mask):
    with pytest.raises(ValueError, match="without frames"):
        salience.criterion(name)(torch.zeros(1, 0), mask)


@pytest.mark.parametrize("path", sorted((GOLDEN / "grounding").glob("*.npz")), ids=lambda p: p.stem)
def test_similarity_targets_losses_and_probability_are_the_recorded_ones(path):
    z = {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(path).items()}
    frames, evidence, base = z["frame_tokens"], z["evidence_tokens"], float(z["alpha"])
    k, intervals = len(z["intervals"]), z["intervals"].repeat(2, 1)
    logits = g.similarity(evidence, frames)
    torch.testing.assert_close(logits, z["similarity_logits"], atol=2e-4, rtol=1e-4)
    targets = g.frame_targets(intervals.round(), len(frames), base).float()
    torch.testing.assert_close(targets, z["soft_targets"], atol=1e-6, rtol=0)
    assert float(g.grounding_loss(logits, targets).mean()) == pytest.approx(float(z["bce_mean"]), rel=1e-5)
    consistency = consistency_loss(evidence[:k], evidence[k:]).mean()
    assert float(consistency) == pytest.approx(float(z["l1_mean"]), rel=1e-5)
    unrounded = g.frame_targets(intervals, len(frames), base).float()
    torch.testing.assert_close(unrounded, z["fpo_soft_targets_unrounded"], atol=1e-6, rtol=0)
    log_p = g.interval_log_probability(logits, unrounded).sum()
    assert float(log_p) == pytest.approx(float(z["fpo_grounding_logprob"]), abs=2e-3)


def test_targets_by_hand():
    hard = g.frame_targets(torch.tensor([[1.0, 2.0]]), 5, base=None)
    soft = g.frame_targets(torch.tensor([[1.0, 2.0], [3.0, 1.0]]), 5, base=2.0)
    assert hard.tolist() == [[0, 1, 1, 0, 0]]
    assert soft.tolist() == [[0.5, 1, 1, 0.5, 0.25], [0.5, 1, 0.5, 1, 0.5]]  # a reversed interval has no inside


@pytest.mark.parametrize("average", [False, True])
def test_the_losses_have_right_gradients_in_double_precision(average):
    torch.manual_seed(0)
    frames, evidence = torch.randn(6, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    targets = g.frame_targets(torch.tensor([[0.0, 2.0], [1.0, 1.0], [3.5, 5.0]], dtype=torch.float64), 6)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 6])
    inputs = (evidence.requires_grad_(), frames.requires_grad_())
    assert torch.autograd.gradcheck(lambda e, f: g.grounding_loss(g.similarity(e, f), targets, mask), inputs)
    assert torch.autograd.gradcheck(
        lambda e, f: g.interval_log_probability(g.similarity(e, f), targets, mask, average), inputs)
    assert torch.autograd.gradcheck(
        lambda e, f: mean_by_sample(consistency_loss(e, f[:3]), torch.tensor([0, 0, 1])), inputs)


def test_padding_changes_neither_loss_nor_probability():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 5), torch.rand(2, 5)
    wide = torch.nn.functional.pad(logits, (0, 3), value=7.0)
    wide_targets, mask = torch.nn.functional.pad(targets, (0, 3), value=0.3), torch.arange(8)[None] < 5
    mask = mask.expand(2, -1)
    torch.testing.assert_close(g.grounding_loss(wide, wide_targets, mask), g.grounding_loss(logits, targets))
    for average in (False, True):
        torch.testing.assert_close(g.interval_log_probability(wide, wide_targets, mask, average),
                                   g.interval_log_probability(logits, targets, average=average))


def test_overlaps_by_hand():
    assert overlap((0, 2), (1, 3)) == pytest.approx(1 / 3) and overlap((0, 1), (1, 2)) == 0
    assert overlap((1, 1), (1, 1)) == 1 and overlap((1, 1), (2, 2)) == 0 and overlap((0, 4), (1, 2)) == 0.25
    whole = g.frame_overlap(torch.tensor([[2, 4], [3, 3], [0, 1]]), torch.tensor([[4, 6], [3, 3], [2, 3]]))
    torch.testing.assert_close(whole, torch.tensor([0.2, 1.0, 0.0]))


def test_mean_by_sample_weighs_samples_alike_however_many_events_they_have():
    assert float(mean_by_sample(torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([2, 2, 2, 9]))) == 3.0
    assert float(mean_by_sample(torch.zeros(0), torch.zeros(0, dtype=torch.long))) == 0.0


def test_spread_shows_collapse():
    states = torch.randn(20, 8)
    assert spread(states) > 0.5 and spread(states[:1].expand(20, -1)) < 1e-9


curves = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)


@given(curves, st.sampled_from(sorted(salience.CRITERIA)))
def test_every_criterion_returns_an_interval_of_the_video(curve, name):
    first, last = salience.criterion(name)(torch.tensor([curve]), None)[0].tolist()
    assert 0 <= first <= last < len(curve)


@given(curves)
def test_the_best_segment_is_the_one_that_trying_all_would_find(curve):
    curve = torch.tensor(curve, dtype=torch.float64)
    gain = curve / curve.max().clamp_min(1e-12) - 0.72
    best = max(float(gain[i:j + 1].sum()) for i in range(len(curve)) for j in range(i, len(curve)))
    first, last = salience.best_segment(curve[None])[0].tolist()
    assert float(gain[first:last + 1].sum()) == pytest.approx(best, abs=1e-9)


def test_runs_that_tie_in_tenths_are_those_whose_own_means_tie_in_float32():
    """Which of them tie depends on rounding, as in the authors' code, which takes the mean of each run by itself."""
    generator = torch.Generator().manual_seed(0)
    curves = torch.randint(0, 11, (200, 24), generator=generator) / 10  # a few of them need it
    keep = curves >= 0.6 * curves.amax(-1, keepdim=True)
    for curve, kept, found in zip(curves, keep, salience.best_run(curves, keep).tolist()):
        frames = kept.nonzero().squeeze(1)
        runs = frames.tensor_split((frames.diff() > 1).nonzero().squeeze(1) + 1)
        means = [float(curve[run].mean()) for run in runs]
        best = [run for run, mean in zip(runs, means) if mean == max(means)]
        assert found == [int(best[0][0]), int(best[-1][-1])]


def test_top_frames_and_over_threshold_by_hand():
    curve = torch.tensor([[0.1, 0.8, 0.9, 0.2, 0.85, 0.1]])
    assert salience.top_frames(curve, k=2).tolist() == [[2, 2]]
    level, logits = torch.ones(1, 4), torch.tensor([[20.0, 30.0, 40.0, 20.0]])  # a sigmoid of 1 for all: logits decide
    assert salience.top_frames(level, logits=logits, k=2).tolist() == [[1, 2]]
    assert salience.over_threshold(curve, threshold=0.15).tolist() == [[1, 4]]
    assert salience.over_threshold(curve, threshold=0.95).tolist() == [[2, 2]]


def test_a_fitted_threshold_finds_the_level_that_separates_inside_from_outside():
    targets = torch.tensor([[2, 5], [0, 3], [4, 9]])
    frame = torch.arange(10)
    inside = (targets[:, :1] <= frame) & (frame <= targets[:, 1:])
    curve = torch.where(inside, 0.45, 0.3) + torch.linspace(0, 0.05, 10)
    threshold = salience.fit_threshold(curve, targets)
    assert salience.over_threshold(curve, threshold=threshold).tolist() == targets.tolist()


TIED = torch.full((1, 40), -6.0)  # logits of two runs whose sigmoids are all 1 in float32
TIED[0, 5:9], TIED[0, 20:30] = 19.0, 18.0


@pytest.mark.parametrize("name, value", [("peak_share", None), ("over_threshold", None), ("top_frames", 6)])
def test_logits_decide_where_similarities_are_exactly_the_same(name, value):
    curve, mask = TIED.sigmoid(), torch.ones_like(TIED, dtype=torch.bool)
    assert len(curve[0, [5, 20]].unique()) == 1
    expected = {"peak_share": [[5, 8]], "over_threshold": [[5, 8]], "top_frames": [[5, 8]]}[name]
    assert salience.criterion(name, value)(curve, mask, TIED).tolist() == expected
    assert FORMULATIONS["sigmoid"].read(TIED, mask, salience.criterion(name, value))[1].tolist() == expected
    for spanning in (salience.criterion(name, value)(curve, mask),
                     salience.criterion(name, value, "span")(curve, mask, TIED)):
        assert spanning.tolist() == [[5, 29]]
    assert salience.criterion(name, value)(curve.flip(-1), mask, TIED.flip(-1)).tolist() == [[31, 34]]


def test_of_runs_with_equal_logits_the_first_is_taken():
    logits = torch.tensor([[0.0, 5.0, 0.0, 5.0, 0.0]])
    assert salience.peak_share(logits.sigmoid(), logits=logits).tolist() == [[1, 1]]
    assert salience.peak_share(logits.sigmoid()).tolist() == [[1, 3]]


@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=20, unique=True),
       st.sampled_from(sorted(salience.CRITERIA)), st.booleans())
def test_without_ties_both_rules_give_the_same_interval(logits, name, padded):
    logits = torch.tensor([logits])
    curve, mask = logits.sigmoid(), torch.ones_like(logits, dtype=torch.bool)
    if len(curve.unique()) < curve.shape[-1]:
        return
    if padded:
        logits, curve, mask = (torch.nn.functional.pad(each, (0, 3), value=fill)
                               for each, fill in ((logits, 9.0), (curve, 1.0), (mask, False)))
    rules = [salience.criterion(name, None, ties)(curve, mask, logits) for ties in ("logits", "span")]
    assert torch.equal(*rules)


def test_states_of_16_bits_do_not_widen_an_interval():
    """In bfloat16, similarities between 16 and 32 are multiples of 1/8; those of four frames here are a bit higher."""
    generator = torch.Generator().manual_seed(0)
    evidence = torch.nn.functional.normalize(torch.randn(1, 64, generator=generator), dim=-1) * 8
    height = torch.full((40, 1), -6.0)
    height[20:30], height[5:9] = 18.0, 18.04
    frames = height * evidence / 8
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        logits = g.similarity(evidence.to(dtype), frames.to(dtype))
        mask = torch.ones_like(logits, dtype=torch.bool)
        assert logits.dtype == torch.float32
        first, last = FORMULATIONS["sigmoid"].read(logits, mask, salience.peak_share)[1][0].tolist()
        assert (first, last) in ((5, 8), (20, 29)) if dtype == torch.bfloat16 else (first, last) == (5, 8)


def test_an_unknown_criterion_is_named():
    with pytest.raises(ValueError, match="peak_share"):
        salience.criterion("peak")


@pytest.mark.parametrize("n_frames, window", [(40, 7), (9, 9), (31, 5)])
def test_the_smoothing_filter_is_that_of_scipy(n_frames, window):
    curve = torch.rand(n_frames, generator=torch.Generator().manual_seed(n_frames), dtype=torch.float64)
    ours = salience.savitzky_golay(n_frames, window) @ curve
    assert np.allclose(ours, savgol_filter(curve.numpy(), window, 2, mode="interp"))


def test_a_smoothed_curve_bridges_a_gap_of_one_frame_alone_and_among_padding():
    curve = torch.tensor([[0.1, 0.1, 0.1, 0.9, 0.95, 0.3, 0.9, 0.92, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1]])
    assert salience.peak_share(curve).tolist() == [[3, 4]]
    assert salience.smoothed(curve, window=5).tolist() == [[3, 8]]
    rows, mask = torch.cat([curve, torch.zeros(1, 14)]), torch.ones(2, 14, dtype=torch.bool)
    rows[1, :2], mask[1, 2:] = torch.tensor([0.2, 0.8]), False
    assert salience.criterion("smoothed", 5)(rows, mask, rows).tolist() == [[3, 8], [1, 1]]
