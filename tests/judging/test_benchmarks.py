import pytest
from golden_metrics import GOLDEN, answers, differences, recorded

from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.metrics.charades import score_charades
from d2vlm_lab.judging.metrics.etbench import score_etbench
from d2vlm_lab.judging.metrics.mvbench import first_word_is_right, is_right, score_mvbench
from d2vlm_lab.judging.metrics.videomme import first_capital, read_letter, score_videomme
from d2vlm_lab.judging.metrics.youcook2 import CookingRecipe, read_truth, score_youcook2

CHARADES = {r["id"]: r["timestamp"] for r in recorded("charades/gt/test.caption_coco_format.json")["annotations"]}
RECIPES = read_truth(recorded("youcook2/gt/val.caption_coco_format.json")["annotations"], "val")


def query(idx, answer):
    return {"task": "tvg", "source": "charades_sta", "idx": idx, "video": f"a/V{idx}.mp4", "a": answer,
            "q": "find 'a dog runs' in it"}


# Charades-STA

@pytest.mark.parametrize("folder", ["pred", "pred_with_index"])
def test_charades_as_published_gives_the_recorded_numbers(folder):
    theirs = recorded("charades/expected.json")[folder]
    ours = score_charades(answers(f"charades/{folder}"), CHARADES, "d2vlm")
    assert ours["converted"] == theirs["converted"]
    for name in ("Result", "num", "score_file"):
        assert differences(ours["eval"][name], theirs["eval"][name], 1e-9) == []


def test_charades_answers_are_converted_as_recorded_or_fail_where_the_official_script_stops():
    for name, case in recorded("charades/expected.json")["single"].items():
        ours = score_charades([query(0, case["a"])], {0: [3, 8]}, "d2vlm")["converted"]
        theirs = {key: entry if not entry else entry["timestamp"] for key, entry in case.get("converted", {}).items()}
        assert {key: entry if not entry else entry["timestamp"] for key, entry in ours.items()} == (
            theirs or {"0": []}), name


def test_charades_as_published_treats_odd_submissions_as_recorded():
    edge = recorded("charades/expected.json")["evaluator_edge"]
    truth = {r["id"]: r["timestamp"] for r in edge["gt"]["annotations"]}
    for name, case in edge["cases"].items():
        if case["status"] != "ok" or "--sample" in name or name == "empty_timestamp":  # no answer makes such an entry
            continue
        said = {int(key): entry.get("timestamp") if entry else None for key, entry in case["submission"].items()}
        records = [query(i, f"{t[0]} - {t[1]} </evi> x" if t else "") for i, t in said.items()]
        ours = score_charades(records, truth, "d2vlm")["eval"]
        assert differences(ours["Result"], case["Result"], 1e-9) == [] and ours["num"] == case["num"], name


def test_charades_clean_keeps_failures_and_missing_answers_in_the_denominator():
    truth = {0: [0, 10], 1: [0, 10], 2: [0, 10], 3: [0, 10]}
    ours = score_charades([query(0, "0 - 10"), query(1, "1 - 2 </evi> It happens in 10 - 5, 0 - 10."),
                           query(2, "no")], truth)
    assert (ours["R@0.3"], ours["R@0.5"], ours["R@0.7"], ours["mIoU"]) == (0.5, 0.5, 0.25, 0.375)
    assert ours["unparsed"] == [2] and ours["missing"] == [3] and ours["Total"] == 4


# YouCook2

def test_youcook2_as_published_gives_the_recorded_numbers():
    theirs = recorded("youcook2/expected.json")
    ours = score_youcook2(answers("youcook2/pred"), RECIPES, "d2vlm")
    assert differences(ours["converted"], theirs["converted"]) == []
    assert differences(ours["per_video"], theirs["with_empty_lists"]["per_video"]) == []
    assert set(ours["stdout"]) <= set(theirs["with_empty_lists"]["stdout"]) and len(ours["stdout"]) == 18


def test_youcook2_as_published_compares_wrong_paragraphs_once_a_video_is_missing():
    theirs = recorded("youcook2/expected.json")["missing_videos"]["stdout"]
    kept = [r for r in answers("youcook2/pred") if not any(n in r["video"] for n in ("005", "009"))]
    assert set(score_youcook2(kept, RECIPES, "d2vlm")["stdout"]) <= set(theirs)


def test_youcook2_clean_of_perfect_answers_is_perfect_and_silence_halves_it():
    captions = ["chop the red onions.", "fry them in butter."]
    recipes = [CookingRecipe(f"{k}.mp4", [[0, 10], [20, 35]], captions) for k in (0, 1)]
    said = "0 - 10 seconds, chop the red onions. 20 - 35 seconds, fry them in butter."
    record = {"task": "dvc", "source": "youcook2", "video": "x/0.mp4", "a": said}
    means = score_youcook2([record, {**record, "video": "x/1.mp4"}], recipes)["means"]
    assert means["F1_Score"] == means["F1_matched"] == means["SODA_c"] == pytest.approx(100)
    assert means["CIDER"] == pytest.approx(1000)
    wide = said.replace("0 - 10", "0 - 20").replace("20 - 35", "20 - 50")  # overlaps of exactly one half
    wide = score_youcook2([{**record, "a": wide}], recipes[:1])["means"]
    assert wide["Precision@0.5"] == wide["Recall@0.5"] == 100 and wide["Precision@0.7"] == 0
    half = score_youcook2([record, {**record, "video": "x/1.mp4", "a": ""}], recipes)
    assert half["means"]["F1_Score"] == pytest.approx(50) and half["unparsed"] == ["1.mp4"]


def test_youcook2_truth_with_captions_and_segments_that_differ_is_an_error():
    with pytest.raises(LabError, match=r"record 1 \(a.mp4\): 1 captions for 2 segments"):
        read_truth([{"image_id": "a.mp4", "segments": [[0, 1], [2, 3]], "pure_cap": "one"}], "val.json")


# MVBench

def test_mvbench_as_published_gives_the_recorded_numbers():
    tasks = {file.stem: recorded(f"mvbench/pred/{file.name}") for file in (GOLDEN / "mvbench/pred").iterdir()}
    ours, theirs = score_mvbench(tasks, "d2vlm"), recorded("mvbench/expected.json")
    for name in ("acc_dict", "correct", "total", "lines_sorted"):
        assert ours[name] == theirs[name]


def test_mvbench_answers_are_judged_as_recorded():
    for case in recorded("unit/small_functions.json")["mvbench_check_ans"]:
        if "out" in case["res"] and "</evi>" not in case["pred"]:  # which the official caller removes before
            assert first_word_is_right(case["pred"], case["gt"]) == case["res"]["out"], case


@pytest.mark.parametrize("answer, right", [
    ("(B) a cat", True), ("B", True), ("3 - 8 </evi> (B)", True), ("Best Option: (B) a cat.", True), ("a cat", True),
    ("(A) a dog", False), ("", None), ("(", None), ("</evi> B", True), ("A\nfoo", False)])
def test_mvbench_clean_looks_for_the_letter(answer, right):
    assert is_right(answer, "(B) a cat.") is right


@pytest.mark.parametrize("answer, alone, among", [
    ("the blue ball", True, True), ("either the red ball or the blue ball", None, None),
    ("it is the blue ball that moves", None, True), ("it is the red ball that moves", None, False)])
def test_mvbench_clean_counts_a_text_that_is_mentioned_only_where_the_other_options_are_known(answer, alone, among):
    assert is_right(answer, "(B) The blue ball.") is alone
    assert is_right(answer, "(B) The blue ball.", ["the red ball", "the blue ball", "a cube"]) is among


# Video-MME

@pytest.mark.parametrize("name, durations", [
    ("default", ("short", "medium", "long")), ("short_only", ("short",)), ("medium_long", ("medium", "long"))])
def test_videomme_as_published_gives_the_recorded_lines(name, durations):
    ours = score_videomme(answers("videomme/pred"), "d2vlm", durations)
    assert ours["lines"] == recorded("videomme/expected.json")[name]["lines"]


def test_videomme_as_published_needs_all_videos_and_clean_does_not():
    part = recorded("videomme/pred/etbench_0.json")
    with pytest.raises(LabError, match="exactly 300"):
        score_videomme(part, "d2vlm")
    assert score_videomme(part)["Total"] == len(part)


def test_videomme_as_published_counts_a_video_that_cannot_be_read_as_failed():
    """An answer without a letter is left out; so would be all questions about videos that were never read."""
    records = answers("videomme/pred")
    silent, unread = ([{**records[0], "a": "", **more}, *records[1:]] for more in ({}, {"error": "no such file"}))
    assert score_videomme(unread, "d2vlm")["Overall"] < score_videomme(silent, "d2vlm")["Overall"]


@pytest.mark.parametrize("protocol", ["etbench", "d2vlm"])
def test_a_video_that_cannot_be_read_does_not_raise_a_score_as_published(protocol):
    """These leave out answers without times; so would be videos that were never read."""
    def summary(k, answer, **more):
        return {"task": "evs", "source": "tvsum", "idx": k, "video": f"v{k}.mp4", "duration": 30.0, "q": "q",
                "tgt": [[1.0, 5.0]], "a": answer, **more}

    def moment(k, answer, **more):
        return {"task": "tvg", "source": "charades_sta", "idx": k, "video": f"v{k}.mp4", "q": "'x'", "a": answer} | more

    unread = {"error": "no such file"}
    summaries, moments = ([[make(0, "1 - 5</evi> 1 - 5"), last] for last in (
        make(1, "20 - 25</evi> 20 - 25"), make(1, "", **unread), make(1, ""))] for make in (summary, moment))
    wrong, lost, silent = (score_etbench(records, protocol).collected["evs"]["tvsum"]["F1"] for records in summaries)
    assert lost == wrong != silent
    if protocol == "d2vlm":
        wrong, lost, silent = (score_charades(records, {0: (1, 5), 1: (2, 6)}, protocol)["eval"] for records in moments)
        assert lost["score_file"] == wrong["score_file"] != silent["score_file"]


def test_videomme_letters_are_found_as_recorded():
    for case in recorded("unit/small_functions.json")["videomme_extract"]:
        assert first_capital(case["s"]) == case["res"]["out"], case["s"]


def test_videomme_clean_reads_what_is_meant_and_counts_what_is_not_answered():
    assert [read_letter(text, ["A. one", "B. two men", "C. x", "D. y"]) for text in (
        "3.0 - 8.0 </evi> B", "Both", "b", "The best option is B.", "two men")] == ["B", "", "B", "B", "B"]
    record = {"duration": "short", "domain": "Knowledge", "sub_category": "Law", "task_type": "OCR Problems",
              "question_id": "1-1", "answer": "B", "a": "B"}
    assert score_videomme([record, {**record, "a": "", "question_id": "1-2"}])["Overall"] == 50
