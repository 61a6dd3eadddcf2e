"""Which frames of a long video the language model sees."""

import numpy as np
import pytest
import torch
from small import clip

from d2vlm_lab.config import Data, RunConfig
from d2vlm_lab.data.batch import Clip, to_frames, to_seconds
from d2vlm_lab.data.pruning import RULES, prune
from d2vlm_lab.errors import LabError


@pytest.mark.parametrize("rule", RULES)
def test_at_most_so_many_frames_stay_in_order_each_with_its_own_time(rule):
    whole = clip(50)
    kept = prune(whole, 8, rule)
    where = np.searchsorted(whole.timestamps, kept.timestamps)
    assert len(kept.timestamps) == 8 and bool((np.diff(where) > 0).all())
    assert torch.equal(kept.features, whole.features[where])


@pytest.mark.parametrize("rule", RULES)
def test_a_video_that_is_short_enough_stays_as_it_is(rule):
    whole = clip(8)
    assert prune(whole, 8, rule) is whole and prune(whole, None, rule) is whole


def test_even_keeps_both_ends_and_equal_distances():
    assert prune(clip(9, fps=1.0), 3).timestamps.tolist() == [0, 4, 8]


def test_change_keeps_the_frames_at_which_something_goes_on():
    features = torch.zeros(40, 3)
    features[20:25] = torch.arange(5)[:, None].float() + 5
    kept = prune(Clip(features, np.arange(40.0)), 7, "change")
    assert kept.timestamps.tolist() == [19, 20, 21, 22, 23, 24, 25]
    assert to_seconds(to_frames((20.0, 24.0), kept.timestamps), kept.timestamps) == (20.0, 24.0)


def test_a_single_frame_is_refused():
    with pytest.raises(LabError, match="keep_frames"):
        RunConfig(data=Data(keep_frames=1))
