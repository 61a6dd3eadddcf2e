"""Why an idea pays: what words need, how second mentions drift, and in what answers are wrong."""

import pytest
import small
import torch

from d2vlm_lab.data.sample import Sample
from d2vlm_lab.ideas.evidence import Event, parse
from d2vlm_lab.judging.mechanisms import are_words, mistakes, needs_of_words, with_method
from d2vlm_lab.judging.predict import Prediction
from d2vlm_lab.judging.scores import caption_scores, second_mentions
from d2vlm_lab.model.decoding import Generated

SAMPLE = Sample("s", "v.mp4", 16.0, "dvc", "world", "describe every event.",
                (Event(1, 3, "the red disc spins"), Event(6, 9, "the blue disc blinks")),
                (0, ", the red disc spins. ", 1, ", the blue disc blinks."))


def predicted(text, *intervals):
    answer = parse(text, intervals, "coupled" if text.startswith("<evi>,") else "interleaved")
    return Prediction(SAMPLE, Generated(text, answer, (), (), True))


RIGHT = "<evi><evi></evi> <evi>, the red disc spins. <evi>, the blue disc blinks."


TOLD = "the red disc spins. the blue disc blinks."
COUPLED = "<evi>, the red disc spins. <evi>, the blue disc blinks."
MORE, SAME = " <evi>, the green disc fades.", [(1, 3), (6, 9)]


@pytest.mark.parametrize("text, intervals, wrong", [
    (RIGHT, SAME * 2, []), (f"<evi><evi></evi> {TOLD}", SAME, []), (COUPLED, SAME, []),
    (RIGHT, [(1, 3), (12, 14)] * 2, ["when"]),
    (RIGHT.replace("blue", "red"), SAME * 2, ["what"]),
    (RIGHT.replace("blue", "red"), [(1, 3), (12, 14)] * 2, ["when", "what"]),
    ("<evi></evi> <evi>, the red disc spins.", [(1, 3)] * 2, ["which"]),
    ("", [], ["which"]),
    # An event too many is told, in three styles.
    (RIGHT + MORE, [*SAME, *SAME, (12, 14)], ["which"]),
    (f"<evi><evi></evi> {TOLD} the green disc fades.", SAME, ["which"]),
    (COUPLED + MORE, [*SAME, (12, 14)], ["which"]),
    # One event is given the words of the other; one is told again; one stutters.
    (COUPLED.replace("blue disc blinks", "red disc spins"), SAME, ["what"]),
    (COUPLED + " <evi>, the blue disc blinks.", [*SAME, (6, 9)], ["how"]),
    (COUPLED.replace("blinks", "blinks blinks"), SAME, ["how"])])
def test_a_mistake_has_the_same_factor_in_all_styles(text, intervals, wrong):
    scores = mistakes([predicted(text, *intervals)])
    comparable = {"when", "what"} if not {"which", "how"} & set(wrong) else set()
    assert scores == {"mistakes_any": float(bool(wrong))} | {
        f"mistakes_{factor}": float(factor in wrong) for factor in {"which", "how"} | comparable}


def test_times_and_words_are_compared_where_as_many_events_are_told():
    right, late, short = (predicted(RIGHT, *SAME * 2), predicted(RIGHT, *[(1, 3), (12, 14)] * 2),
                          predicted("<evi></evi> <evi>, the red disc spins.", *[(1, 3)] * 2))
    scores = mistakes([right, right, right, late, short])
    assert scores["mistakes_when"] == 0.25 and scores["mistakes_which"] == 0.2 and scores["mistakes_any"] == 0.4
    assert mistakes([]) == {}


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


def test_words_are_matched_one_to_one_and_telling_more_costs():
    both = ["the red disc spins", "the blue disc blinks"]
    everything = "<evi>, {}. " * 8
    shower = predicted(everything.format(*both * 4), *[(1, 3), (1, 3), (6, 9), (6, 9)] * 2)
    assert caption_scores([shower])["dvc_words_F1@0.5"] == pytest.approx(2 * 2 / (8 + 2), abs=1e-4)
    told = predicted(f"<evi><evi></evi> {TOLD} the green disc fades.", *SAME)
    assert caption_scores([told])["dvc_words_F1@0.5"] == pytest.approx(2 * 2 / (3 + 2), abs=1e-4)
    assert caption_scores([told])["dvc_joint_F1@0.5"] == caption_scores([told])["dvc_caption_F1"] == 0.8


@pytest.mark.parametrize("changes", [{}, {"evidence_from": "predicted"}, {"answer_view": "evidence"}])
def test_what_words_need_is_compared_with_true_evidence_and_changes_no_model(changes):
    net = small.model(**changes).eval()
    _, _, batch = small.mixed(net)
    with torch.no_grad():
        out, method = net(batch), net.method
        words = are_words(net, out.targets)
        needs = needs_of_words(net, batch, out, words)
        assert net.method is method and torch.equal(net(batch).log_p, out.log_p)
        assert net.tokenizer.decode(out.targets[~words]).count("evi>") == (~words).sum() > 0
        assert "evi>" not in net.tokenizer.decode(out.targets[words])

        def loss(**how):
            with with_method(net, **how):
                return float(-net(batch).log_p[words].mean())

        true = loss(evidence_from="true")
        assert loss(evidence_from="predicted") - true == pytest.approx(needs["exposure_gap"]) != 0
        assert ("blind_words" in needs) == ("answer_view" not in changes)
        if "blind_words" in needs:
            assert loss(evidence_from="true", answer_view="evidence") - true == pytest.approx(needs["blind_words"]) != 0


@pytest.mark.parametrize("changes, gap", [({"semantics": "off"}, False), ({"semantics": "projection"}, True)])
def test_there_is_no_gap_where_evidence_carries_nothing(changes, gap):
    net = small.model(**changes).eval()
    _, _, batch = small.mixed(net)
    with torch.no_grad():
        out = net(batch)
        assert ("exposure_gap" in needs_of_words(net, batch, out, are_words(net, out.targets))) == gap
