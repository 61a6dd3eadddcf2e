"""Why an idea pays: what words need, how second mentions drift, and in what answers are wrong."""

import pytest
import small
import torch

from d2vlm_lab.data.sample import Sample
from d2vlm_lab.ideas.evidence import Event, parse
from d2vlm_lab.judging.mechanisms import mistakes, needs_of_words, with_method
from d2vlm_lab.judging.predict import Prediction
from d2vlm_lab.judging.scores import caption_scores, second_mentions
from d2vlm_lab.model.decoding import Generated

SAMPLE = Sample("s", "v.mp4", 16.0, "dvc", "world", "describe every event.",
                (Event(1, 3, "the red disc spins"), Event(6, 9, "the blue disc blinks")),
                (0, ", the red disc spins. ", 1, ", the blue disc blinks."))


def predicted(text, *intervals):
    answer = parse(text, intervals)
    return Prediction(SAMPLE, Generated(text, answer, (), (), True))


RIGHT = "<evi><evi></evi> <evi>, the red disc spins. <evi>, the blue disc blinks."


@pytest.mark.parametrize("text, intervals, wrong", [
    (RIGHT, [(1, 3), (6, 9), (1, 3), (6, 9)], []),
    (RIGHT, [(1, 3), (12, 14), (1, 3), (12, 14)], ["when"]),
    (RIGHT.replace("blue", "red"), [(1, 3), (6, 9)] * 2, ["what"]),
    (RIGHT.replace("blue", "red"), [(1, 3), (12, 14)] * 2, ["when", "what"]),
    ("<evi></evi> <evi>, the red disc spins.", [(1, 3)] * 2, ["which"]),
    ("<evi></evi> <evi>, the red disc spins. <evi>, the blue disc blinks.", [(1, 3)] * 3, ["how"])])
def test_a_mistake_is_named_by_the_factor_in_which_a_rejected_answer_would_be_wrong(text, intervals, wrong):
    assert mistakes([predicted(text, *intervals)]) == {
        f"mistakes_{factor}": float(factor in wrong) for factor in ("when", "which", "what", "how")}


def test_mistakes_are_shares_of_the_questions_about_events():
    right, late = predicted(RIGHT, *[(1, 3), (6, 9)] * 2), predicted(RIGHT, *[(1, 3), (12, 14)] * 2)
    assert mistakes([right, right, right, late])["mistakes_when"] == 0.25 and mistakes([]) == {}


def test_the_drift_of_second_mentions_is_in_seconds():
    moved = predicted(RIGHT, (1, 3), (6, 9), (1, 3), (7, 9))
    assert second_mentions([moved])["second_drift"] == 0.25  # one of four ends, by a second
    assert second_mentions([predicted(RIGHT, *[(1, 3), (6, 9)] * 2)])["second_drift"] == 0


def test_words_count_one_by_one_where_the_time_is_right():
    half = predicted(RIGHT.replace("the red disc spins", "the red square moves left"), *[(1, 3), (6, 9)] * 2)
    assert caption_scores([half])["dvc_words_F1@0.5"] == pytest.approx((2 * 2 / 9 + 1) / 2, abs=1e-4)
    assert caption_scores([half])["dvc_caption_F1"] == 0.5
    late = predicted(RIGHT, *[(1, 3), (12, 14)] * 2)
    assert caption_scores([late])["dvc_words_F1@0.5"] == 0.5


def test_what_words_need_is_measured_without_changing_the_model():
    net = small.model().eval()
    _, _, batch = small.mixed(net)
    with torch.no_grad():
        loss = float(net(batch).parts["answer"])
        method = net.method
        needs = needs_of_words(net, batch, loss)
        assert net.method is method and float(net(batch).parts["answer"]) == loss
        for name, changes in (("blind_words", {"answer_view": "evidence"}),
                              ("exposure_gap", {"evidence_from": "predicted"})):
            with with_method(net, **changes):
                assert float(net(batch).parts["answer"]) - loss == pytest.approx(needs[name]) != 0
