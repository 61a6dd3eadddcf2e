"""The one schema: validated, written and read back exactly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2vlm_lab.data.sample import Sample, SampleError, from_record, to_record, validate
from d2vlm_lab.files import atomic_path, unsafe_path
from d2vlm_lab.ideas.evidence import Event


def sample(**changes):
    return Sample(**{"id": "17", "video": "cooking/ab3.mp4", "duration": 81.3, "task": "tvg", "source": "kitchen",
                     "question": "when is it cut?", "events": (Event(3.0, 9.5, "she cuts bread"),),
                     "answer": ("In ", 0, ".")} | changes)


NO_NUL = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
seconds = st.floats(0, 60).map(lambda x: round(x, 3))
spans = st.tuples(seconds, seconds).map(sorted).map(tuple)
samples = st.builds(
    lambda events, asked, options: sample(
        events=tuple(Event(*span, caption, n % 2) for n, (span, caption) in enumerate(events)),
        answer=tuple(piece for k in range(len(events)) for piece in ("so ", k)),
        question="<evi> " * len(asked) + "what?", question_intervals=tuple(asked),
        options=tuple(options), correct=0 if options else None),
    st.lists(st.tuples(spans, st.text(NO_NUL, max_size=9)), max_size=3), st.lists(spans, max_size=2),
    st.lists(st.one_of(st.text(NO_NUL, min_size=1, max_size=5), spans), max_size=4))


@given(samples)
def test_what_was_written_is_read_back_exactly(one):
    assert from_record(json.loads(json.dumps(to_record(one)))) == one


@pytest.mark.parametrize("changes, message", [
    ({"events": (Event(1, 94.0),)}, 'event 1 ends at 94.0 s, after the video\'s end at 81.3 s'),
    ({"events": (Event(9, 3),)}, "event 1 starts at 9 s, after its end at 3 s"),
    ({"events": (Event(-2, 3),)}, "event 1 starts at -2 s, before the video"),
    ({"events": (Event(float("nan"), 3),)}, "event 1 is .* both ends must be finite"),
    ({"duration": 0.0}, "duration is 0.0"),
    ({"video": "../secret.mp4"}, "leaves the video folder"),
    ({"question_intervals": ((1, 2),)}, "question has 0 <evi> but there are 1 question intervals"),
    ({"answer": ("In ", 1)}, "answer refers to event 2, but there are 1 events"),
    ({"answer": ("In <evi>",)}, "literal <evi>"),
    ({"answer": ("</evi> In ", 0)}, "literal </evi>"),
    ({"video": "."}, "leaves the video folder"),
    ({"options": ("a", "b"), "correct": 2}, "correct option is 2, but there are 2 options"),
])
def test_what_is_wrong_is_said_with_file_sample_and_field(changes, message):
    with pytest.raises(SampleError, match=message) as error:
        validate(sample(**changes), "annotations.json")
    assert str(error.value).startswith('annotations.json, sample 17 ("')


def test_ends_may_pass_the_video_by_half_a_frame_and_no_more():
    validate(sample(events=(Event(0, 81.75),)))
    with pytest.raises(SampleError):
        validate(sample(events=(Event(0, 81.75),)), half_frame=0.25)


@pytest.mark.parametrize("record, message", [
    ([1], "line 1: expected an object"),
    ({"id": 1}, "line 1: field 'video' is missing"),
    ({"id": 1, "vido": "x"}, "line 1: unknown field 'vido'"),
    ({"id": 1, "video": "a.mp4", "duration": 3, "task": "tvg", "source": "s", "question": "q",
      "events": [{"start": 1}]}, "line 1: sample 1"),
])
def test_a_bad_record_is_named(record, message):
    with pytest.raises(SampleError, match=message):
        from_record(record, "a.jsonl, line 1")


@pytest.mark.parametrize("path, unsafe", [("a/b.mp4", False), ("b.mp4", False), ("../b.mp4", True), ("a/../../b", True),
                                          ("/etc/passwd", True), ("C:\\x", True), ("a\\..\\..\\b", True), ("", True),
                                          (".", True), ("./", True)])
def test_paths_that_leave_their_folder_are_found(path, unsafe):
    assert unsafe_path(path) is unsafe


def test_a_file_appears_only_when_complete(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "out.txt") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with atomic_path(tmp_path / "out.txt") as partial:
        partial.write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
