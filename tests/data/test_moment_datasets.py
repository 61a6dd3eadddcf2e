"""The annotations of TimeLens and of QVHighlights become samples, for scoring and for training."""

import json

import pytest
from benchmark_files import TIMELENS, WINDOWS, save

from d2vlm_lab.data.datasets import qvhighlights, timelens
from d2vlm_lab.data.sample import SampleError
from d2vlm_lab.ideas.evidence import Event, compose, render

LINE = {"source": "queryd", "video_path": "queryd/a.mp4", "duration": 40.0,
        "events": [{"query": "a dog runs.", "span": [[3.0, 7.5]]}, {"query": "it barks", "span": [8, 9.5]},
                   {"query": "it sits", "span": [[10, 12], [20, 22]]}]}


def answered(sample):
    return render(compose(sample.events, sample.answer))


def test_a_query_of_timelens_bench_is_asked_in_the_published_words(tmp_path):
    path = save(tmp_path / "charades-timelens.json", TIMELENS)
    first, second = timelens.read(path)
    assert (first.id, first.video, first.duration, first.task, first.source) == (
        "0", "3MSZA.mp4", 30.96, "tvg", "charades-timelens")
    assert "described by the sentence 'A person turns on the light', determining" in first.question
    assert second.events == (Event(0.0, 5.5, "the person opens a door"),)
    assert answered(first) == "24.3 - 30.4 </evi> The event happens in 24.3 - 30.4 seconds."
    assert timelens.predictions(path, [first, second])[1]["tgt"] == [0.0, 5.5]


def test_an_event_of_timelens_100k_has_one_span_or_several(tmp_path):
    first, second, third = timelens.read(save(tmp_path / "timelens-100k.jsonl", json.dumps(LINE) + "\n"))
    assert [s.task for s in (first, second, third)] == ["tvg", "tvg", "tal"] and first.video == "queryd/a.mp4"
    assert second.events == (Event(8, 9.5, "it barks"),)
    assert answered(third).endswith("</evi> The event happens in 10.0 - 12.0, 20.0 - 22.0 seconds.")


def test_a_line_of_qvhighlights_asks_for_all_its_windows(tmp_path):
    path = save(tmp_path / "val.jsonl", json.dumps(WINDOWS) + "\n")
    sample, = qvhighlights.read(path)
    assert (sample.id, sample.video, sample.task) == ("8737", "bP5KfdFJzC4_660.0_810.0.mp4", "tal")
    assert [event.interval for event in sample.events] == [(0, 16), (40, 52)]
    assert answered(sample) == "0.0 - 16.0 40.0 - 52.0 </evi> It happens in 0.0 - 16.0, 40.0 - 52.0."
    record, = qvhighlights.predictions(path, [sample])
    assert record["idx"] == 8737 and record["tgt"] == [[0, 16], [40, 52]]


@pytest.mark.parametrize("change, message", [
    ({"spans": [[1, 2]]}, "spans and queries of equal number"), ({"spans": [[1], [2, 3]]}, r"span is a list: \[1\]"),
    ({"queries": ["", "b"]}, "query is ''"), ({"duration": None}, "duration is null"), ({"spans": 3}, "equal number")])
def test_a_bad_video_of_timelens_is_named(change, message, tmp_path):
    path = save(tmp_path / "charades-timelens.json", {**TIMELENS, "AAA": {**TIMELENS["3MSZA"], **change}})
    with pytest.raises(SampleError, match=message) as error:
        timelens.read(path)
    assert 'charades-timelens.json, sample 2 ("AAA' in str(error.value)


@pytest.mark.parametrize("change, message", [
    ({"relevant_windows": []}, "at least one"), ({"relevant_windows": [[1]]}, "window 1 is"), ({"qid": "x"}, "qid is"),
    ({"vid": "../a"}, "leaves the video folder"), ({"relevant_windows": [[5, 2]]}, "event 1 starts at 5")])
def test_a_bad_line_of_qvhighlights_is_named(change, message, tmp_path):
    path = save(tmp_path / "val.jsonl", json.dumps({**WINDOWS, **change}))
    with pytest.raises(SampleError, match=message) as error:
        qvhighlights.read(path)
    assert "val.jsonl, sample " in str(error.value)


def test_the_test_split_of_qvhighlights_is_refused_with_the_reason(tmp_path):
    record = {name: value for name, value in WINDOWS.items() if name != "relevant_windows"}
    with pytest.raises(SampleError, match="the test split has none, so use the validation split"):
        qvhighlights.read(save(tmp_path / "test.jsonl", json.dumps(record)))


def test_bad_records_are_left_out_of_training_and_reported(tmp_path):
    lines = [LINE, {**LINE, "events": 3}, {**LINE, "events": [{"query": "no span"}]}]
    path = save(tmp_path / "t.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    bad = []
    assert len(timelens.read(path, on_bad=lambda place, why: bad.append(why))) == 3
    assert len(bad) == 2 and "events is 3" in bad[0] and "'span' is missing" in bad[1]
