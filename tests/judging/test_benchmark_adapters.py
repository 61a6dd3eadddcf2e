"""Public annotation files of four benchmarks become samples; what the scorer wants back is in their predictions."""


import pandas
import pytest
from benchmark_files import CHARADES, CHOICE, MME, RECIPE, coco, save
from golden_metrics import GOLDEN, answers

from d2vlm_lab.data.datasets import charades_sta, et_bench, mvbench, video_mme, youcook2
from d2vlm_lab.data.sample import UNKNOWN, SampleError
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.judging.benchmarks import BENCHMARKS
from d2vlm_lab.judging.metrics.etbench import score_etbench


def test_a_query_of_charades_is_asked_in_the_published_words(tmp_path):
    sample, = charades_sta.read(coco(tmp_path / "test.json", CHARADES))
    assert (sample.id, sample.video, sample.duration, sample.task, sample.source) == (
        "3", "3MSZA.mp4", 30.96, "tvg", "charades_sta")
    assert sample.events == (Event(24.3, 30.4, "person turn a light on."),)
    assert "the sentence: 'person turn a light on'. The format" in sample.question


@pytest.mark.parametrize("adapter, name, file", [
    (charades_sta, "charades", "test"), (youcook2, "youcook2", "val")])
def test_predictions_repeat_their_annotations_as_recorded(adapter, name, file):
    recorded = {record["idx"]: record for record in answers(f"{name}/pred")}
    path = GOLDEN / name / "gt" / f"{file}.caption_coco_format.json"
    predictions = {record["idx"]: record for record in adapter.predictions(path, adapter.read(path))}
    for idx, expected in recorded.items():
        prediction = predictions[idx]
        assert set(expected) - set(prediction) == {"a"}
        assert ({key: value for key, value in prediction.items() if key != "video"}
                == {key: expected[key] for key in prediction if key != "video"})
        assert expected["video"].endswith(prediction["video"].split("/")[-1])


def test_lines_of_charades_name_no_durations_and_none_is_invented(tmp_path):
    path = save(tmp_path / "charades_sta_test.txt", "3MSZA 24.3 30.4##person turn a light on.\n"
                                                    "AO8RW 0.0 6.9##a person is putting a book on a shelf.\n")
    first, second = charades_sta.read(path)
    assert (first.id, second.id, second.video, second.duration) == ("0", "1", "AO8RW.mp4", UNKNOWN)
    assert second.events == (Event(0.0, 6.9, "a person is putting a book on a shelf."),)
    assert "duration" not in charades_sta.predictions(path, [first])[0]


def test_a_moment_that_outlasts_its_video_is_kept_as_it_is(tmp_path):
    path = coco(tmp_path / "t.json", {**CHARADES, "timestamp": [24.3, 33.0]})
    sample, = charades_sta.read(path)
    assert sample.duration == 33.0 and charades_sta.predictions(path, [sample])[0]["tgt"] == [24.3, 33.0]


def test_each_step_of_a_recipe_has_its_caption(tmp_path):
    sample, = youcook2.read(coco(tmp_path / "val.json", RECIPE))
    assert sample.events == (Event(90, 102, "pick the ends off the beans"), Event(114.5, 127, "combine egg and flour"))
    assert "'making fattoush'" in sample.question and "densly" in sample.question


def test_a_question_of_mvbench_lists_its_options_and_the_part_it_is_about(tmp_path):
    save(tmp_path / "json" / "action_sequence.json", [CHOICE, {**CHOICE, "video": "b.mp4"}])
    save(tmp_path / "json" / "object_existence.json", [{k: v for k, v in CHOICE.items() if k not in ("start", "end")}])
    first, second, whole = mvbench.read(tmp_path / "json")
    assert first.question.endswith("Question: What happened after?\nOptions:\n(A) Ate it..\n(B) Tidied up..\n"
                                   "(C) Left..\nBest Option: (")
    assert [s.id for s in (first, second, whole)] == ["action_sequence/0", "action_sequence/1", "object_existence/0"]
    assert first.video == "star/Charades_v1_480/ZS9XR.mp4#t=11.1,19.6" and first.correct == 1
    assert mvbench.split_part(first.video) == ("star/Charades_v1_480/ZS9XR.mp4", (11.1, 19.6))
    assert mvbench.split_part(whole.video) == ("clevrer/video_validation/ZS9XR.mp4", None)
    record, = mvbench.predictions(tmp_path / "json", [first])
    assert (record["task_type"], record["A"]) == ("Action Sequence", "(B) Tidied up.")
    assert record["candidates"] == ["Ate it.", "Tidied up.", "Left."]


@pytest.mark.parametrize("adapter, good, name", [(video_mme, MME, "question_id"), (
    et_bench, {"task": "tvg", "source": "s", "video": "v.mp4", "duration": 9.0, "tgt": [1.0, 2.0], "q": "?"}, "idx")])
def test_records_that_cannot_be_used_are_reported_and_the_others_keep_their_own(adapter, good, name, tmp_path):
    path = save(tmp_path / "a.json", [{**good, name: "1"}, {name: "2"}, "text", {**good, name: "3", "more": 4}])
    seen = []
    samples = adapter.read(path, on_bad=lambda place, problem: seen.append(problem))
    assert [sample.id for sample in samples] == ["1", "3"] and len(seen) == 2
    assert adapter.predictions(path, samples) == [{**good, name: "1"}, {**good, name: "3", "more": 4}]


def test_a_question_is_scored_against_its_own_record_and_not_against_a_refused_one_of_the_same_id(tmp_path):
    record = {"task": "tvg", "source": "s", "idx": 0, "video": "v.mp4", "duration": 9.0, "tgt": [1.0, 2.0], "q": "?"}
    path = save(tmp_path / "etbench.json", [{**record, "tgt": [1.0, 99.0]}, record])
    (sample, prediction), = BENCHMARKS["world"].read(path, bad=[])
    assert sample.events == (Event(1.0, 2.0),) and prediction["tgt"] == [1.0, 2.0]


@pytest.mark.parametrize("record", [{"task": "rar"}, {"task": "rar", "o": ["a", "b"]}, {"task": "tal", "tgt": []},
                                    {"task": "gvq", "tgt": [1, 2]}, {"task": "dvc", "tgt": [], "g": []},
                                    {"task": "vhd", "tgt": [[[1, 2]], []]}], ids=str)
def test_what_the_scorer_would_refuse_is_named_before_it_is_asked(record, tmp_path):
    common = {"source": "s", "video": "v.mp4", "duration": 9.0, "q": "?"}
    path, bad = save(tmp_path / "etbench.json", [common | record, common | {"task": "tvg", "tgt": [1, 2]}]), []
    (sample, prediction), = BENCHMARKS["world"].read(path, bad=bad)
    assert prediction["idx"] == sample.id == "1" and len(bad) == 1 and "etbench.json, sample 0" in bad[0]
    assert score_etbench([prediction | {"a": "1 - 2"}], "clean").collected["tvg"]["s"]["F1"] == 1
    with pytest.raises(LabError, match="etbench.json, sample 0"):
        BENCHMARKS["world"].read(path)


def test_mvbench_has_twenty_tasks_of_which_five_are_about_parts():
    assert len(mvbench.FILES) == 20 and sum(part for _, _, part in mvbench.TABLE) == 5
    assert mvbench.FILES["fine_grained_action"][0] == "Fine-grained Action"


def test_video_mme_is_read_from_parquet_as_from_json(tmp_path):
    rows = [MME, {**MME, "question_id": "001-2", "answer": "A"}]
    pandas.DataFrame(rows).to_parquet(tmp_path / "test.parquet")
    samples = video_mme.read(tmp_path / "test.parquet")
    assert samples == video_mme.read(save(tmp_path / "test.json", rows))
    assert video_mme.predictions(tmp_path / "test.parquet", samples) == rows
    first = samples[0]
    assert first.question.endswith("option.\nHow many?\nA. One.\nB. Two.\nC. Three.\nD. None.\nThe best answer is:")
    assert (first.id, first.video, first.source, first.correct) == ("001-1", "fFjv93ACGo8.mp4", "short", 2)
    assert first.options == ("One.", "Two.", "Three.", "None.")


def changed(record, change):
    return {key: value for key, value in {**record, **change}.items() if value != "GONE"}


@pytest.mark.parametrize("change, message", [
    ({"image_id": "../secret.mp4"}, "leaves the video"), ({"image_id": "/etc/passwd"}, "leaves the video folder"),
    ({"timestamp": [30.4, 24.3]}, "event 1 starts at 30.4"), ({"timestamp": [1.0]}, "timestamp is"),
    ({"timestamp": [1.0, float("nan")]}, "timestamp.1.: expected a finite"), ({"timestamp": ["1", 2]}, "timestamp is"),
    ({"caption": None}, "caption is null"), ({"caption": "GONE"}, "field 'caption' is missing"),
    ({"duration": 0}, "duration is 0"), ({"duration": "9"}, "duration is '9'"), ({"id": "x"}, "id is 'x'"),
    ({"id": 3}, "its id was there before")])
def test_a_bad_query_is_one_line_that_names_file_and_sample(change, message, tmp_path):
    path = coco(tmp_path / "test.json", CHARADES, changed({**CHARADES, "id": 4}, change))
    with pytest.raises(SampleError, match=message) as error:
        charades_sta.read(path)
    assert "test.json, sample " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("change, message", [
    ({"segments": [[90, 102]]}, "pure_cap holds 2 captions"), ({"segments": [[90, 102], [9]]}, "segment 2 is"),
    ({"pure_cap": 5}, "pure_cap is 5"), ({"duration": "GONE"}, "'duration' is missing"),
    ({"segments": [[90, 102], [114, 999]]}, "event 2 ends at 999"), ({"image_id": "a/../../b.mp4"}, "leaves")])
def test_a_bad_recipe_is_named(change, message, tmp_path):
    with pytest.raises(SampleError, match=message) as error:
        youcook2.read(coco(tmp_path / "val.json", changed(RECIPE, change)))
    assert "val.json, sample 0" in str(error.value)


@pytest.mark.parametrize("change, message", [
    ({"answer": "Slept."}, "must be one of the candidates"), ({"candidates": ["one"]}, "at least two"),
    ({"start": "GONE"}, "'start' is missing"), ({"start": 30}, "ends after it"),
    ({"video": "../../x.mp4"}, "leaves the video folder"), ({"question": ""}, "question is ''")])
def test_a_bad_question_of_mvbench_is_named(change, message, tmp_path):
    path = save(tmp_path / "action_sequence.json", [CHOICE, changed(CHOICE, change)])
    with pytest.raises(SampleError, match=message) as error:
        mvbench.read(tmp_path)
    assert str(path) in str(error.value) and "sample " in str(error.value)


@pytest.mark.parametrize("change, message", [
    ({"answer": "E"}, "answer is 'E'"), ({"answer": "AB"}, "answer is 'AB'"), ({"options": ["A. x"]}, "list of four"),
    ({"duration": "tiny"}, "duration is 'tiny'"), ({"videoID": "../x"}, "leaves the video folder"),
    ({"domain": "GONE"}, "'domain' is missing")])
def test_a_bad_question_of_video_mme_is_named(change, message, tmp_path):
    with pytest.raises(SampleError, match=message) as error:
        video_mme.read(save(tmp_path / "test.json", [changed(MME, change)]))
    assert "test.json, sample 001-1" in str(error.value)


@pytest.mark.parametrize("read, name, content, message", [
    (charades_sta.read, "a.json", "[]", "list 'annotations'"), (charades_sta.read, "a.json", "{", "not readable"),
    (charades_sta.read, "a.txt", "AB 1 2 3##x", "expected VIDEO start end##sentence"),
    (charades_sta.read, "a.txt", "AB 1 2", "caption is ''"), (charades_sta.read, "a.json", None, "no such file"),
    (youcook2.read, "a.json", '{"annotations": [3]}', "expected an object"),
    (charades_sta.read, "a.txt", None, "no such file"), (mvbench.read, "other.json", "[]", "no task of MVBench"),
    (mvbench.read, "x/y", None, "none of MVBench's files"), (video_mme.read, "a.parquet", "PAR1", "not readable"),
    (video_mme.read, "a.parquet", None, "no such file"), (video_mme.read, "a.json", "[3]", "expected an object")])
def test_a_file_that_is_no_annotation_is_named(read, name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        save(path, content)
    with pytest.raises(SampleError, match=message) as error:
        read(path)
    assert name in str(error.value)
