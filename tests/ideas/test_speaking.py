"""When to speak: what was closed is never lost, and nothing is looked up ahead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2vlm_lab.ideas.speaking import Head, Rule, Speaker, closed_events, end, fit_head, fit_rule, found, speak, step

VALUES = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.2, 0.35, 0.4, 0.6, 0.9, 1.0]))
CURVES = st.lists(VALUES, max_size=40)


@st.composite
def rules(draw):
    low, high = sorted(draw(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95))))
    head = draw(st.none() | st.builds(Head, st.tuples(*[st.floats(-3, 6)] * 3), st.floats(-3, 1)))
    return Rule(high, low, draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 4)), head)


def said(curve, rule=None, ended=True):
    return [(frame, change.kind, change.span.first, change.span.last) for frame, change in speak(curve, rule, ended)]


def test_the_example_of_the_page():
    assert said([.1, .2, .4, .8, .9, .5, .7, .2, .1, .1], Rule(0.6, 0.35)) == [
        (3, "opened", 2, 3), (4, "extended", 2, 4), (5, "extended", 2, 5), (6, "extended", 2, 6), (8, "closed", 2, 6)]


def test_a_short_event_is_withdrawn_and_one_that_goes_on_after_a_pause_is_revised():
    assert said([0, .9, 0, 0]) == [(1, "opened", 1, 1), (3, "withdrawn", 1, 1)]
    rule = Rule(bridge=3)
    assert said([.9, .9, 0, 0, .9, .9, 0, 0], rule)[2:] == [
        (3, "closed", 0, 1), (4, "revised", 0, 4), (5, "extended", 0, 5), (7, "closed", 0, 5)]
    assert closed_events([.9, .9, 0, 0, .9, .9, 0, 0], rule) == [(0, 5)]
    assert closed_events([.9, .9, 0, 0, .9, .9, 0, 0]) == [(0, 1), (4, 5)]


def test_an_event_that_is_open_at_the_end_is_closed_there():
    assert said([0, .9, .9]) == [(1, "opened", 1, 1), (2, "extended", 1, 2), (2, "closed", 1, 2)]
    assert said([0, .9, .9], ended=False) == [(1, "opened", 1, 1), (2, "extended", 1, 2)]


@given(CURVES, rules(), st.data())
def test_what_is_said_about_the_beginning_of_a_curve_does_not_depend_on_the_rest(curve, rule, data):
    n = data.draw(st.integers(0, len(curve)))
    whole = list(speak(curve, rule))
    assert list(speak(curve[:n], rule, ended=False)) == [each for each in speak(curve, rule, False) if each[0] < n]
    for _, change in speak(curve[:n], rule, ended=False):
        if change.kind == "closed":
            later = [other.span for _, other in whole if other.span.number == change.span.number]
            assert later[-1].first == change.span.first and later[-1].last >= change.span.last
            assert [other.kind for _, other in whole if other.span.number == change.span.number][-1] == "closed"


@given(CURVES, rules())
def test_the_changes_of_an_event_follow_each_other_and_tell_the_truth(curve, rule):
    known = {}
    for frame, change in speak(curve, rule):
        kind, span = known.get(change.span.number, (None, None))
        assert kind in {"opened": [None], "revised": ["closed"]}.get(change.kind, ["opened", "extended", "revised"])
        assert 0 <= change.span.first <= change.span.last <= frame
        assert 0 <= change.span.confidence <= 1 + 1e-9
        if span is not None:
            assert change.span.first == span.first and change.span.last >= span.last
        if change.kind in ("closed", "withdrawn"):
            assert (change.span.last + 1 - change.span.first >= rule.least) is (change.kind == "closed")
        known[change.span.number] = change.kind, change.span
    assert all(kind in ("closed", "withdrawn") for kind, _ in known.values())
    spans = sorted((span.first, span.last) for _, span in known.values())
    assert all(first > last for (_, last), (first, _) in zip(spans, spans[1:])), "events do not overlap"


@given(CURVES, rules())
def test_the_memory_of_a_speaker_does_not_grow(curve, rule):
    speaker = Speaker()
    for value in curve:
        speaker, _ = step(speaker, value, rule)
        assert len(speaker.quiet) < rule.patience and len(speaker.newest) <= 3
    assert end(end(speaker, rule)[0], rule)[1] is None


@given(CURVES)
def test_with_one_threshold_and_no_patience_the_events_are_the_runs_above_it(curve):
    runs = [k for k, value in enumerate(curve) if value >= 0.5]
    events = closed_events(curve, Rule(0.5, 0.5, patience=1, least=1))
    assert sorted(k for first, last in events for k in range(first, last + 1)) == runs


@pytest.mark.parametrize("wrong", [{"close_at": 0.8}, {"close_at": 0.0}, {"patience": 0}, {"least": 0}, {"bridge": -1}])
def test_an_impossible_rule_is_refused(wrong):
    with pytest.raises(ValueError, match="impossible"):
        Rule(**wrong)


def test_the_thresholds_are_fitted():
    curves = [[.05, .1, .3, .3, .3, .1, .05, .05], [.05, .2, .2, .05, .05, .3, .3, .3]]
    events = [[(2, 4)], [(5, 7)]]
    assert found(curves, events, Rule()) == 0
    fitted = fit_rule(curves, events)
    assert found(curves, events, fitted) == 1 and 0.2 < fitted.open_at <= 0.3


def test_a_head_learns_to_overlook_what_flickers():
    flicker, event = [0, 1, 0, 0, 1, 0, 0, 0, 1, 0], [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    curves, events = [flicker, event] * 4, [[], [(2, 6)]] * 4
    rule = Rule(0.5, 0.5, 1, 1)
    head = fit_head(curves, events, width=3)
    assert len(closed_events(flicker, rule)) == 3
    with_head = Rule(0.5, 0.5, 1, 1, head=head)
    assert closed_events(flicker, with_head) == []
    (first, last), = closed_events(event, with_head)
    assert first in (2, 3) and last in (6, 7)
