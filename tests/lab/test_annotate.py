"""Own annotations: every layout becomes samples, every problem is named with its place, training takes the result."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from small import tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.data.datasets import et_bench, samples
from d2vlm_lab.data.sample import SampleError, from_record
from d2vlm_lab.data.video import length, write_frames
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.annotate.draft import seconds_of
from d2vlm_lab.lab.annotate.layouts import entries
from d2vlm_lab.model.checkpoint import save

ROOT = Path(__file__).parents[2]
EXAMPLE, SCHEMA = ROOT / "data/annotations/example.jsonl", ROOT / "data/annotations/samples.schema.json"
GOOD = {"id": "a", "video": "ladder.mp4", "duration": 12.0, "task": "tvg", "source": "own", "question": "When?",
        "events": [{"start": 3.0, "end": 7.5, "caption": "he climbs"}], "answer": ["It happens in ", 0, "."]}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two clips in which a square moves: twelve seconds and twenty."""
    folder = tmp_path_factory.mktemp("videos")
    for name, seconds in (("ladder", 12), ("kitchen", 20)):
        frames = np.full((2 * seconds, 64, 64, 3), 230, np.uint8)
        for k, frame in enumerate(frames):
            frame[20:40, k:k + 20] = (200, 40, 40)
        write_frames(folder / f"{name}.mp4", frames, 2)
    return folder


def annotate(*words):
    return main(["annotate", *map(str, words)])


def written(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def told(samples):
    """Video, task and intervals of each sample."""
    return [(s.video, s.task, [e.interval for e in s.events]) for s in samples]


CLIMBS, CUTS = ("ladder.mp4", "tvg", [(3.0, 7.5)]), ("kitchen.mp4", "tvg", [(8.0, 14.0)])
TWICE = ("ladder.mp4", "tal", [(1.0, 2.0), (3.0, 7.5)])
QWEN = {"video": "ladder.mp4", "conversations": [
    {"from": "human", "value": "<video>\nWhen does he climb? Answer in JSON."},
    {"from": "gpt", "value": '```json\n[{"start": "00:03.00", "end": "00:07.50", "description": "he climbs"}]\n```'},
    {"from": "human", "value": "And in words?"}, {"from": "gpt", "value": "He climbs from 3.0 to 7.5 seconds."},
    {"from": "human", "value": "When does he move?"}, {"from": "gpt", "value": "[[3, 7.5], [1, 2]]"}]}
MESSAGES = {"messages": [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": [{"type": "video", "video": "kitchen.mp4"}, {"type": "text", "text": "When?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": '{"start_time": 8, "end_time": "14s"}'}]}]}
LAYOUTS = {
    "own.jsonl": (json.dumps(GOOD) + "\n\n", [CLIMBS]),
    "own.json": (json.dumps([GOOD, GOOD | {"id": 7}], indent=2), [CLIMBS, CLIMBS]),
    "qwen.json": (json.dumps([QWEN, MESSAGES]), [CLIMBS, CLIMBS, TWICE, CUTS]),
    "qwen.jsonl": (json.dumps(MESSAGES), [CUTS]),
    "timelens.json": (json.dumps({"ladder": {"duration": 12, "spans": [[3, 7.5], [1, 2]], "queries": ["a", "A."]},
                                  "kitchen": {"duration": 20.0, "spans": [[8, 14]], "queries": ["b"]}}), [TWICE, CUTS]),
    "timelens.jsonl": (json.dumps({"source": "x", "video_path": "ladder.mp4", "duration": 12, "events": [
        {"query": "a", "span": [[3, 7.5], [1, 2]]}, {"query": "b", "span": [3, 7.5]}]}), [TWICE, CLIMBS]),
    "activitynet.json": (json.dumps({"ladder": {"duration": 12, "timestamps": [[3, 7.5]], "sentences": [" He."]}}),
                         [CLIMBS]),
    "a.csv": ("video,start,end,caption\nladder,3,0:07.5,he climbs\nkitchen.mp4,8,14,\"she sits, then eats\"\n",
              [CLIMBS, CUTS]),
    "b.csv": ("\ufeffVideo;Start;End;Caption;Question\nladder.mp4;3,0;7,5;;When does he move?\nladder.mp4;1;2;;"
              "When does he move?\n", [TWICE]),
    "ladder.vtt": ("WEBVTT - x\n\nNOTE no --\nsubtitle\n\nfirst\n00:03.000 --> 00:07.500 align:start\n"
                   "<v Bob>he\nclimbs\n", [CLIMBS]),
    "kitchen.srt": ("1\r\n00:00:08,000 --> 00:00:14,000\r\nshe cuts\r\n\r\n", [CUTS]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_becomes_samples_that_are_read_back_and_always_the_same(videos, tmp_path, name):
    text, expected = LAYOUTS[name]
    (tmp_path / name).write_text(text, newline="")
    assert annotate("check", tmp_path / name, "--videos", videos) == 0
    for out in ("one.jsonl", "two.jsonl"):
        assert annotate("convert", tmp_path / name, "--videos", videos, "--out", tmp_path / out) == 0
    found = samples.read(tmp_path / "one.jsonl")
    assert told(found) == expected and len({sample.id for sample in found}) == len(found)
    assert {s.video: s.duration for s in found}.items() <= {"ladder.mp4": 12.0, "kitchen.mp4": 20.0}.items()
    assert all(not sample.answer or sample.answer.count(0) == 1 for sample in found)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({name, "one.jsonl", "two.jsonl"})


def test_files_that_name_no_video_are_about_the_one_that_is_given(videos, tmp_path):
    (tmp_path / "subtitles.vtt").write_text(LAYOUTS["ladder.vtt"][0])
    (tmp_path / "a.csv").write_text("start,end,caption\n3,7.5,he climbs\n")
    for name in ("subtitles.vtt", "a.csv"):
        assert annotate("convert", tmp_path / name, "--videos", videos, "--out", tmp_path / "o.jsonl") == 2
        assert not (tmp_path / "o.jsonl").exists()
        words = ["--videos", videos, "--video", "ladder", "--out", tmp_path / "o.jsonl"]
        assert annotate("convert", tmp_path / name, *words) == 0
        assert told(samples.read(tmp_path / "o.jsonl")) == [CLIMBS]
        (tmp_path / "o.jsonl").unlink()


def test_captions_become_a_question_each_or_one_that_asks_for_all(videos, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("video,start,end,caption\nladder,3,7.5,he climbs.\nladder,1,2,he waves\n")
    annotate("convert", file, "--videos", videos, "--out", tmp_path / "o.jsonl", "--task", "both")
    first, second, whole = samples.read(tmp_path / "o.jsonl")
    assert first.question == "When does this happen in the video: he climbs?"
    assert first.answer == ("It happens in ", 0, ".")
    assert (second.id, whole.id, whole.task) == ("ladder-2", "ladder-3", "dvc")
    assert whole.answer == (0, ", he waves. ", 1, ", he climbs.")


@pytest.mark.parametrize("header, row", [("video,start,end,caption", "ladder,3,7.5,he climbs"),
                                         ("video,start,end,caption,question", "ladder,3,7.5,,When?")])
def test_a_row_that_is_there_twice_is_named_and_read_once(videos, tmp_path, capsys, header, row):
    (tmp_path / "a.csv").write_text("\n".join([header, row, row]))
    annotate("convert", tmp_path / "a.csv", "--videos", videos, "--out", tmp_path / "o.jsonl")
    assert told(samples.read(tmp_path / "o.jsonl")) == [CLIMBS]
    assert f"line 3: start and end: note: the same times and the same words as in {tmp_path / 'a.csv'}: line 2. " in (
        capsys.readouterr().out)


@pytest.mark.parametrize("name, text", [("a.srt", ""), ("a.vtt", "WEBVTT\n"), ("a.csv", "video,start,end,caption\n"),
                                        ("b.csv", "video,start,end,caption,who\n"), ("a.json", "[]"),
                                        ("a.jsonl", "")])
def test_a_file_without_any_annotation_is_an_error(tmp_path, capsys, name, text):
    (tmp_path / name).write_text(text)
    assert annotate("check", tmp_path / name) == 2
    assert f"{name}: there is nothing in this file" in capsys.readouterr().err


def test_a_sentence_ends_as_its_caption_does_and_an_event_without_one_is_named(videos, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("video,start,end,caption\nladder,1,2,is it on?\nladder,3,7.5,It is.\n")
    answer = '[{"start": 1, "end": 2, "description": "x"}, {"start": 3, "end": 4}]'
    asked = {"video": "ladder", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": answer}]}
    files = [tmp_path / "a.csv", written(tmp_path / "q.jsonl", asked)]
    assert annotate("convert", *files, "--task", "dvc", "--videos", videos, "--out", tmp_path / "o.jsonl") == 0
    rows, said = samples.read(tmp_path / "o.jsonl")
    assert rows.answer == (0, ", is it on? ", 1, ", It is.") and said.answer == (0, ", x. ", 1, ".")
    assert "note: the event from 3 s to 4 s has no description" in capsys.readouterr().out


def test_a_key_that_is_there_twice_in_a_file_of_one_line_is_named(tmp_path, capsys):
    (tmp_path / "a.json").write_text('{"id": 1, "id": 2}')
    assert annotate("check", tmp_path / "a.json") == 2
    assert "a.json: the key 'id' stands there twice" in capsys.readouterr().err


def test_several_files_become_one_and_no_id_is_there_twice(videos, tmp_path):
    for name in ("own.jsonl", "a.csv", "ladder.vtt"):
        (tmp_path / name).write_text(LAYOUTS[name][0].replace('"a"', '"ladder-1"'))
    files = [tmp_path / name for name in ("own.jsonl", "a.csv", "ladder.vtt")]
    assert annotate("convert", *files, "--videos", videos, "--out", tmp_path / "o.jsonl") == 0
    assert [s.id for s in samples.read(tmp_path / "o.jsonl")] == ["ladder-1", "ladder-2", "kitchen-1", "ladder-3"]


def test_the_times_in_an_answer_become_references_to_events(videos, tmp_path):
    annotate("convert", written(tmp_path / "q.jsonl", QWEN), "--out", tmp_path / "o.jsonl", "--videos", videos)
    as_json, in_words, several = samples.read(tmp_path / "o.jsonl")
    assert as_json.events[0].caption == "he climbs" and as_json.question.startswith("When does he climb")
    assert in_words.answer[0] == "He climbs from " and 0 in in_words.answer and "3.0" not in str(in_words.answer)
    assert several.answer == ("It happens in ", 0, " and ", 1, ".")


def test_check_names_every_problem_with_line_field_and_remedy(videos, tmp_path, capsys):
    third = {"id": "b", "events": [{"start": 9, "end": 7}, {"start": "3", "ende": 4}], "question": 5, "a.b": 1,
             "video": "no.mp4", "answer": ["It ", 7]}
    file = written(
        tmp_path / "own.jsonl", GOOD, GOOD, GOOD | third, [1], GOOD | {"id": "c", "video": "gone.mp4", "answer": []},
        GOOD | {"id": "d", "events": [{"start": 3000, "end": 7500}, {"start": 8, "end": 5}], "answer": [4]},
        GOOD | {"id": "e", "video": "../x.mp4"}, {"id": "f"})
    file.write_text(file.read_text() + "no json\n")
    assert annotate("check", file, "--videos", videos) == 2
    lines = capsys.readouterr().out.splitlines()
    for line, field, words in (
            (2, "id", "was there before, in .*line 1. Give each sample an id"), (3, "question", "expected text, found"),
            (3, "events[1].ende", "did you mean 'end'"), (3, "events[1].start", "expected a number, found '3'. Times"),
            (3, "events[0]", "Swap the two"), (3, "video", "no such video"), (3, "answer[1]", "refers to event 8"),
            (3, "a.b", "no such field"), (3, "events[1].end", "the field is missing. Times are"),
            (4, "", "expected an object.* Write one JSON"),
            (5, "video", "no such video file.*Put the video into"), (5, "answer", "it is missing.*Write a list of"),
            (6, "events[0]", "milliseconds"), (6, "events[1]", "Swap the two"), (6, "answer[0]", "refers to event 5"),
            (7, "video", "leaves the video folder"), (8, "video", "is missing"), (8, "duration", "is missing"),
            (8, "task", "is missing"), (9, "", "not readable as JSON")):
        place = f"{file}: line {line}: " + (f"{field}: " if field else "")
        assert any(text.startswith(place) and re.search(words, text) for text in lines), (line, field)
    assert "1 video of 12.0 s, 1 question, 1 event" in lines and "  tvg: 1 question, 1 event of 4.5 s" in lines
    numbers = [int(number) for number in re.findall(r"line (\d+): ", "\n".join(text[:len(str(file)) + 12]
                                                                              for text in lines))]
    assert numbers == sorted(numbers)
    assert lines[-2:] == ["8 of 9 cannot be used", "4 notes about what should be looked at"]


def test_a_video_of_another_length_is_a_note_and_a_missing_duration_comes_from_the_video(videos, tmp_path, capsys):
    long = GOOD | {"duration": 30.0, "events": [{"start": 3.0, "end": 27.0}]}
    assert annotate("check", written(tmp_path / "a.jsonl", long), "--videos", videos) == 0
    out = capsys.readouterr().out
    assert "note: the file says 30 s, the video lasts 12 s" in out and "after the end of the video itself" in out
    without = {key: value for key, value in GOOD.items() if key != "duration"}
    file = written(tmp_path / "b.jsonl", without, without | {"id": "b", "video": "ladder", "duration": None})
    assert annotate("check", file, "--videos", videos) == 2
    assert annotate("convert", file, "--videos", videos, "--out", tmp_path / "o.jsonl") == 0
    assert [(s.video, s.duration) for s in samples.read(tmp_path / "o.jsonl")] == [("ladder.mp4", 12.0)] * 2
    (tmp_path / "c.csv").write_text("video,start,end,caption\nladder.mp4,1,2,x\n")
    capsys.readouterr()
    assert annotate("check", tmp_path / "c.csv") == 2
    assert "duration: the field is missing. --videos DIR takes it from the video." in capsys.readouterr().out


@pytest.mark.parametrize(("name", "text", "words"), [
    ("a.csv", "video,start,end,caption\nladder,x,2,a\n", "line 2: start: expected a time, found 'x'"),
    ("a.csv", "video,start,end,caption\nladder,1,2,a, b\n", "line 2: 1 more values than there are columns"),
    ("a.csv", "video,start,end,caption\n,1,2,a\n", "line 2: video: is empty"),
    ("a.csv", 'video,start,end,caption\nladder,1,2,"a\nladder,3,4,b\n',
     "line 2: unexpected end of data; the row goes on to line 3"),
    ("a.csv", 'video,start,end,caption\nladder,1,2,"a" b\nladder,3,4,b\n', "line 2: ',' expected"),
    ("a.csv", "video,start,end,caption\nladder,5,2,a\n", "line 2: start and end: event 1 starts at 5.0 s, after"),
    ("ladder.vtt", "WEBVTT\n\n00:01.000 -> 2\na\n\n00:01.000 --> two\na\n", "line 6: times: expected a time"),
    ("ladder.srt", "1\n00:00:01,000 --> 00:00:02,000\n\n", "line 2: text: is empty"),
    ("a.json", '{"ladder": {"timestamps": [[1, 2]], "sentences": ["a"]},\n\n"version": 1}', "line 3: version: "),
    ("a.json", '{\n"ladder": {"timestamps": [[1, 2],\n[3]], "sentences": ["a", "b"]},\n"kitchen":\n{"timestamps": 1, '
     '"sentences": []}}', "line 4: timestamps and sentences"),
    ("q.jsonl", '{"video": "ladder.mp4", "conversations": [{"from": "gpt", "value": "3"}]}', "must take turns"),
    ("q.jsonl", '{"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "3"}]}', "no single"),
    ("q.jsonl", '{"video": "ladder.mp4", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": '
     '"[{\\"start\\": \\"soon\\"}]"}]}', "conversations[1]: expected a time, found 'soon'"),
    ("q.jsonl", '{"video": "ladder.mp4", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": '
     '"From 9.0 to 3.0 s."}]}', "event 1 starts at 9.0 s, after its end"),
])
def test_a_part_of_a_file_that_cannot_be_used_is_named(videos, tmp_path, capsys, name, text, words):
    (tmp_path / name).write_text(text)
    assert annotate("check", tmp_path / name, "--videos", videos) == 2
    assert words in capsys.readouterr().out


def test_no_question_asks_for_all_events_where_one_of_them_is_spoiled(videos, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("video,start,end,caption\nladder,1,2,a\nladder,x,5,b\nkitchen,1,2,c\n")
    annotate("convert", tmp_path / "a.csv", "--videos", videos, "--out", tmp_path / "o.jsonl", "--task", "dvc")
    assert [sample.video for sample in samples.read(tmp_path / "o.jsonl")] == ["kitchen.mp4"]
    assert "no question can ask for all events of 'ladder.mp4'" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "text"), [
    ("a.csv", "video,start,end,caption\nladder,1,2,he waves\nladder,x,5,He waves.\nladder,6,7,b\n"),
    ("a.csv", "video,start,end,caption,question\nladder,1,2,,when?\nladder,x,5,,when?\nladder,6,7,,b\n"),
    ("a.jsonl", '{"video_path": "ladder.mp4", "events": [{"query": "he waves", "span": [[1, 2], [5, "x"]]}, '
     '{"query": "b", "span": [6, 7]}]}'),
    ("ladder.srt", "1\n00:01.000 --> 00:02.000\nwaves\n\n2\n00:03.000 --> 00:99.000\nwaves\n\n3\n"
     "00:06.000 --> 00:07.000\nb\n"),
])
def test_no_question_asks_for_a_moment_of_which_one_time_is_spoiled(videos, tmp_path, capsys, name, text):
    (tmp_path / name).write_text(text)
    annotate("convert", tmp_path / name, "--videos", videos, "--out", tmp_path / "o.jsonl", "--task", "tvg")
    assert [sample.events[0].start for sample in samples.read(tmp_path / "o.jsonl")] == [6.0]
    assert "no question can ask for all moments of" in capsys.readouterr().out


def test_numbers_that_may_be_no_times_and_durations_that_contradict_each_other_are_noted(videos, tmp_path, capsys):
    sugar, times = ({"video": "ladder.mp4", "conversations": [{"from": "human", "value": "?"},
                                                              {"from": "gpt", "value": answer}]}
                    for answer in ("He adds 2-3 spoons of sugar.", "He adds it from 2 to 3 seconds."))
    others = [sugar | {"conversations": [sugar["conversations"][0], {"from": "gpt", "value": answer}]} for answer in (
        "Between 3 and 7.", "From second 5 to second 10.", "It starts at 5 and ends at 10.", "10S - 12S")]
    assert annotate("check", written(tmp_path / "q.jsonl", sugar, times, *others), "--videos", videos) == 0
    out = capsys.readouterr().out
    assert out.count("is read as times") == out.count("note: '2-3' is read as times. Check that they are.") == 1
    (tmp_path / "a.csv").write_text("video,duration,start,end,caption\nladder,12,1,2,a\nladder,300,3,4,b\n")
    assert annotate("convert", tmp_path / "a.csv", "--videos", videos, "--out", tmp_path / "o.jsonl") == 0
    assert "line 3: duration: note: an earlier row of this video says 12.0, this one 300.0" in capsys.readouterr().out
    assert {sample.duration for sample in samples.read(tmp_path / "o.jsonl")} == {12.0}


def test_questions_that_no_scorer_could_judge_are_named_and_left_out_of_a_benchmark(videos, tmp_path, capsys):
    one, two, none = ({**GOOD, "id": name, "events": GOOD["events"][:1] * n, "answer": ["x"]}
                      for name, n in (("one", 1), ("two", 2), ("none", 0)))
    file = written(tmp_path / "own.jsonl", one, two, none, {**one, "id": "other", "task": "xyz"})
    assert annotate("convert", file, "--out", tmp_path / "etbench.json") == 0
    out = capsys.readouterr().out
    assert [sample.question for sample in et_bench.read(tmp_path / "etbench.json")] == [GOOD["question"]]
    assert all(f"left out: sample {name} " in out for name in ("two", "none", "other"))


def test_what_cannot_be_done_is_one_line_and_nothing_is_written(videos, tmp_path, capsys):
    good, bad = written(tmp_path / "g.jsonl", GOOD), written(tmp_path / "b.jsonl", {"id": 1})
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    (tmp_path / "et.json").write_text('[{"conversations": [], "tgt": []}]')
    (tmp_path / "old.jsonl").write_text("kept")
    before = sorted(tmp_path.iterdir())
    for words, message in (
            (["convert", good], "convert needs"), (["check", good, "--out", tmp_path / "o.jsonl"], "--out belongs"),
            (["convert", good, "--out", good], "this is a file that is read"),
            (["convert", good, "--out", tmp_path / "o.txt"], "must end with .jsonl"),
            (["check", good, "--videos", tmp_path / "none"], "there is no such folder"),
            (["check", good, "--limit", "0"], "--limit is 0"), (["check", tmp_path / "none.jsonl"], "no such file"),
            (["check", tmp_path / "no.csv"], "no column 'start'"), (["check", tmp_path / "et.json"], "et_instruct"),
            (["convert", bad, "--out", tmp_path / "old.jsonl"], "nothing can be used")):
        assert annotate(*words) == 2
        assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "old.jsonl").read_text() == "kept"


class Tags(HTMLParser):
    """Elements of a page, and what they load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name == "src"]


def test_the_page_shows_each_video_with_its_events_and_runs_nothing_that_a_file_says(videos, tmp_path):
    evil = "<script>alert(1)</script>"
    file = written(tmp_path / "own.jsonl", GOOD | {"question": evil, "answer": [evil, 0]}, GOOD | {"id": evil + "2"},
                   GOOD | {"id": "x", "events": [{"start": 9.0, "end": 5000.0, "caption": evil}]},
                   GOOD | {"id": "y", "video": "../../etc/passwd"}, {evil: evil})
    assert annotate("check", file, "--videos", videos, "--page", tmp_path / "p.html") == 2
    page = (tmp_path / "p.html").read_text()
    tags = Tags(page)
    assert "script" not in tags.tags and "&lt;script&gt;" in page and "after the video&#x27;s end" in page
    assert tags.tags.count("article") == 1 + 4  # all events of a video, and every question that could be read
    pictures = [address for address in tags.loads if address.startswith("data:image/jpeg")]
    players = [address for address in tags.loads if not address.startswith("data:")]
    assert len(pictures) > 20 and all((tmp_path / address.partition("#")[0]).resolve() == videos / "ladder.mp4"
                                      for address in players)
    assert "3.0 - 7.5" in page and page.count('class="in"') + page.count("class=in") > 5
    annotate("check", file, "--videos", videos, "--page", tmp_path / "p.html", "--limit", "1")
    assert Tags((tmp_path / "p.html").read_text()).tags.count("article") == 1


WRONG = [None, True, -1, 10**400, float("nan"), float("inf"), "", [], {}, [None], [[]], "a\0b", {"a": [1]}, [[1, 2]]]
FILES = [b"", b" \n", b"null", b"3", b"[3]", b"[{}]", b'{"a": 1}', b"[[[[", b"[" * 10_000, b"\xff\xfe[\0]\0",
         b"\0" * 50, b'{"id": 1, "id": 2}', b"a,b\n", b"video,start,end,caption\n\"", b"v" * 200_000,
         b"WEBVTT\n\n-->\n", b"1\n --> \n",
         b"\xff\n"]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.vtt", "x.srt"])
@pytest.mark.parametrize("content", FILES, ids=range(len(FILES)))
def test_no_file_is_a_surprise(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    assert annotate("check", tmp_path / name, "--page", tmp_path / "p.html") in (0, 2)


@pytest.mark.parametrize("base", [GOOD, QWEN, MESSAGES, json.loads(LAYOUTS["timelens.jsonl"][0]),
                                  json.loads(LAYOUTS["timelens.json"][0])["ladder"]], ids=range(5))
def test_no_value_of_a_field_is_a_surprise(tmp_path, videos, base):
    """What check lets pass, the reader takes; the own layout is read as it stands."""
    records = [base | {field: wrong} for field in base for wrong in WRONG]
    content = {str(k): record for k, record in enumerate(records)} if "spans" in base else records
    (tmp_path / "x.json").write_text(json.dumps(content))
    kind = ["--format", "samples"] if base is GOOD else []
    assert annotate("check", tmp_path / "x.json", *kind, "--videos", videos, "--page", tmp_path / "p.html") == 2
    main(["annotate", "convert", str(tmp_path / "x.json"), *kind, "--videos", str(videos), "--out",
          str(tmp_path / "o.jsonl")])
    if (tmp_path / "o.jsonl").exists():
        samples.read(tmp_path / "o.jsonl")


def test_lines_of_members_are_those_where_they_begin(tmp_path):
    (tmp_path / "a.json").write_text('\ufeff\n{ "a\\"b":\n{"x": "}\\n,"},\n\n  "c": {} }')
    assert list(entries(tmp_path / "a.json")) == [(2, 'a"b', {"x": "}\n,"}), (5, "c", {})]


@pytest.mark.parametrize(("written", "seconds"), [("7.5", 7.5), ("7,5", 7.5), ("01:02:07.500", 3727.5), ("2:03", 123.0),
                                                  (4, 4.0), ("7.5s", 7.5)])
def test_times_are_read_in_every_common_way(written, seconds):
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("written", ["", "soon", "-3", "1:2:3:4", "1:75", "0:09:500", "1:60:00",
                                     None, True, [1], float("inf"), 10**400])
def test_what_is_no_time_is_an_error(written):
    with pytest.raises(LabError):
        seconds_of(written)


def test_the_length_of_a_video_is_known_to_the_end_of_its_last_frame(videos):
    assert (length(videos / "ladder.mp4"), length(videos / "kitchen.mp4")) == (12.0, 20.0)


SCHEMA_CASES = [(field, value) for field in (*GOOD, "question_intervals", "options", "correct", "surprise")
                for value in (None, True, 1, -1, 1.5, "", "x", [], {}, ["x"], [0], [-1], [[1.0, 2.0]], [[1.0]], [1.5],
                              [{"start": 1, "end": 2}], [{"start": 1}], [{"start": 1, "end": 2, "x": 3}])]


@pytest.mark.parametrize(("field", "value"), SCHEMA_CASES, ids=[f"{f}-{json.dumps(v)}" for f, v in SCHEMA_CASES])
def test_the_schema_and_the_reader_agree_about_the_form_of_a_record(field, value):
    """Where only the reader refuses, fields do not fit each other, or a number is out of its range."""
    record = GOOD | {field: value}
    allowed = Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(record)
    try:
        from_record(record)
    except SampleError as error:
        assert not allowed or re.search("refers to event|question intervals|after the video|there are 0 options|leaves "
                                        "the video", str(error)), error
    else:
        assert allowed


def test_the_example_and_the_page_of_questions_hold_what_the_reader_takes(tmp_path):
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {*GOOD, "question_intervals", "options", "correct"}
    for _, record in ((sample.id, json.loads(line)) for sample, line in
                      zip(samples.read(EXAMPLE), EXAMPLE.read_text().splitlines())):
        Draft202012Validator(schema).validate(record)
    assert annotate("check", EXAMPLE) == 0
    shown = re.search(r"```json\n(.*?)```", (ROOT / "FAQ.md").read_text(), re.DOTALL)[1]
    assert annotate("check", written(tmp_path / "faq.jsonl", json.loads(shown))) == 0


def test_train_evaluate_and_make_preferences_take_what_was_converted(videos, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "videos").symlink_to(videos)
    file, out, bench = tmp_path / "a.csv", tmp_path / "own.jsonl", tmp_path / "data" / "etbench.json"
    file.write_text("video,start,end,caption\nladder,3,7.5,he climbs\nkitchen,8,14,she cuts bread\nkitchen,1,2,she\n")
    for place in (out, bench):
        assert annotate("convert", file, "--videos", videos, "--task", "both", "--out", place) == 0
    save(tiny_model(), tmp_path / "base")
    (tmp_path / "own.yaml").write_text("seed: 0\n")
    settings = {"parts.start": tmp_path / "base", "data.format": "samples", "data.train": out, "data.val": out,
                "data.videos": videos, "data.cache": "off", "method.semantic_layer": 1, "adapter.rank": 4,
                "training.steps": 2, "training.videos": 2, "training.eval_every": 2, "training.save_every": 2,
                "evaluation.samples": 1, "evaluation.tasks": "[tvg]", "evaluation.max_new_tokens": 6}
    words = [f"{name}={value}" for name, value in settings.items()]
    assert main(["train", str(tmp_path / "own.yaml"), *words, "--out", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["skipped"] == {} and "tvg_mIoU" in metrics["validation"]
    assert main(["make-preferences", str(out), "factors=[when]", "--out", str(tmp_path / "pairs.jsonl")]) == 0
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 5
    assert main(["evaluate", str(tmp_path / "run" / "model"), "world", "--data", str(tmp_path / "data"),
                 "--cache", "off", "--max-new-tokens", "6", "--out", str(tmp_path / "answers")]) == 0
    answers = (tmp_path / "answers" / "answers_0_of_1.jsonl").read_text().splitlines()
    assert len(answers) == 5 and not any("error" in json.loads(line) for line in answers)


@pytest.mark.parametrize("videos, problem", [(3, False), (True, False), ("ladder.mp4", False), (["other.mp4"], True)])
def test_a_conversation_names_one_video_whatever_else_stands_beside_it(tmp_path, capsys, videos, problem):
    answer = '[{"start": 1, "end": 2, "description": "he waves"}]'
    asked = {"video": "ladder.mp4", "videos": videos, "conversations": [{"from": "human", "value": "?", "content": 5},
                                                                        {"from": "gpt", "value": answer}]}
    assert annotate("check", written(tmp_path / "q.jsonl", asked)) < 3  # which would be an unexpected error
    assert ("no single video" in capsys.readouterr().out) is problem
