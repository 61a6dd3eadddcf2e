"""Four ways to say when: each learns the right interval, reads it back, and leaves missing frames alone."""

import math

import pytest
import torch
from small import mixed, model

from d2vlm_lab.config import Method, Preference, RunConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.formulation import FORMULATIONS, expected_ends
from d2vlm_lab.ideas.salience import peak_share
from d2vlm_lab.model.decoding import Decoding, generate

MASK = torch.tensor([[True] * 10, [True] * 7 + [False] * 3])
TRUTH = torch.tensor([[2.0, 5.0], [4.0, 6.0]])
SHAPE = {"sigmoid": (2, 10), "softmax": (2, 10), "cite": (2, 10), "boundary": (2, 2, 10), "bins": (2, 2, 33)}
NAMES = list(FORMULATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_logits_that_minimize_the_loss_are_read_as_the_true_interval(name):
    form = FORMULATIONS[name]
    logits = torch.zeros(SHAPE[name], requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.3)
    losses = []
    for _ in range(150):
        loss = form.loss(logits, TRUTH, MASK, None).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    curve, intervals = form.read(logits.detach(), MASK, peak_share)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(intervals.float(), TRUTH, atol=0.1 if name == "bins" else 0, rtol=0)
    assert curve.shape == MASK.shape and bool((curve[~MASK] == 0).all()) and bool((curve >= 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_frames_that_do_not_exist_change_nothing(name):
    form, logits = FORMULATIONS[name], torch.randn(SHAPE[name], generator=torch.Generator().manual_seed(0))
    of_frames = logits.shape[-1] == MASK.shape[-1]  # bins are no frames
    other = logits.masked_fill(~(MASK if logits.ndim == 2 else MASK[:, None]), 50.0) if of_frames else logits
    torch.testing.assert_close(form.loss(logits, TRUTH, MASK, 2.0), form.loss(other, TRUTH, MASK, 2.0))
    alone = form.loss(logits[1:, ..., :7] if of_frames else logits[1:], TRUTH[1:], MASK[1:, :7], 2.0)
    torch.testing.assert_close(form.loss(logits, TRUTH, MASK, 2.0)[1:], alone)
    assert torch.equal(form.read(logits, MASK, peak_share)[1], form.read(other, MASK, peak_share)[1])


def test_the_ends_are_the_mean_of_where_each_half_points():
    logits = torch.full((1, 2, 4), -torch.inf)
    logits[0, 0, 1] = logits[0, 1, 2] = logits[0, 1, 3] = 0.0
    assert expected_ends(logits, torch.ones(1, 4, dtype=torch.bool)).tolist() == [[1.0, 2.5]]


def test_the_softmax_shares_one_among_the_frames_of_an_event():
    """Logits that are all equal cost log F, however long the event is."""
    loss = FORMULATIONS["softmax"].loss(torch.zeros(2, 5), torch.tensor([[1.0, 1.0], [0.0, 3.0]]),
                                        torch.ones(2, 5, dtype=torch.bool), 3.0)
    assert loss.tolist() == pytest.approx([math.log(5)] * 2)


def test_a_boundary_loss_is_the_distance_as_a_share_of_the_video():
    logits = torch.zeros(1, 2, 5)  # both halves point at the middle, frame 2
    loss = FORMULATIONS["boundary"].loss(logits, torch.tensor([[1.0, 4.0]]), torch.ones(1, 5, dtype=torch.bool), None)
    assert float(loss) == pytest.approx((1 / 5 + 2 / 5) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_each_kind_learns_from_a_batch_and_answers(name):
    net = model(formulation=name, consistency_weight=0.0)
    clips, texts, batch = mixed(net)
    out = net(batch)
    out.loss.backward()
    assert torch.isfinite(out.loss) and float(out.parts["grounding"].detach()) > 0
    pointing = net.bins.decoder if name == "bins" else net.evidence_head
    assert pointing[1].weight.grad.abs().sum() > 0
    asked = [[texts[0][0]], [texts[1][0]], [texts[2][0]]]
    for answer, clip in zip(generate(net, clips, asked, Decoding(max_new_tokens=6)), clips):
        for evidence in answer.evidence:
            assert 0 <= evidence.frames[0] <= evidence.frames[1] < len(clip.timestamps)


def test_preferences_over_intervals_need_the_sigmoid():
    with pytest.raises(LabError, match="formulation is softmax"):
        RunConfig(method=Method(formulation="softmax"), preference=Preference("fpo"))
