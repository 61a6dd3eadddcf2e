import json

import numpy as np
import pytest
from golden_metrics import GOLDEN, perfect

from d2vlm_lab.cli import main
from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.metrics.resampling import differences, intervals, paired


def answered(rights, per_video=1):
    return [{"video": f"{i // per_video}", "idx": i, "right": right} for i, right in enumerate(rights)]


def accuracy(records):
    return {"Acc": float(np.mean([record["right"] for record in records])), "nothing": None}


def video(record):
    return record["video"]


def score(capsys, *args):
    code = main(["score", *map(str, args)])
    return code, *capsys.readouterr()


def test_an_interval_has_the_width_that_the_binomial_law_predicts():
    rights = np.arange(400) % 4 < 3
    estimate = intervals(answered(rights), accuracy, video, 2000)["Acc"]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert estimate.value == 0.75
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)


def test_questions_about_one_video_that_fail_together_make_the_interval_wider():
    rights = np.arange(400) // 10 % 4 < 3  # ten questions a video, all right or all wrong
    alone, together = (intervals(answered(rights, n), accuracy, video, 500)["Acc"] for n in (1, 10))
    assert together.high - together.low > 2.5 * (alone.high - alone.low)  # by the square root of ten


def test_a_pair_is_told_apart_where_two_intervals_overlap():
    random = np.random.default_rng(0)
    worse = random.random(300) < 0.6
    better = worse | (random.random(300) < 0.1)
    one, other = (intervals(answered(rights), accuracy, video, 500)["Acc"] for rights in (better, worse))
    gain = differences(answered(better), answered(worse), (accuracy, accuracy), video, 500)["Acc"]
    assert one.low < other.high
    assert gain.clear and gain.value == pytest.approx(np.mean(better) - np.mean(worse))
    same = differences(answered(worse), answered(worse), (accuracy, accuracy), video, 100)["Acc"]
    assert (same.low, same.high, same.clear) == (0, 0, False)


def test_the_seed_decides_and_the_order_of_the_file_does_not():
    records = answered(np.arange(60) % 3 == 0)
    assert intervals(records, accuracy, video, 50) == intervals(records[::-1], accuracy, video, 50)
    assert intervals(records, accuracy, video, 50) != intervals(records, accuracy, video, 50, seed=1)


def test_different_questions_are_an_error_or_left_out_and_counted():
    first, second = answered([1, 0, 1]), answered([1, 1])
    with pytest.raises(LabError, match=r"a.json: questions that the other file does not answer \(1\): 2"):
        paired(first, second, ("idx",), ("a.json", "b.json"), lenient=False)
    here, there, notes = paired(first, second, ("idx",), ("a.json", "b.json"), lenient=True)
    assert len(here) == len(there) == 2 and notes == ["questions that only a.json answers, left out: 1"]
    with pytest.raises(LabError, match="no question in common"):
        paired(first[2:], second, ("idx",), ("a.json", "b.json"), lenient=True)


@pytest.mark.parametrize("benchmark, plain", [
    ("etbench", lambda result: result["task_averages"] | result["merged"]),
    ("charades", lambda result: {name: result[name] for name in ("R@0.3", "R@0.5", "R@0.7", "mIoU")}),
    ("mvbench", lambda result: {task: right / n for task, (right, n) in result["acc_dict"].items()}),
    ("videomme", lambda result: {"Overall": result["Overall"] / 100}),
])
def test_the_middle_of_an_interval_is_the_score_itself(capsys, benchmark, plain):
    folder = GOLDEN / benchmark / ("pred_evi" if benchmark == "etbench" else "pred")
    only = ["--tasks", "tvg", "rar", "--sentence-model", "none"] if benchmark == "etbench" else []
    code, out, _ = score(capsys, benchmark, folder, "--interval", 20, "--json", *only)
    result = json.loads(out)
    assert code == 0
    for name, value in plain(result).items():
        assert result["intervals"][name]["value"] == pytest.approx(value)
        assert result["intervals"][name]["low"] < value < result["intervals"][name]["high"]


def test_two_files_are_compared_question_by_question(capsys, tmp_path):
    right = [perfect("tvg", i) for i in range(30)]
    for name, records in (("a", right), ("b", [{**r, "a": r["a"] if i % 2 else "hm"} for i, r in enumerate(right)])):
        (tmp_path / f"{name}.json").write_text(json.dumps(records), encoding="utf-8")
    args = ("etbench", tmp_path / "a.json", "--against", tmp_path / "b.json", "--sentence-model", "none")
    code, out, _ = score(capsys, *args)
    line = next(line for line in out.splitlines() if line.startswith("  TVG (F1)"))
    assert code == 0 and "+50.0" in line and line.endswith(" clear difference")
    code, out, _ = score(capsys, *args, "--json")
    assert json.loads(out)["against"]["TVG (F1)"]["value"] == 0.5


def compared(capsys, folder, first, second):
    """What is printed from the comparison on."""
    for name, records in (("a", first), ("b", second)):
        (folder / f"{name}.json").write_text(json.dumps(records), encoding="utf-8")
    code, out, _ = score(capsys, "charades", folder / "a.json", "--against", folder / "b.json")
    assert code == 0
    return out[out.index(f"{folder / 'a.json'} minus"):]


def test_pairs_are_drawn_also_where_a_file_names_no_videos_or_has_them_in_another_order(capsys, tmp_path):
    ours = [perfect("tvg", i, source="charades_sta", video=f"{i // 4}.mp4") for i in range(80)]
    theirs = [{**record, "a": record["a"] if i // 4 % 2 and i % 5 else "hm"} for i, record in enumerate(ours)]
    expected = compared(capsys, tmp_path, ours, theirs)
    assert "(200 draws of videos)" in expected and " clear difference" in expected
    nameless = [[{name: value for name, value in record.items() if name != "video"} for record in records]
                for records in (ours, theirs)]
    for first, second in ((ours, theirs[::-1]), (ours, nameless[1]), (nameless[0], theirs)):
        assert compared(capsys, tmp_path, first, second) == expected
    assert "(200 draws of questions)" in compared(capsys, tmp_path, *nameless)
    assert "80 questions drawn again 20 times" in score(capsys, "charades", tmp_path / "a.json", "--interval", "20")[1]


def test_a_few_videos_have_no_interval_and_no_clear_difference(capsys, tmp_path):
    ours = [perfect("tvg", i, source="charades_sta", video=f"{i % 9}.mp4") for i in range(18)]
    printed = compared(capsys, tmp_path, ours, [{**record, "a": "hm"} for record in ours])
    assert "R@0.5  +100.0\n" in printed and "clear" not in printed
    too_few = "no 95 % intervals: they need at least 10 videos to draw from, here 9"
    assert too_few in printed and too_few in score(capsys, "charades", tmp_path / "a.json", "--interval")[1]
    _, out, _ = score(capsys, "charades", tmp_path / "a.json", "--against", tmp_path / "b.json", "--json")
    assert json.loads(out)["against"]["R@0.5"] == {"value": 1.0, "low": None, "high": None}


@pytest.mark.parametrize("options, message", [
    (("--interval", "3"), "between 20 and 100,000"),
    (("--interval", "--protocol", "d2vlm"), "need the protocol clean"),
    (("--against", "nothing.json"), "nothing.json"),
])
def test_options_that_make_no_sense_are_one_line(capsys, options, message):
    code, _, err = score(capsys, "charades", GOLDEN / "charades/pred", *options)
    assert code == 2 and message in err and len(err.splitlines()) == 1
