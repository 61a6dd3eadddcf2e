"""The language of grounded answers: written, then read back, whatever a model makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2vlm_lab.ideas.evidence import END, EVIDENCE, Event, GroundedAnswer, Reference, compose, parse, render, write

EVENTS = [Event(1.0, 2.0), Event(3.0, 4.5)]
PIECES = ["First ", 0, ", then ", 1, "."]
words = st.text("abc ,.-()0123456789", max_size=12)
events = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)).map(lambda t: Event(*sorted(t))), max_size=4)


def test_the_styles_by_hand():
    assert write(compose(EVENTS, PIECES)) == "<evi><evi></evi> First <evi>, then <evi>."
    assert write(compose(EVENTS, PIECES, end_marker=False)) == "<evi><evi> First <evi>, then <evi>."
    assert write(compose(EVENTS, PIECES, "factorized")) == "<evi><evi></evi> First , then ."
    assert write(compose(EVENTS, PIECES, "coupled")) == "First <evi>, then <evi>."
    assert write(compose(EVENTS, PIECES, "digits")) == "First 1.0 - 2.0, then 3.0 - 4.5."
    assert write(compose([], ["(B)"])) == "(B)"


@given(events, st.data())
def test_parsing_what_was_written_gives_it_back_exactly(events, data):
    pieces = [piece for k in range(len(events)) for piece in (data.draw(words), k)] + [data.draw(words)]
    style = data.draw(st.sampled_from(["interleaved", "factorized"]))
    answer = compose(events, pieces, style)
    assert parse(write(answer), answer.intervals) == answer


@given(events.filter(bool), words.filter(lambda w: not w.startswith(EVIDENCE)))
def test_without_the_end_marker_the_grounded_run_is_read_back_too(events, text):
    answer = compose(events, [text, *range(len(events))], end_marker=False)
    assert parse(write(answer), answer.intervals) == answer


def test_a_coupled_answer_is_read_back_with_references_that_were_never_grounded():
    answer = compose(EVENTS, PIECES, "coupled")
    assert parse(write(answer), answer.intervals) == answer
    assert [ref.event for ref in answer.references] == [None, None]


def test_a_coupled_answer_that_opens_with_evidence_keeps_all_of_it_as_references():
    text, spans = "<evi>, it spins. <evi>, it blinks.", [(1.0, 2.0), (3.0, 4.0)]
    answer = parse(text, spans, "coupled")
    assert answer.grounded == () and [ref.interval for ref in answer.references] == spans
    assert {ref.event for ref in answer.references} == {None}
    assert render(answer) == "1.0 - 2.0, it spins. 3.0 - 4.0, it blinks."
    assert len(parse(text, spans).grounded) == 1


@pytest.mark.parametrize("text, grounded, references, closed", [
    ("", 0, [], False),
    ("   ", 0, [], False),
    (END, 0, [], True),
    (f"{EVIDENCE}{EVIDENCE}", 2, [], False),
    (f"{EVIDENCE}{END}", 1, [], True),
    (f"{EVIDENCE}{END} a {EVIDENCE} b {EVIDENCE}", 1, [0, None], True),
    (f"well {EVIDENCE}, {EVIDENCE}", 0, [None, None], False),
    (f"{EVIDENCE} noise {EVIDENCE}{END} a {EVIDENCE}", 2, [0], True),
    (f"{EVIDENCE}{END} a {END} b {EVIDENCE}", 1, [0], True),
    ("no evidence at all", 0, [], False),
])
def test_whatever_the_model_wrote_is_read(text, grounded, references, closed):
    intervals = [(float(i), i + 1.0) for i in range(text.count(EVIDENCE))]
    answer = parse(text, intervals)
    assert len(answer.grounded) == grounded
    assert [ref.event for ref in answer.references] == references
    assert answer.closed == closed
    assert list(answer.intervals) == intervals


def test_dropping_a_second_end_marker_never_joins_its_sides_into_an_evidence_token():
    answer = parse(f"{END}<ev{END}i>")
    assert answer.pieces == ("<ev", "i>") and answer.references == ()


@given(st.lists(st.sampled_from([EVIDENCE, END, " ", "word", "<ev", "i>"]), max_size=12))
def test_any_jumble_is_read_without_an_error_and_keeps_every_evidence_token(parts):
    text = "".join(parts)
    answer = parse(text)
    assert len(answer.intervals) == text.count(EVIDENCE)
    assert isinstance(render(answer), str)


def test_rendering_writes_seconds_and_keeps_the_delimiter():
    assert render(compose(EVENTS, PIECES)) == "1.0 - 2.0 3.0 - 4.5 </evi> First 1.0 - 2.0, then 3.0 - 4.5."
    assert render(GroundedAnswer((None,), (Reference(0),), True)) == "? - ? </evi> ? - ?"


def test_bad_answers_are_refused():
    with pytest.raises(ValueError, match="refers to event 2, but there are 2"):
        compose(EVENTS, ["x ", 2])
    with pytest.raises(ValueError, match="unknown answer style"):
        compose(EVENTS, PIECES, "loose")
    with pytest.raises(ValueError, match="literal evidence token"):
        write(compose(EVENTS, [f"look: {EVIDENCE}"]))
