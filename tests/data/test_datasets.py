"""Public annotation formats: read as samples, written back without loss, and refused with a clear reason."""

import json

import pytest

from d2vlm_lab.data.datasets import et_bench, et_instruct
from d2vlm_lab.data.datasets.records import read_records
from d2vlm_lab.data.datasets.times import mark_times
from d2vlm_lab.data.sample import Sample, SampleError
from d2vlm_lab.ideas.evidence import Event


def instruct(human, gpt, **fields):
    return {"task": "slc", "source": "how_to", "video": "how_to/a.mp4", "duration": 90.5, **fields,
            "conversations": [{"from": "human", "value": f"<image>\n{human}"}, {"from": "gpt", "value": gpt}]}


STEPS = ("The steps of 12 - 18 seconds, in order?", [12, 18], [36, 44, 49, 57])


def test_the_three_styles_of_a_training_record_are_the_same_sample():
    question, src, tgt = STEPS
    text = et_instruct.from_record(instruct(
        question, "36 - 44 seconds, pour milk. 49 - 57 seconds, stir 2 eggs.", src=src, tgt=tgt))
    tokens = et_instruct.from_record(instruct(
        "The steps of <vid> - <vid> seconds, in order?", "<vid> - <vid> seconds, pour milk. <vid> - <vid> seconds, "
        "stir 2 eggs.", src=src, tgt=tgt))
    evidence = et_instruct.from_record(instruct(
        "The steps of <evi>, in order?", "<evi><evi></evi> <evi>, pour milk. <evi>, stir 2 eggs.", src=src, tgt=tgt))
    assert text == tokens == evidence
    assert evidence.question == "The steps of <evi>, in order?" and evidence.question_intervals == ((12.0, 18.0),)
    assert evidence.events == (Event(36, 44, "pour milk"), Event(49, 57, "stir 2 eggs"))
    assert evidence.answer == (0, ", pour milk. ", 1, ", stir 2 eggs.")


def test_a_single_time_is_an_instant_and_other_numbers_stay_text():
    sample = et_instruct.from_record(instruct("Which 3 things happen?", "The highlight of 2 eggs is at 36.5.",
                                              tgt=[36.5]))
    assert sample.events == (Event(36.5, 36.5),)
    assert sample.answer == ("The highlight of 2 eggs is at ", 0, ".")


def test_an_answer_without_times_has_no_events():
    sample = et_instruct.from_record(instruct("What is in <vid> to <vid>?", "(B) 3 eggs.", src=[1, 2.5]))
    assert sample.events == () and sample.answer == ("(B) 3 eggs.",)
    assert sample.question == "What is in <evi>?" and sample.question_intervals == ((1.0, 2.5),)


@pytest.mark.parametrize("text, times, marked, spans", [
    ("from 1.0 to 2.5 and 3.0 - 4.0 s", [1, 2.5, 3, 4], "from <evi> and <evi>", ((1.0, 2.5), (3.0, 4.0))),
    ("2 cups, 12.3 - 20 seconds", [12.34, 20.2], "2 cups, <evi>", ((12.34, 20.2),)),
    ("nothing here", [5, 6], "nothing here", ()),
    ("at <vid>, then <vid>", [5, 6], "at <evi>, then <evi>", ((5, 5), (6, 6))),
    ("The 2 people enter in 2.3 - 5.0 seconds.", [2.3, 5.0], "The 2 people enter in <evi>.", ((2.3, 5.0),)),
    ("in clip3 it happens at 3.0 - 5.0 seconds", [3.0, 5.0], "in clip3 it happens at <evi>", ((3.0, 5.0),)),
    ("the 2 men, at 2.3", [2.3], "the 2 men, at <evi>", ((2.3, 2.3),)),
    ("clip3, at 3 s", [3.0], "clip3, at <evi>", ((3.0, 3.0),)),
    ("what do the 2 men do in <evi>?", [2.0, 5.0], "what do the 2 men do in <evi>?", ((2.0, 5.0),)),
    ("the 2 men, <vid> and <vid>", [2.0, 5.0], "the 2 men, <evi>", ((2.0, 5.0),)),
    ("from <evi> to <evi>", [1, 2, 3, 4], "from <evi> to <evi>", ((1, 2), (3, 4)))])
def test_times_are_found_by_their_value_and_in_order_and_other_numbers_stay(text, times, marked, spans):
    assert mark_times(text, times) == (marked, spans)


@pytest.mark.parametrize("answer, tgt, message", [
    ("In 24 - 30 seconds.", [24.3, 30.6], "2 times are listed, but 'In 24 - 30 seconds.' has 0 of them; .* 24.3"),
    ("In <vid> - <vid> seconds.", [1, 2, 3, 4], "has 2 of them; the next would be 3"),
    ("In 00:24 - 00:30.", [24, 30], "has 0 of them")])
def test_a_listed_time_that_the_answer_lacks_is_an_error(answer, tgt, message):
    with pytest.raises(ValueError, match=message):
        et_instruct.from_record(instruct("When?", answer, tgt=tgt))


def test_numbers_without_end_are_refused_and_not_compared_for_ever():
    with pytest.raises(ValueError, match="100000 numbers in '1 1 1.*too many to find 41 times"):
        mark_times("1 " * 100_000, [1.0] * 41)


def test_a_number_beside_evidence_survives_both_formats():
    sample = Sample("1", "v.mp4", 9.0, "rar", "s", "what do the 2 men do in <evi>?", answer=("(A)",),
                    question_intervals=((2.0, 5.0),), options=("run", "sit"), correct=0)
    assert et_instruct.from_record(et_instruct.to_record(sample)) == sample
    again = et_bench.from_record(et_bench.to_record(sample, 1))
    assert (again.question, again.question_intervals) == (sample.question, sample.question_intervals)


FULL = Sample("v-1", "a/v.mp4", 16.0, "gvq", "world", "what after <evi>? (A) it spins (B) it moves",
              (Event(1.0, 2.5, "it spins"),), ("(A) It happens in ", 0, "."), ((0.5, 0.9),),
              ("it spins", (3.0, 4.0)), 0)


@pytest.mark.parametrize("sample", [
    FULL, Sample("2", "v.mp4", 9.5, "rar", "s", "what?", answer=("(B)",), options=("a", "b", "c", "d"), correct=1),
    Sample("3", "v.mp4", 9.5, "tvg", "s", "when?", answer=("That does not happen.",)),
    Sample("4", "v.mp4", 9.5, "dvc", "s", "all?", (Event(1, 2, "a b"), Event(3, 9.25, "c d")),
           (0, ", a b. ", 1, ", c d."))])
def test_samples_survive_the_evidence_style_exactly(tmp_path, sample):
    et_instruct.write_file(tmp_path / "train.json", [sample, sample])
    assert et_instruct.read(tmp_path / "train.json") == [sample, sample]


def test_the_written_record_has_the_public_shape():
    record = et_instruct.to_record(FULL)
    assert record["src"] == [0.5, 0.9] and record["tgt"] == [1.0, 2.5]
    assert record["conversations"] == [
        {"from": "human", "value": "<image>\nwhat after <evi>? (A) it spins (B) it moves"},
        {"from": "gpt", "value": "<evi></evi> (A) It happens in <evi>."}]


@pytest.mark.parametrize("change, message", [
    ({"video": "../secret.mp4"}, "leaves the video folder"),
    ({"video": "/etc/passwd"}, "leaves the video folder"),
    ({"duration": -1}, "duration"),
    ({"duration": "long"}, "duration is 'long'; it must be a number of seconds"),
    ({"video": None}, "video is null; it must be text"),
    ({"tgt": [36, 44, 49]}, "3 numbers"),
    ({"tgt": [36, 44]}, "all three must agree"),
    ({"tgt": [36, 44, 57, 49]}, "event 2 starts at 57"),
    ({"tgt": [36, 44, 49, 570]}, "event 2 ends at 570"),
    ({"src": [12]}, "need two times"),
    ({"conversations": []}, "0 turns"),
    ({"conversations": [{"from": "robot", "value": "x"}]}, "is not one of human, gpt"),
    ({"captions": ["one"]}, "captions has 1")])
def test_a_bad_training_record_is_one_line_that_names_file_and_sample(tmp_path, change, message):
    good = instruct("The steps of <evi>?", "<evi><evi></evi> <evi>, pour. <evi>, stir.", src=[12, 18],
                    tgt=[36, 44, 49, 57])
    path = tmp_path / "train.json"
    path.write_text(json.dumps([good, {**good, **change}]))
    with pytest.raises(SampleError, match=message) as error:
        et_instruct.read(path)
    assert "train.json" in str(error.value) and "sample 1" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_field_is_named(tmp_path):
    record = instruct("q", "a")
    del record["duration"]
    (tmp_path / "t.json").write_text(json.dumps([record]))
    with pytest.raises(SampleError, match="'duration' is missing"):
        et_instruct.read(tmp_path / "t.json")


@pytest.mark.parametrize("content, message", [
    (b"[{", "not readable as JSON"), (b"\xff\xfe", "not readable"), (b"[3]", "sample 0: expected an object")])
def test_a_file_that_is_no_annotation_is_named(tmp_path, content, message):
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(SampleError, match=message) as error:
        et_instruct.read(tmp_path / "t.json")
    assert "t.json" in str(error.value)


@pytest.mark.parametrize("content", ['[{"id": 1}', '[{"id": 1},', '[{"id": 1}, {"id"', '{"id": 1}\n{"id": '])
def test_a_file_that_ends_in_the_middle_is_an_error_wherever_it_was_cut(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(SampleError, match="t.json, sample 1: not readable as JSON"):
        list(read_records(tmp_path / "t.json"))


def bench(task, **fields):
    return {"version": 1.0, "idx": 7, "task": task, "source": "qvhighlights", "video": "q/a.mp4", "duration": 60.0,
            "q": "question?", **fields}


BENCH = [
    bench("rar", p=1, o=["a", "b", "c", "d"], src=[12.0, 20.5], q="What happens in 12.0 - 20.5?"),
    bench("eca", p=0, o=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]),
    bench("rvq", p=4, o=["a", "b", "c", "d", "e"]),
    bench("tvg", tgt=[12.7, 40.0]), bench("epm", tgt=[12.7, 40.0]),
    bench("gvq", tgt=[12.7, 40.0], p=3, o=["a", "b", "c", "d"]),
    bench("tal", tgt=[[1.0, 2.0], [3.0, 4.0]]), bench("evs", tgt=[[1.0, 2.0]]),
    bench("tem", tgt=[[1.0, 2.0], [3.0, 4.0]]),
    bench("vhd", tgt=[[1.0, 2.0], [3.0, 4.0]]), bench("vhd", tgt=[[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]),
    bench("dvc", tgt=[[1.0, 2.0], [3.0, 4.0]], g=["a cat", "it sits"]), bench("slc", tgt=[[1.0, 2.0]], g=["stir"]),
]


@pytest.mark.parametrize("record", BENCH, ids=lambda record: record["task"])
def test_benchmark_records_of_all_tasks_survive_exactly(record):
    sample = et_bench.from_record(record)
    assert et_bench.to_record(sample, 7) == record and sample.answer == ()


@pytest.mark.parametrize("changes, message", [
    ({"events": (Event(1, 2), Event(3, 4))}, "tvg needs exactly one event, found 2"),
    ({}, "tvg needs exactly one event, found 0"), ({"task": "tal"}, "tal needs at least one event"),
    ({"task": "rar"}, "rar needs options"), ({"task": "xyz"}, "no scorer knows its task xyz")])
def test_a_sample_that_no_scorer_could_judge_is_not_written(changes, message):
    with pytest.raises(SampleError, match=f'sample a .*{message}'):
        et_bench.to_record(Sample(**{"id": "a", "video": "v.mp4", "duration": 9.0, "task": "tvg", "source": "s",
                                     "question": "when?", **changes}), 0)


def test_only_the_highlights_of_several_annotators_stay_apart():
    sample = Sample("1", "v.mp4", 9.0, "tal", "s", "when?", (Event(1, 2, annotator=0), Event(3, 4, annotator=1)))
    assert et_bench.to_record(sample, 0)["tgt"] == [[1, 2], [3, 4]]


def test_what_a_benchmark_question_asks_about_becomes_evidence():
    for question in ("What happens in 12.0 - 20.5?", "What happens in <vid> - <vid>?", "What happens in <evi>?"):
        sample = et_bench.from_record(bench("rar", p=1, o=["a", "b", "c", "d"], src=[12.0, 20.5], q=question))
        assert sample.question == "What happens in <evi>?" and sample.question_intervals == ((12.0, 20.5),)


@pytest.mark.parametrize("record, message", [
    ({**bench("evs", tgt=[[1.0, 2.0]]), "video": 3}, "video is 3"),
    (bench("xyz"), "task: 'xyz' is not one of rar"), (bench("tvg"), "'tgt' is missing"),
    (bench("tvg", tgt=[[1.0, 2.0]]), "expected"),
    (bench("tal", tgt=[1.0, 2.0]), "expected"), (bench("dvc", tgt=[[1.0, 2.0]], g=[]), "one caption for each"),
    (bench("rar", p=9, o=["a", "b", "c", "d"]), "correct option is 9"),
    (bench("tvg", tgt=[50.0, 70.0]), "after the video's end"),
    ({**bench("evs", tgt=[[1.0, 2.0]]), "video": "../a.mp4"}, "leaves the video folder")])
def test_a_bad_benchmark_record_is_refused_by_name(tmp_path, record, message):
    (tmp_path / "etbench.json").write_text(json.dumps([record]))
    with pytest.raises(SampleError, match=message) as error:
        et_bench.read(tmp_path / "etbench.json")
    assert "etbench.json" in str(error.value) and "sample 7" in str(error.value)


def test_rounds_of_a_conversation_are_joined_in_both_styles():
    rounds = [("When does she pour?", "36 - 44 seconds, pour milk."), ("And stir?", "49 - 57 seconds, stir."),
              ("Is it tea?", "No.")]
    talk = instruct("", "", tgt=[36, 44, 49, 57])
    turns = [turn for asked, said in rounds for turn in ({"from": "human", "value": asked},
                                                         {"from": "gpt", "value": said})]
    text = et_instruct.from_record({**talk, "conversations": turns})
    assert text.question == "When does she pour?\nAnd stir?\nIs it tea?"
    assert [event.interval for event in text.events] == [(36, 44), (49, 57)]
    assert text.answer == (0, ", pour milk.\n", 1, ", stir.\nNo.")
    for turn, said in zip(turns[1::2], ("<evi></evi> <evi>, pour milk.", "<evi></evi> <evi>, stir.", "No.")):
        turn["value"] = said
    evidence = et_instruct.from_record({**talk, "conversations": turns})
    assert (evidence.answer, [e.interval for e in evidence.events]) == (text.answer, [e.interval for e in text.events])


def test_turns_that_do_not_alternate_are_refused():
    twice = instruct("q", "a")
    twice["conversations"] = twice["conversations"][:1] * 2
    with pytest.raises(ValueError, match="human and gpt must take turns"):
        et_instruct.from_record(twice)
