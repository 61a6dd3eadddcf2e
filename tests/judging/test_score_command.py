import json
import re
import subprocess
import sys

import pytest
from golden_metrics import GOLDEN, TASKS, answers, perfect, recorded

from d2vlm_lab.cli import main

RUNS = recorded("etbench/expected.json")["runs"]["new_compute_metrics.py"]


def save(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def score(capsys, *args):
    """Exit code, standard output, standard error."""
    code = main(["score", *map(str, args)])
    return code, *capsys.readouterr()


def test_json_has_the_names_and_nesting_of_the_recorded_runs(capsys):
    code, out, _ = score(capsys, "etbench", GOLDEN / "etbench/pred_evi", "--protocol", "d2vlm", "--json")
    ours, theirs = json.loads(out), RUNS["evi"]
    assert code == 0 and ours["protocol"] == "d2vlm"
    assert {t: {s: set(row) for s, row in rows.items()} for t, rows in ours["collected"].items()} == {
        t: {s: set(row) for s, row in rows.items()} for t, rows in theirs["collected"].items()}
    assert list(ours["task_averages"]) == list(theirs["task_averages"])
    assert ours["collected"]["tvg"]["charades_sta"]["mIoU_evi"] == "nan"
    assert ours["task_averages"]["TVG (F1)"] == theirs["task_averages"]["TVG (F1)"]


def test_a_table_names_its_protocol_and_what_was_not_understood(capsys, tmp_path):
    file = save(tmp_path / "p.json", [perfect("tal"), perfect("tal", 5, a="hm")])
    code, out, _ = score(capsys, "etbench", file, "--sentence-model", "none")
    assert code == 0 and "protocol clean" in out and "not understood, tal s (1): 5" in out and "50.0" in out


def test_all_protocols_stand_side_by_side_with_how_far_apart_they_are(capsys):
    code, out, _ = score(capsys, "etbench", GOLDEN / "etbench/pred_evi", "--protocol", "all", "--tasks", "tvg", "evs")
    line = next(line for line in out.splitlines() if line.startswith("TVG (F1)")).split()
    assert code == 0 and line[3:7] == ["81.9", "81.9", "53.8", "53.8"] and len(line) == 8


def test_a_subset_a_few_tasks_and_jsonl_are_enough(capsys, tmp_path):
    file = tmp_path / "p.jsonl"
    records = [perfect(task, i) for task in ("tvg", "tem") for i in range(3)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    subset = save(tmp_path / "subset.json", {"tvg": {"s": [0, 2]}, "tem": {"s": [1]}})
    _, out, _ = score(capsys, "etbench", file, "--json", "--subset", subset)
    assert {t: r["s"]["Total"] for t, r in json.loads(out)["collected"].items()} == {"tvg": 2, "tem": 1}
    _, out, _ = score(capsys, "etbench", file, "--json", "--tasks", "tem")
    assert json.loads(out)["task_averages"] == {"TEM (Rec)": 1.0}


def test_with_the_truth_beside_it_an_unread_video_still_counts_and_a_stranger_is_left_out_by_name(capsys, tmp_path):
    questions = [{"task": "evs", "source": "s", "idx": k, "video": f"{k}.mp4", "q": "q", "tgt": [[1.0, 5.0]]}
                 for k in range(2)]
    answers = [{**questions[0], "a": "1 - 5</evi> 1 - 5"}, {**questions[1], "a": "", "error": "no such file"}]
    truth, stranger = save(tmp_path / "truth.json", questions), {**answers[0], "idx": 9}
    for more in ([], ["--truth", truth]):
        file = save(tmp_path / "p.json", answers)
        _, out, _ = score(capsys, "etbench", file, "--protocol", "d2vlm", "--json", *more)
        assert json.loads(out)["collected"]["evs"]["s"]["F1"] == 0.5
    file = save(tmp_path / "p.json", [*answers, stranger])
    _, out, _ = score(capsys, "etbench", file, "--truth", truth, "--lenient", "--sentence-model", "none")
    assert "answers to samples that are not in the annotation file are left out (1): evs s 9" in out
    assert "count as failed" not in out


@pytest.mark.parametrize("change, message", [
    ({"a": None}, "a is null"), ({"a": 5}, "a is 5"), ({"task": "tvx"}, "task is 'tvx'"),
    ({"tgt": [1.0, float("nan")]}, "tgt is a list: [1.0, nan]; tvg needs one [start, end] pair"),
    ({"tgt": [[1.0, 2.0]]}, "tvg needs one [start, end] pair"), ({"idx": 0}, "its id was there before"),
    ({"idx": None}, "idx is null"), ({"tgt": "1-2"}, "tvg needs one"),
])
def test_a_malformed_record_is_named_and_leniently_counts_as_failed(change, message, capsys, tmp_path):
    file = save(tmp_path / "p.json", [perfect("tvg"), {**perfect("tvg", 1), **change}])
    code, _, err = score(capsys, "etbench", file)
    assert code == 2 and "p.json, record 2" in err and message in err and len(err.splitlines()) == 1
    code, out, _ = score(capsys, "etbench", file, "--lenient", "--json")
    ours = json.loads(out)
    lost = "idx" in change or "task" in change  # it cannot be said which answer failed
    assert code == 0 and ours["task_averages"]["TVG (F1)"] == (1 if lost else 0.5) and "1 " in ours["notes"][0]


@pytest.mark.parametrize("task, change, message", [
    ("rvq", {"p": 4}, "p is 4; it must be the index of the right one of 4 options"),
    ("rvq", {"o": []}, "o is a list: []"),
    ("rvq", {"p": True}, "p is true"), ("tal", {"tgt": [1, 2]}, "tal needs a list"), ("vhd", {"tgt": []}, "vhd needs"),
    ("dvc", {"g": ["one"]}, "g has 1 captions for 3 intervals"), ("dvc", {"video": None}, "video is null"),
    ("dvc", {"tgt": None}, "tgt is null; dvc needs a list of"),
])
@pytest.mark.parametrize("protocol", ["clean", "d2vlm"])
def test_each_task_says_what_it_needs_and_stand_ins_fail(task, change, message, protocol, capsys, tmp_path):
    file = save(tmp_path / "p.json", [{**perfect(task), **change}])
    code, _, err = score(capsys, "etbench", file)
    assert code == 2 and message in err
    code, out, _ = score(capsys, "etbench", file, "--lenient", "--json", "--protocol", protocol)
    row = json.loads(out)["collected"][task]["s"]
    assert code == 0 and row["Failed"] == row["Total"] == 1 and not row.get("F1") and not row.get("Acc")


def test_annotations_of_another_version_and_missing_answers_are_named(capsys, tmp_path):
    truth = save(tmp_path / "truth.json", [perfect("tvg", i, a="") for i in range(3)])
    other = save(tmp_path / "a.json", [perfect("tvg", 0), perfect("tvg", 1, tgt=[0.0, 1.0]), perfect("tvg", 2)])
    code, _, err = score(capsys, "etbench", other, "--truth", truth)
    assert code == 2 and "(tvg s 1" in err and "the annotation file says a list: [3.0, 9.5]" in err
    some = save(tmp_path / "b.json", [{"task": "tvg", "source": "s", "idx": 0, "a": "3 - 9.5"}])
    code, _, err = score(capsys, "etbench", some, "--truth", truth)
    assert code == 2 and "no prediction for tvg s 1, tvg s 2" in err
    code, out, _ = score(capsys, "etbench", some, "--truth", truth, "--lenient", "--json")
    assert json.loads(out)["task_averages"]["TVG (F1)"] == pytest.approx(1 / 3)
    assert "2 samples without a prediction" in json.loads(out)["notes"][0]
    code, _, err = score(capsys, "etbench", save(tmp_path / "c.json", [perfect("tvg", 9)]), "--truth", truth)
    assert code == 2 and "no such sample" in err


@pytest.mark.parametrize("content, message", [
    ("{}", "expected a list"), ("[", "not readable as JSON"), ("[3]", "expected an object")])
def test_a_file_that_is_no_list_of_predictions_is_one_clear_error(content, message, capsys, tmp_path):
    (tmp_path / "p.json").write_text(content)
    code, _, err = score(capsys, "etbench", tmp_path)
    assert code == 2 and message in err and "p.json" in err


def test_wrong_options_are_clear_errors(capsys, tmp_path):
    file = save(tmp_path / "p.json", [perfect("tvg")])
    for args, message in (
            (("--sentence-model", file), "no sentence model"),
            (("--protocol", "x"), "use one of clean"), (("--tasks", "x"), "no task 'x'"),
            (("--tasks", "vhd"), "nothing is left"), (("--sentence-model", tmp_path), "no sentence model")):
        code, _, err = score(capsys, "etbench", file, *args)
        assert code == 2 and message in err
    assert "no such file" in score(capsys, "etbench", tmp_path / "no.json")[2]
    assert "no use for --subset" in score(capsys, "charades", file, "--subset", file)[2]
    assert "use one of clean, d2vlm" in score(capsys, "mvbench", file, "--protocol", "etbench")[2]


def test_only_what_evaluate_writes_beside_predictions_is_no_prediction(capsys, tmp_path):
    for i, name in enumerate(("part1", "run2", "metrics_of_a_run", "score")):
        save(tmp_path / f"{name}.json", [perfect("tvg", i)])
    for name in ("run", "metrics", "score_clean"):
        save(tmp_path / f"{name}.json", {})
    _, out, _ = score(capsys, "etbench", tmp_path, "--json", "--sentence-model", "none")
    assert json.loads(out)["collected"]["tvg"]["s"]["Total"] == 4


def test_of_the_truth_only_the_tasks_and_samples_that_are_scored_need_a_prediction(capsys, tmp_path):
    file = save(tmp_path / "p.json", [perfect("tvg", 0)])
    truth = save(tmp_path / "t.json", [perfect("tvg", 0), perfect("tvg", 1), perfect("vhd", 0)])
    subset = save(tmp_path / "s.json", {"tvg": {"s": [0]}})
    options = ("etbench", file, "--truth", truth, "--sentence-model", "none")
    assert "no prediction for tvg s 1\n" in score(capsys, *options, "--tasks", "tvg")[2]
    code, out, err = score(capsys, *options, "--subset", subset, "--lenient", "--json")
    assert code == 0 and json.loads(out)["notes"] == [] and list(json.loads(out)["collected"]) == ["tvg"], err


def test_charades_as_lmms_eval_needs_an_answer_that_the_truth_knows(capsys, tmp_path):
    file = save(tmp_path / "p.json", [perfect("tvg", 0, source="charades_sta")])
    truth = coco(tmp_path / "t.json", {"id": 100, "timestamp": [1, 2]})
    code, _, err = score(capsys, "charades", file, "--truth", truth, "--protocol", "lmms-eval")
    assert code == 2 and "no idx is an id of" in err


def test_a_task_of_mvbench_that_is_not_there_is_named(capsys):
    code, _, err = score(capsys, "mvbench", GOLDEN / "mvbench/pred", "--tasks", "action_sequence", "action_typo")
    assert code == 2 and "there is no task 'action_typo'; there are action_antonym, " in err


def test_the_other_benchmarks_are_scored_from_the_command_line(capsys):
    truth = GOLDEN / "charades/gt/test.caption_coco_format.json"
    _, out, _ = score(capsys, "charades", GOLDEN / "charades/pred", "--truth", truth, "--protocol", "d2vlm", "--json")
    assert json.loads(out)["eval"]["num"] == 160
    truth = GOLDEN / "youcook2/gt/val.caption_coco_format.json"
    _, out, _ = score(capsys, "youcook2", GOLDEN / "youcook2/pred", "--truth", truth, "--protocol", "d2vlm")
    assert "SODA_c_2 19.0" in out
    _, out, _ = score(capsys, "mvbench", GOLDEN / "mvbench/pred", "--protocol", "d2vlm")
    assert "Total Acc: 50.67%" in out
    _, out, _ = score(capsys, "videomme", GOLDEN / "videomme/pred", "--tasks", "short", "--protocol", "d2vlm", "--json")
    assert json.loads(out)["lines"] == recorded("videomme/expected.json")["short_only"]["lines"]


def test_without_a_truth_file_the_truth_in_the_predictions_is_used(capsys):
    _, out, _ = score(capsys, "charades", GOLDEN / "charades/pred", "--json")
    assert json.loads(out)["Total"] == len(answers("charades/pred"))
    _, out, _ = score(capsys, "youcook2", GOLDEN / "youcook2/pred", "--json")
    assert len(json.loads(out)["per_video"]["key"]) == len(answers("youcook2/pred"))


@pytest.mark.parametrize("benchmark, record, message", [
    ("mvbench", {"pred": None, "A": "(A) x"}, "pred is null"), ("mvbench", {"pred": "B", "A": "B"}, "A is 'B'"),
    ("videomme", {"question_id": "1", "a": "B"}, "video_id is null")])
def test_malformed_choices_are_named_and_leniently_fail(benchmark, record, message, capsys, tmp_path):
    file = save(tmp_path / "p.json", [record])
    code, _, err = score(capsys, benchmark, file)
    assert code == 2 and message in err
    code, out, _ = score(capsys, benchmark, file, "--lenient", "--json")
    ours = json.loads(out)
    assert code == 0 and ours.get("Overall", ours.get("correct")) == 0 and "malformed" in ours["notes"][0]


def test_a_choice_about_a_video_of_unknown_length_fails_among_the_others(capsys, tmp_path):
    good = {**recorded("videomme/pred/etbench_0.json")[0], "a": "B", "answer": "B"}
    file = save(tmp_path / "p.json", [good, {**good, "question_id": "other", "duration": "endless"}])
    assert "duration is 'endless'; it must be one of short" in score(capsys, "videomme", file)[2]
    _, out, _ = score(capsys, "videomme", file, "--lenient", "--json")
    assert (json.loads(out)["Total"], json.loads(out)["Overall"]) == (2, 50)


@pytest.mark.slow
def test_the_benchmark_of_scoring_says_how_long_each_protocol_takes_and_needs_little_memory():
    command = [sys.executable, "-m", "d2vlm_lab.cli", "bench", "scoring", "--json"]  # a process of its own: its peak
    measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {"clean_without_captions", "clean", "d2vlm", "etbench"} <= set(measured["seconds"])
    assert min(measured["seconds"].values()) > 0 and measured["memory_mb"]["python"] < 2000


def test_every_task_can_stand_alone(capsys, tmp_path):
    for task in TASKS:
        for protocol in ("clean", "etbench", "d2vlm"):
            file = save(tmp_path / "p.json", [perfect(task)])
            code, out, _ = score(capsys, "etbench", file, "--protocol", protocol, "--json", "--sentence-model", "none")
            assert code == 0 and list(json.loads(out)["collected"]) == [task]


def coco(path, *records):
    return save(path, {"annotations": list(records)})


def test_answers_to_another_version_of_charades_are_named_and_leniently_left_out(capsys, tmp_path):
    good = perfect("tvg", 0, source="charades_sta")
    file = save(tmp_path / "p.json", [good, {**good, "idx": 7}])
    truth = coco(tmp_path / "test.json", {"id": 0, "timestamp": good["tgt"]}, {"id": 1, "timestamp": [0.0, 1.0]})
    code, _, err = score(capsys, "charades", file, "--truth", truth)
    assert code == 2 and "idx 7 is not in" in err
    code, out, _ = score(capsys, "charades", file, "--truth", truth, "--lenient", "--json")
    ours = json.loads(out)
    assert code == 0 and ours["Total"] == 2 and ours["R@0.5"] == 0.5 and ours["missing"] == [1]
    assert "1 answers to what" in ours["notes"][0]


@pytest.mark.parametrize("change, message, note", [
    ({"idx": 1}, "idx 1 is a second answer about the video", "1 second answers about a video"),
    ({"idx": 1, "video": "other.mp4"}, "video 'other.mp4' is not in", "1 answers to what")])
def test_answers_that_do_not_fit_a_recipe_are_named_and_leniently_left_out(change, message, note, capsys, tmp_path):
    good = perfect("dvc", 0, source="youcook2")
    file = save(tmp_path / "p.json", [good, {**good, "a": "nothing", **change}])
    truth = coco(tmp_path / "val.json", {"image_id": "0.mp4", "segments": good["tgt"],
                                         "pure_cap": ". ".join(good["g"])})
    code, _, err = score(capsys, "youcook2", file, "--truth", truth)
    assert code == 2 and message in err
    code, out, _ = score(capsys, "youcook2", file, "--truth", truth, "--lenient", "--json")
    ours = json.loads(out)
    assert code == 0 and ours["means"]["F1_Score"] == 100 and note in ours["notes"][0]


@pytest.mark.parametrize("benchmark, record", [
    ("charades", perfect("tvg", 0, source="charades_sta")), ("youcook2", perfect("dvc", 0, source="youcook2"))])
@pytest.mark.parametrize("change", [{"tgt": [[1.0, float("nan")]]}, {"a": 3}, {"idx": 0}])
def test_malformed_answers_of_single_benchmarks_are_named(benchmark, record, change, capsys, tmp_path):
    other = {**record, "idx": 1, "video": "1.mp4", **change}
    code, _, err = score(capsys, benchmark, save(tmp_path / "p.json", [record, other]))
    assert code == 2 and "p.json, record 2" in err and len(err.splitlines()) == 1
    code, out, _ = score(capsys, benchmark, save(tmp_path / "p.json", [record, other]), "--lenient", "--json")
    assert code == 0 and json.loads(out)["notes"]


@pytest.mark.parametrize("benchmark, record, change, field", [
    ("etbench", perfect("tvg"), {"video": ["v.mp4"]}, "video is a list"),
    ("charades", perfect("tvg", 0, source="charades_sta"), {"q": None}, "q is null"),
    ("mvbench", {"pred": "(A)", "A": "(A) x"}, {"video": {}}, "video is an object"),
    ("mvbench", {"pred": "(B)", "A": "(B) x"}, {"candidates": ["x"]}, "candidates is a list"),
    ("videomme", recorded("videomme/pred/etbench_0.json")[0], {"options": [["A"]]}, "options is a list"),
    ("videomme", recorded("videomme/pred/etbench_0.json")[0], {"domain": []}, "domain is a list")])
def test_a_field_that_only_some_options_read_is_checked_and_leniently_the_record_fails(
        benchmark, record, change, field, capsys, tmp_path):
    file, more = save(tmp_path / "p.json", [{**record, **change}]), ("--sentence-model", "none")
    code, _, err = score(capsys, benchmark, file, "--interval", "20", *more)
    assert code == 2 and "p.json, record 1" in err and field in err
    for options in (("--interval", "20"), ("--protocol", "d2vlm") if benchmark == "charades" else ()):
        assert score(capsys, benchmark, file, "--lenient", *options, *more)[0] == 0


@pytest.mark.parametrize("benchmark, task, truth, message", [
    ("etbench", "tvg", [{**perfect("tvg"), "tgt": [""]}], "t.json, record 1 .*tgt is a list"),
    ("charades", "tvg", {"annotations": []}, "t.json: there is no annotation in this file"),
    ("charades", "tvg", {"annotations": [{"timestamp": [1, 2]}]}, "t.json: annotation 1 needs an id of its own"),
    ("charades", "tvg", {"annotations": [{"id": 0, "timestamp": [1, 2]}] * 2}, "t.json: annotation 2 needs an id of"),
    ("youcook2", "dvc", {"annotations": []}, "t.json: there is no annotation in this file")])
def test_a_wrong_truth_is_named_also_leniently(benchmark, task, truth, message, capsys, tmp_path):
    source = {"charades": "charades_sta", "youcook2": "youcook2"}.get(benchmark, "s")
    file = save(tmp_path / "p.json", [{**perfect(task, 0, source=source), "a": 3}, perfect(task, 1, source=source)])
    code, _, err = score(capsys, benchmark, file, "--truth", save(tmp_path / "t.json", truth), "--lenient",
                         "--sentence-model", "none")
    assert code == 2 and re.search(message, err), err


@pytest.mark.parametrize("protocol", ["clean", "d2vlm"])
def test_ids_of_charades_may_be_texts(protocol, capsys, tmp_path):
    records = [{**perfect("tvg", 0, source="charades_sta"), "idx": idx, "a": "hm"} for idx in ("", "b", 3)]
    truth = coco(tmp_path / "t.json", *({"id": idx, "timestamp": [1, 2]} for idx in ("", "b", 3, "c", 4)))
    code, out, err = score(capsys, "charades", save(tmp_path / "p.json", records), "--truth", truth, "--json",
                           "--protocol", protocol)
    assert code == 0 and json.loads(out)["unparsed"] == ["", "b", 3], err
