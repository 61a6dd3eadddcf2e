"""TimeLens-Bench, QVHighlights and the reading of lmms-eval, in cases that were computed by hand."""

import json

import numpy as np
import pytest
from benchmark_files import TIMELENS, WINDOWS, save

from d2vlm_lab.cli import main
from d2vlm_lab.judging.metrics import first_pair
from d2vlm_lab.judging.metrics.charades import score_charades, score_timelens
from d2vlm_lab.judging.metrics.qvhighlights import average_precision, ranked, score_qvhighlights


def moment(idx, answer, truth=(0, 10), source="charades-timelens"):
    return {"task": "tvg", "source": source, "idx": idx, "video": f"{idx}.mp4", "tgt": list(truth), "a": answer}


def windows(idx, answer, truth, **more):
    return {"task": "tal", "source": "qvhighlights", "idx": idx, "video": f"{idx}.mp4", "tgt": truth, "a": answer,
            **more}


def test_timelens_scores_each_set_and_keeps_failures_in_the_denominator():
    records = [moment(0, "5 - 9 </evi> The event happens in 2.0 - 8.0 seconds."), moment(1, "I cannot see it."),
               moment(2, "0 - 10"), moment(3, "The event happens in 0 - 4 seconds."),
               moment(0, "0 - 10", source="activitynet-timelens")]
    ours = score_timelens(records)
    of_charades = ours["sets"]["charades-timelens"]  # overlaps .6, 0, 1, .4
    assert [of_charades[name] for name in ("R@0.3", "R@0.5", "R@0.7", "mIoU")] == [.75, .5, .25, .5]
    assert of_charades["Total"] == 4 and of_charades["unparsed"] == [1]
    assert ours["sets"]["activitynet-timelens"]["mIoU"] == 1 and ours["mIoU"] == .75


def test_timelens_as_published_takes_the_first_pair_of_times_as_it_stands():
    records = [moment(0, "5 - 9 </evi> The event happens in 2.0 - 8.0 seconds."), moment(1, "from 8 to 2"),
               moment(2, "00:01 and 0:09.0 of 2024")]
    of_set = score_timelens(records, "timelens")["sets"]["charades-timelens"]
    assert of_set["mIoU"] == pytest.approx((.4 + 0 + .8) / 3)  # the evidence; 8 before 2; clock times


@pytest.mark.parametrize("text, timelens, lmms", [
    ("The event happens in 24.3 - 30.4 seconds.", [(24.3, 30.4)], [(24.3, 30.4)]),
    ("30.4 - 24.3", [(30.4, 24.3)], [(24.3, 30.4)]),
    ("We look! It starts at 3 and ends at 9", [(3, 9)], []),  # one sentence gives lmms-eval one number
    ("It starts at 3\nIt ends at 9", [(3, 9)], [(3, 9)]),
    ("5 - 6! It happens in 7 - 8", [(5, 6)], [(7, 8)]),
    ("stop at 3 seconds", [], []),
    ("0:10 - 1:05", [(10, 65)], [(10, 65)]),
    ("about 12s - 20s", [], [(12, 20)]),
    ("nothing", [], [])])
def test_first_pairs_are_read_as_the_published_scorers_do(text, timelens, lmms):
    assert list(first_pair.timelens(text).intervals) == timelens
    assert list(first_pair.lmms_charades(text).intervals) == lmms


def test_charades_as_lmms_eval_scores_it_reads_the_evidence_and_counts_answers_only():
    records = [moment(0, "0 - 5 </evi> The event happens in 0 - 10.", source="charades_sta"),
               moment(1, "?", source="charades_sta")]
    ours = score_charades(records, {0: [0, 10], 1: [0, 10], 2: [0, 10]}, "lmms-eval")
    assert (ours["Total"], ours["R@0.5"], ours["R@0.7"], ours["mIoU"]) == (2, .5, 0, .25)
    assert score_charades(records, {0: [0, 10], 1: [0, 10], 2: [0, 10]})["mIoU"] == pytest.approx(1 / 3)


def test_average_precision_by_hand():
    truth = [[0, 10], [20, 30]]
    got = average_precision([[0, 10], [50, 60], [20, 28]], truth)  # right, wrong, right up to 0.8
    assert got == pytest.approx([(1 + 2 / 3) / 2] * 7 + [1 / 2] * 3)
    assert average_precision([[50, 60], [0, 10]], [[0, 10]]) == pytest.approx([1 / 2] * 10)
    assert average_precision([[0, 10], [0, 10]], [[0, 10]]) == pytest.approx([1] * 10)  # the copy is wrong, but late
    assert average_precision([[0, 10], [0, 10]], truth) == pytest.approx([1 / 2] * 10)
    assert not average_precision([], truth).any()


def test_a_later_better_window_lifts_the_precision_of_what_stands_before_it():
    # right at places 2, 3 and 4 of 4: precisions 1/2, 2/3, 3/4, so each counts 3/4
    got = average_precision([[90, 99], [0, 10], [20, 30], [40, 50]], [[0, 10], [20, 30], [40, 50]])
    assert got == pytest.approx([3 / 4] * 10)


def test_qvhighlights_by_hand():
    records = [windows(0, "It happens in 0 - 10, 50 - 60, 20 - 28.", [[0, 10], [20, 30]]),
               windows(1, "It happens in 60 - 90.", [[50, 90], [100, 140]]),
               windows(2, "It never happens.", [[0, 20]])]
    ours = score_qvhighlights(records)
    first = (7 * 5 / 6 + 3 / 2) / 10
    second = 6 * .5 / 10  # 30 of 40 seconds: right at 0.5 to 0.75, and half of the true windows
    assert ours["mAP"] == pytest.approx((first + second) / 3)
    assert (ours["R1@0.5"], ours["R1@0.7"]) == pytest.approx((2 / 3, 2 / 3)) and ours["unparsed"] == [2]
    assert ours["mAP short"] == pytest.approx(first) and ours["mAP middle"] == 0
    assert ours["mAP long"] == pytest.approx(second)
    published = score_qvhighlights(records, "qvhighlights")
    assert published["mAP"] == pytest.approx((first + second) / 2)  # the query without a window is left out


def test_windows_are_ranked_by_the_confidence_of_their_evidence_where_it_is_known():
    evidence = [{"interval": [0.0, 4.02], "confidence": .2}, {"interval": [8.0, 9.0], "confidence": .9}]
    record = windows(0, "It happens in 0.0 - 4.0, 8.0 - 9.0.", [[8, 9]], evidence=evidence)
    assert ranked(record) == [(8, 9), (0, 4)] and ranked(record, by_score=False) == [(0, 4), (8, 9)]
    assert ranked({**record, "evidence": evidence[:1]}) == [(0, 4), (8, 9)]


def test_recall_rises_and_average_precision_is_one_for_a_perfect_answer():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = np.sort(rng.choice(150, (rng.integers(1, 4), 2), replace=False), axis=1).tolist()
        answer = ", ".join(f"{a} - {b}" for a, b in truth)
        assert score_qvhighlights([windows(0, answer, truth)])["mAP"] == 1
    wrong = [f"{k} - {k + 1}" for k in range(20, 30)]
    for place, found in ((9, True), (10, False)):  # ten windows of an answer count
        answer = ", ".join([*wrong[:place], "100 - 110"])
        assert (score_qvhighlights([windows(0, answer, [[100, 110]])])["mAP"] > 0) == found


def score(capsys, *args):
    code = main(["score", *map(str, args)])
    return code, *capsys.readouterr()


def test_the_command_scores_both_with_intervals_and_against_another_file(tmp_path, capsys):
    records = [moment(i, "0 - 10" if i % 3 else "0 - 5") for i in range(12)]
    file, other = save(tmp_path / "a.json", records), save(tmp_path / "b.json", [{**r, "a": "0 - 2"} for r in records])
    code, out, _ = score(capsys, "timelens", file, "--interval", "30", "--against", other)
    assert code == 0 and "charades-timelens" in out and "83.3" in out and "clear difference" in out
    records.append({**records[0], "idx": 12, "task": "tal", "tgt": [[0, 1], [2, 3]]})
    assert "1 queries with several moments are left out" in score(capsys, "timelens", save(file, records))[1]
    records = [windows(i, "0 - 10" if i % 3 else "nothing", [[0, 10]]) for i in range(12)]
    code, out, _ = score(capsys, "qvhighlights", save(tmp_path / "c.json", records), "--interval", "30", "--json")
    assert code == 0 and json.loads(out)["intervals"]["mAP"]["value"] == pytest.approx(2 / 3)
    assert score(capsys, "qvhighlights", tmp_path / "c.json", "--protocol", "qvhighlights")[1].count("100.0") >= 2


@pytest.mark.parametrize("benchmark, protocol", [("timelens", "d2vlm"), ("qvhighlights", "timelens"),
                                                 ("youcook2", "lmms-eval")])
def test_a_protocol_of_another_benchmark_is_refused(benchmark, protocol, tmp_path, capsys):
    code, _, err = score(capsys, benchmark, save(tmp_path / "a.json", []), "--protocol", protocol)
    assert code == 2 and f"no protocol '{protocol}' for {benchmark}: use one of clean, " in err


def test_evidence_that_is_none_is_named_and_leniently_counts_as_failed(tmp_path, capsys):
    records = [windows(0, "0 - 10", [[0, 10]]), windows(1, "0 - 10", [[0, 10]], evidence=[{"interval": "x"}])]
    file = save(tmp_path / "p.json", records)
    code, _, err = score(capsys, "qvhighlights", file)
    assert code == 2 and "p.json, record 2" in err and "evidence" in err
    code, out, _ = score(capsys, "qvhighlights", file, "--lenient", "--json")
    assert code == 0 and json.loads(out)["mAP"] == .5


def test_folders_of_training_sets_are_checked_as_those_of_benchmarks(tmp_path, capsys):
    save(tmp_path / "q" / "highlight_train_release.jsonl",
         "".join(json.dumps(record) + "\n" for record in (WINDOWS, {**WINDOWS, "qid": 2, "duration": -1})))
    (tmp_path / "q" / "videos").mkdir()
    assert main(["data", "qvhighlights-train", str(tmp_path / "q")]) == 1
    out = capsys.readouterr().out
    assert "1 questions about 1 videos" in out
    assert "1 more cannot be used; the first: " in out and "duration is -1" in out
    save(tmp_path / "t" / "charades-timelens.json", TIMELENS)
    (tmp_path / "t" / "videos" / "charades").mkdir(parents=True)
    assert main(["data", "timelens-charades", str(tmp_path / "t")]) == 1
    assert "missing: 3MSZA.mp4" in capsys.readouterr().out
