"""Right words at the right time: TRACE, the files of TGLG, and how early a live model notices an event."""

import csv
import json

import numpy as np
import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.data.world import load
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.judging.metrics import confidence
from d2vlm_lab.judging.metrics.live import LiveCase, Said, f1_by_moment, live_scores, notices, standing
from d2vlm_lab.judging.metrics.trace import Utterance, align, judge, trace


def said(*starts, words="one two three four five"):
    return [Utterance(start, words) for start in starts]


def test_partners_are_exchanged_only_where_both_fit_better_and_lie_in_the_window():
    alike = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert align(said(0, 2), said(0.5, 2.5), alike) == [(0, 1), (1, 0)]
    assert align(said(0, 2), said(0.5, 5.1), alike) == [(0, 0), (1, 1)]  # 5.1 s lie between the first and the second
    assert align(said(0, 2), said(0.5, 2.5), 1 - alike) == [(0, 0), (1, 1)]


def test_pairs_too_far_apart_are_dropped_and_nobody_is_used_twice():
    assert align(said(0, 1, 2), said(1.1, 40), np.ones((3, 2))) == [(1, 0)]
    assert align([], said(1), np.zeros((0, 1))) == align(said(1), [], np.zeros((1, 0))) == []


def test_a_pair_is_judged_by_meaning_start_end_and_by_who_else_speaks():
    """The second utterance lasts 2 s and begins 1 s before the first has ended; the third is matched by nobody."""
    ours = [Utterance(0.0, "a b c", 2.0), Utterance(1.0, "a b c d e"), Utterance(90.0, "a")]
    due = [Utterance(0.0, "a b c", 2.5), Utterance(2.0, "x", 3.0)]
    video = judge(ours, due, np.array([[1, 0], [0, 0.5], [0, 0]]))
    assert video.pairs == ((0, 0), (1, 1))
    expected = [[1, 0.75], np.exp([-0.0, -1.0]), np.exp([-0.5, -0.0]), np.exp([-1.0, -1.0])]
    assert video.scores == pytest.approx(np.array(expected))
    scores = trace([video])
    assert scores["prec"] == pytest.approx(2 / 3) and scores["recall"] == 1 and scores["f1"] == pytest.approx(0.8)
    assert scores["accuracy_score"] == pytest.approx(0.8 * 0.875)
    assert scores["lin_comb_timing_score"] == pytest.approx(
        0.8 * np.average(np.mean(expected[1:], axis=1), weights=[2, 2, 1]))


@pytest.mark.parametrize("ours, due", [([], said(1)), (said(1), []), (said(1), said(60))])
def test_where_nothing_matches_every_score_is_0(ours, due):
    assert set(trace([judge(ours, due, np.ones((len(ours), len(due))))]).values()) == {0.0}
    assert set(trace([]).values()) == {0.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    config = WorldConfig(videos=20, size=32, questions=2, overlap=0.4)
    return load(make_world(tmp_path_factory.mktemp("spoken") / "world", config, 1))


@pytest.fixture
def truth(world):
    return world.folder / "tglg.json"


def table(path, rows, columns=("video_id", "content", "start")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def oracle(path, truth):
    due = json.loads(truth.read_text())
    return table(path, [(video, each["content"], each["start"]) for video, all_of in due.items() for each in all_of])


def score(capsys, *args):
    code = main(["score", "tglg", *map(str, args)])
    return code, *capsys.readouterr()


def test_a_world_says_each_event_as_soon_as_it_is_over_and_one_at_a_time(world, truth):
    due = json.loads(truth.read_text())
    for scene in world.truth("test"):
        spoken, events = due[scene.video], sorted(scene.events, key=lambda e: (e.last, e.first, e.thing))
        assert [each["content"] for each in spoken] == [scene.caption(event) for event in events]
        assert all(each["start"] >= scene.interval(event)[1] for each, event in zip(spoken, events))
        assert all(a["end"] <= b["start"] for a, b in zip(spoken, spoken[1:]))
        assert spoken[0]["start"] == scene.interval(events[0])[1]


def test_the_truth_itself_gets_the_top_score_and_guesses_get_less(truth, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(confidence, "FEWEST", 2)
    code, out, _ = score(capsys, oracle(tmp_path / "p.csv", truth), "--truth", truth, "--json", "--interval", 20)
    result = json.loads(out)
    assert code == 0 and all(value == pytest.approx(1) for value in result["scores"].values())
    guesses = [each["lin_comb_final_score"] for each in result["baselines"].values()]
    assert guesses[0] == pytest.approx(1) and max(guesses[1:]) < 0.95
    assert result["intervals"]["f1"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_a_table_shows_the_guesses_beside_the_predictions(truth, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(confidence, "FEWEST", 2)
    file = oracle(tmp_path / "p.csv", truth)
    code, out, _ = score(capsys, file, "--truth", truth, "--sentence-model", "none", "--against", file)
    rows = {line[:25].strip(): line.split() for line in out.splitlines() if line.startswith(("these", "the "))}
    assert code == 0 and rows["these predictions"][2:6] == ["-", "-", "-", "100.0"]
    assert len(rows) == 5 and "no sentence model" in out and "no clear difference" in out


def test_context_is_not_judged_and_what_is_said_elsewhere_is_left_out(tmp_path, capsys):
    due = {"a": [{"start": 1, "end": 3, "content": "hello there", "eval": True},
                 {"start": 9, "end": 11, "content": "and now?", "eval": False, "role": "teacher"}],
           "b": [{"start": 2.5, "end": 4, "content": "goal", "eval": True}]}
    (tmp_path / "truth.json").write_text(json.dumps(due))
    rows = [("a", "hello, there", "1.0", "3.0"), ("c", "goal", "2", "3")]
    file = table(tmp_path / "p.csv", rows, ("video", "content", "start", "end"))
    code, out, _ = score(capsys, file, "--truth", tmp_path / "truth.json", "--json")
    result = json.loads(out)
    assert code == 0 and result["scores"]["recall"] == 0.5 and result["scores"]["prec"] == 1
    assert "nothing was said about 1 of 2 videos: b" in result["notes"]
    assert any("videos that the truth does not have" in note for note in result["notes"])


@pytest.mark.parametrize("rows, columns, message", [
    ([("a", "x", "soon")], ("video_id", "content", "start"), "line 2: start is 'soon'; it must be a number of seconds"),
    ([("a", "x", "")], ("video_id", "content", "start"), "line 2: start is missing"),
    ([("a", "x", "nan")], ("video_id", "content", "start"), "start is 'nan'"),
    ([("a", "x", "5", "2")], ("video_id", "content", "start", "end"), "it ends at 2 s, before its start at 5 s"),
    ([("a", "x")], ("video_id", "content"), "no column start"),
    ([("a",)], ("video_id", "content", "start"), "content is null"),
])
def test_a_bad_row_is_one_clear_error_or_is_left_out_on_request(truth, tmp_path, capsys, rows, columns, message):
    file = table(tmp_path / "p.csv", rows, columns)
    code, _, err = score(capsys, file, "--truth", truth)
    assert code == 2 and message in err and str(file) in err and err.count("\n") == 1
    if len(columns) > 2:
        code, out, _ = score(capsys, file, "--truth", truth, "--lenient", "--sentence-model", "none")
        assert code == 0 and "1 utterances are left out" in out


def test_a_time_larger_than_any_float_is_named(truth, tmp_path, capsys):
    (tmp_path / "p.json").write_text(json.dumps({"a": [{"start": 10 ** 400, "content": "x"}]}))
    code, _, err = score(capsys, tmp_path / "p.json", "--truth", truth)
    assert code == 2 and "start is 1000" in err and "it must be a number of seconds" in err


@pytest.mark.parametrize("content, message", [
    ({}, "no utterance to be judged"), ({"a": [{"start": 1, "end": 2}]}, "content"), ([1], "expected"),
    ({"a": [{"start": 3, "end": 2, "content": "x"}]}, "before its start")])
def test_a_bad_truth_is_one_clear_error(tmp_path, capsys, content, message):
    (tmp_path / "truth.json").write_text(json.dumps(content))
    file = table(tmp_path / "p.csv", [("a", "x", "1")])
    code, _, err = score(capsys, file, "--truth", tmp_path / "truth.json")
    assert code == 2 and message in err and "truth.json" in err


def test_options_that_do_not_fit_are_refused(truth, tmp_path, capsys):
    file = oracle(tmp_path / "p.csv", truth)
    assert "needs --truth" in score(capsys, file)[2]
    assert "no use for --tasks" in score(capsys, file, "--truth", truth, "--tasks", "tvg")[2]
    assert "no protocol 'd2vlm' for tglg" in score(capsys, file, "--truth", truth, "--protocol", "d2vlm")[2]


CASE = LiveCase([
    Said("opened", 1, 3.0, (2.0, 3.0)), Said("extended", 1, 5.0, (2.0, 5.0)), Said("opened", 2, 6.0, (5.5, 6.0)),
    Said("closed", 1, 6.0, (2.0, 5.0)), Said("withdrawn", 2, 8.0, (5.5, 6.0)),
    Said("opened", 3, 9.0, (10.0, 11.0)), Said("revised", 3, 12.0, (10.0, 12.0))],
    truth=[(2.0, 5.0), (10.0, 12.0), (15.0, 18.0)], end=20.0)


def test_what_is_claimed_changes_with_the_updates():
    assert standing(CASE.updates, 5.5) == {1: (2.0, 5.0)}
    assert standing(CASE.updates, 7.0) == {1: (2.0, 5.0), 2: (5.5, 6.0)}
    assert standing(CASE.updates) == {1: (2.0, 5.0), 3: (10.0, 12.0)}


def test_delay_early_false_and_revised_notices():
    """The first event is noticed 1 s late, the second 1 s early, the third never; one notice was withdrawn."""
    assert notices(CASE) == ([1.0, -1.0], 1)
    scores = live_scores([CASE, LiveCase([], [], 4.0)], step=1.0)
    assert scores["delay"] == 0 and scores["early"] == 0.5 and scores["false"] == 0.5 and scores["revisions"] == 1
    assert scores["noticed"] == pytest.approx(2 / 3) and scores["F1_at_end"] == pytest.approx((0.8 + 1) / 2)


def test_f1_at_a_moment_asks_only_for_what_has_happened_by_then():
    """Before anything happened, silence is right; while an event runs, its beginning is enough."""
    moments = np.array([1.0, 2.5, 3.0, 4.5, 5.0, 7.0, 8.5, 9.5, 12.0, 17.0])
    assert f1_by_moment(CASE, moments) == pytest.approx([1, 0, 1, 0, 1, 2 / 3, 1, 2 / 3, 1, 0.8])


def test_without_questions_nothing_is_claimed_about_delay():
    scores = live_scores([])
    assert np.isnan(scores["delay"]) and scores["false"] == 0
