"""What is wrong with an annotation file is one line that names file, sample and field, in every format."""

import json
import os

import pytest

from d2vlm_lab.data.datasets import fpo_annotations
from d2vlm_lab.data.datasets.formats import ADAPTERS, TRAINING
from d2vlm_lab.data.datasets.records import read_records
from d2vlm_lab.data.pairs import read_preferences
from d2vlm_lab.data.sample import LONGEST, SampleError
from d2vlm_lab.errors import LabError

EVENTS = [{"start": 1.0, "end": 2.0, "caption": "x"}, {"start": 3.0, "end": 4.0}]
COMMON = {"task": "tvg", "source": "s", "video": "v.mp4", "duration": 20.0}
SAMPLE = {"id": "a", **COMMON, "question": "when?", "events": EVENTS, "answer": ["at ", 0, " and ", 1]}
TURNS = [{"from": "human", "value": "when?"}, {"from": "gpt", "value": "<evi></evi> In <evi>."}]
GOOD = {
    "et_instruct.json": [{"id": "a", **COMMON, "tgt": [3, 4], "conversations": TURNS}],
    "samples.json": [SAMPLE],
    "charades_sta.json": {"annotations": [{"id": 1, "image_id": "v.mp4", "timestamp": [1.0, 2.0], "caption": "opens",
                                           "duration": 20.0}]},
    "youcook2.json": {"annotations": [{"id": 1, "image_id": "v.mp4", "segments": [[1, 2], [3, 4]],
                                       "pure_cap": "cut it. fry it.", "duration": 20.0}]},
    "timelens.json": {"v": {"duration": 20.0, "spans": [[1.0, 2.0]], "queries": ["opens"]}},
    "qvhighlights.json": [{"qid": 1, "query": "opens", "duration": 20, "vid": "v", "relevant_windows": [[1, 2]]}],
    "et_bench.json": [{"idx": 0, **COMMON, "tgt": [1.0, 2.0], "q": "when?"}],
    "action_sequence.json": [{"video": "v.mp4", "question": "q?", "candidates": ["a", "b"], "answer": "a",
                              "start": 1.0, "end": 2.0}],
    "video_mme.json": [{"video_id": "1", "duration": "short", "domain": "d", "sub_category": "s", "question_id": "1-1",
                        "task_type": "t", "question": "q", "answer": "A", "videoID": "x",
                        "options": ["A. a", "B. b", "C. c", "D. d"]}],
    "pairs.jsonl": {"chosen": SAMPLE, "rejected": [{"events": EVENTS[:1], "answer": ["at ", 0], "kind": "k",
                                                    "factor": "which"}]},
    "fpo.json": [{"id": "a", **COMMON, "tgt": {"chosen": [1, 2], "a_b_f": [3, 4]},
                  "conversations": {"chosen": TURNS, "a_b_f": TURNS}}]}
READ = {"pairs.jsonl": lambda path: list(read_preferences(path)),
        "fpo.json": lambda path: list(fpo_annotations.read(path)), "action_sequence.json": ADAPTERS["mvbench"].read,
        **{f"{name}.json": adapter.read for name, adapter in ADAPTERS.items()}}
WRONG = [None, True, -1, 10**400, float("nan"), "", [], {}, [None], [[]], "a\0b", "z" * 100_000]
FILES = [b"", b" \n", b"null", b"[3]", b"[{}]", b'{"a": 1}', b"[[[[", b"[" * 100_000, b'[{"a":' * 50_000,
         b"\xff\xfe[\0]\0", b'[{"id": "\xff"}]', b'[{"id": ' + b"9" * 5000 + b"}]", b"\0" * 50, b'[{"id": 1, "id": 2}]']


def inside(value, path=()):
    """The paths to all values in a value, itself included."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from inside(value[key], (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = new
    return copy


def one_line(path, read):
    """The message of the error; empty where there is none."""
    try:
        read(path)
    except LabError as error:
        assert path.name in str(error) and "\n" not in str(error) and len(str(error)) < 700
        return str(error)
    return ""


@pytest.mark.parametrize("name", GOOD)
def test_whatever_stands_in_a_field_is_accepted_or_named(tmp_path, name):
    path, refused = tmp_path / name, 0
    for place in inside(GOOD[name]):
        for new in WRONG:
            path.write_text(json.dumps(changed(GOOD[name], place, new)))
            refused += bool(one_line(path, READ[name]))
            adapter = name.removesuffix(".json")
            if adapter in TRAINING and place[1:]:
                ADAPTERS[adapter].read(path, on_bad=lambda where, why: None)
    assert refused > 60


@pytest.mark.parametrize("name", GOOD)
def test_what_is_no_annotation_file_is_named_and_not_waited_for(tmp_path, name):
    path = tmp_path / name
    for content in FILES:
        path.write_bytes(content)
        assert one_line(path, READ[name]), content[:20]
    path.unlink()
    os.mkfifo(path)
    assert "found a pipe" in one_line(path, READ[name])
    path.unlink()
    path.symlink_to("nowhere")
    assert one_line(path, READ[name])


@pytest.mark.parametrize("name", GOOD)
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, name):
    for mark in ("", "\ufeff"):
        (tmp_path / name).write_text(mark + json.dumps(GOOD[name]), encoding="utf-8")
        assert READ[name](tmp_path / name)
    (tmp_path / "test.txt").write_text("\ufeffAB3 1 2##opens a door\n", encoding="utf-8")
    assert ADAPTERS["charades_sta"].read(tmp_path / "test.txt")[0].video == "AB3.mp4"


def test_a_record_may_be_large_but_not_endless(tmp_path, monkeypatch):
    path = tmp_path / "samples.json"
    path.write_text(json.dumps([SAMPLE | {"question": "when? " * LONGEST}]))
    assert f"question has {6 * LONGEST:,} characters" in one_line(path, READ["samples.json"])
    monkeypatch.setattr("d2vlm_lab.reader.LINE", 1 << 21)
    path.write_text(json.dumps([SAMPLE | {"question": "x" * (1 << 23)}]))
    assert "sample 0: longer than 2 MB" in one_line(path, READ["samples.json"])


def test_bad_records_among_good_ones_are_reported_and_left_out(tmp_path):
    path, bad = tmp_path / "samples.jsonl", []
    path.write_text("\n".join([json.dumps(SAMPLE), json.dumps(SAMPLE | {"events": [{"start": None, "end": 2}]}), "{,",
                               json.dumps(SAMPLE | {"duration": 10**400}), '{"a":' + "[" * 99, json.dumps(SAMPLE)]))
    assert len(ADAPTERS["samples"].read(path, on_bad=lambda where, why: bad.append(why))) == 2
    assert len(bad) == 4 and "events[0].start: expected a number, found null" in bad[0]
    with pytest.raises(SampleError, match="sample 1"):
        ADAPTERS["samples"].read(path)


def test_a_bad_line_is_named_for_what_it_is_and_nothing_is_read_ahead_for_it(tmp_path, monkeypatch):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"id": 1, "video": "a.mp4",}\n' + (json.dumps(SAMPLE | {"question": "x" * 1000}) + "\n") * 3000)
    monkeypatch.setattr("d2vlm_lab.reader.LINE", 1 << 21)
    with pytest.raises(SampleError, match="sample 0: not readable as JSON"):
        next(read_records(path))
    assert sum(isinstance(record, dict) for record in read_records(path, go_on=True)) == 3000


@pytest.mark.parametrize("form", ["[{}, {}]", "[{},\n{}]", "[{},\n{}\n]\n", "{}\n{}", "{}\n{}\n"])
def test_a_bad_record_is_reported_at_the_end_of_a_file_as_anywhere_else(form, tmp_path):
    path, bad = tmp_path / "samples.json", []
    path.write_text(form.replace("{}", "%s") % (json.dumps(SAMPLE), '{"id": 1, "video": ' + "x" * 40 + "}"))
    assert len(ADAPTERS["samples"].read(path, on_bad=lambda where, why: bad.append(why))) == len(bad) == 1
    assert "sample 1: not readable as JSON" in bad[0]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_records_are_the_same_however_many_characters_are_read_at_a_time(size, tmp_path, monkeypatch):
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(['{"a": "\\ud83d\\ude00", "b": [-1.5e-7, true, -Infinity]}', "{," + "x" * 99,
                               '{"a": tru}', '{"a": "no end}', '{"a": 1}']))
    monkeypatch.setattr("d2vlm_lab.data.datasets.records.CHUNK", size)
    assert [type(record) for record in read_records(path, go_on=True)] == [dict, *[SampleError] * 3, dict]


def test_words_between_a_time_and_its_caption_take_no_time_to_read(tmp_path):
    record = {"id": "a", **COMMON, "tgt": [1, 2], "conversations": [
        TURNS[0], {"from": "gpt", "value": "<evi></evi> <evi>" + " " * (LONGEST - 9) + "x"}]}
    (tmp_path / "et_instruct.json").write_text(json.dumps([record] * 20))
    assert not one_line(tmp_path / "et_instruct.json", READ["et_instruct.json"])
