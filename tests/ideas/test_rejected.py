"""Rejected answers: one thing wrong, nothing else, and never right by accident."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2vlm_lab.data.world.phrases import facts
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.clauses import cut, join
from d2vlm_lab.ideas.evidence import Event, compose, overlap, parse, write
from d2vlm_lab.ideas.rejected import FACTORS, KINDS, Recipe, Words, perturb, rejected_answers, wanted_kinds
from d2vlm_lab.judging.metrics.temporal import assign, temporal_iou

WORDS = Words(facts(["red", "blue", "green"], ["disc", "square"], ["spins", "moves left", "blinks"]))
SPINS, LEFT, BLINKS = (Event(1, 3, "the red disc spins"), Event(5, 7.5, "the blue square moves left"),
                       Event(10, 11, "the green disc blinks"))
DENSE = ((SPINS, LEFT, BLINKS), (0, ", the red disc spins. ", 1, ", the blue square moves left. ",
                                 2, ", the green disc blinks."))
LIST = ((SPINS, BLINKS), ("It happens in ", 0, ", ", 1, "."))
ONE = ((LEFT,), ("The moment is ", 0, "."))
WOVEN = ((SPINS, LEFT), ("In ", 0, " a person opens the door, then in ", 1, " sits down."))
ANSWERS = {"dense": DENSE, "list": LIST, "one": ONE, "woven": WOVEN}


def one(kind, answer=DENSE, seed=0, **recipe):
    for n in range(seed, seed + 30):
        if found := perturb(*answer, 16.0, kind, Recipe(**recipe), WORDS, Random(n)):
            return found
    return None


def text(rejected):
    return "".join(piece if isinstance(piece, str) else f"<{piece}>" for piece in rejected.answer)


@pytest.mark.parametrize("kind, wrong", [
    ("pace", "moves left quickly from the middle to the left side before the"),
    ("side", "moves left slowly from the middle to the right side before the"),
    ("relation", "moves left slowly from the middle to the left side after the"),
    ("sequence", None), ("number", None), ("level", None)])  # there is none in this caption
def test_what_long_captions_say_can_be_wrong_too(kind, wrong):
    said = "the blue square moves left slowly from the middle to the left side before the green disc spins"
    words = Words(facts(["blue", "green"], ["disc", "square"], ["moves left", "spins"], details=3))
    for seed in range(9):
        found = words(said, kind, Random(seed))
        assert found == (wrong and said.replace("moves left slowly from the middle to the left side before the", wrong))


def test_numbers_in_long_captions_keep_their_form_and_short_captions_have_no_such_kinds():
    words = Words(facts(["red"], ["disc"], ["spins"], details=1))
    turned = {words("it spins slowly by one quarter turn", "number", Random(n)) for n in range(99)}
    assert "it spins slowly by two quarter turns" in turned and len(turned) == 11
    assert words("it blinks two times at the top", "number", Random(0)).endswith(" at the top")
    assert {"pace", "number"} < set(words.kinds) and not {"side", "level", "relation"} & set(words.kinds)
    assert not {"pace", "number", "side"} & set(WORDS.kinds)


@pytest.mark.parametrize("kind", [*KINDS, "color", "object", "action"])
@pytest.mark.parametrize("seed", range(5))
def test_every_kind_applies_to_a_dense_answer_and_changes_its_own_factor_only(kind, seed):
    wrong = one(kind, seed=seed * 30)
    factor = KINDS[kind][0] if kind in KINDS else "what"
    assert (wrong.kind, wrong.factor) == (kind, factor)
    assert (wrong.events, wrong.answer) != DENSE
    same_times = [e.interval for e in wrong.events] == [e.interval for e in DENSE[0]]
    same_text = "".join(p for p in wrong.answer if isinstance(p, str)) == "".join(
        p for p in DENSE[1] if isinstance(p, str))
    assert same_times == (factor == "what" or kind == "repeat_text")
    assert same_text == (factor == "when")


@pytest.mark.parametrize("name", ANSWERS)
def test_both_mentions_of_every_event_survive_as_one_language(name):
    events, pieces = ANSWERS[name]
    found = rejected_answers(events, pieces, 16.0, Recipe(per_sample=40), WORDS, name)
    assert len(found) >= 8
    for wrong in found:
        answer = compose(wrong.events, wrong.answer)
        assert len(answer.grounded) == len(answer.references) == len(wrong.events)
        assert sorted(reference.event for reference in answer.references) == [*range(len(wrong.events))]
        assert parse(write(answer), answer.intervals) == answer
        for reference in answer.references:
            assert reference.interval == answer.grounded[reference.event]


def test_deletions_by_hand():
    events, pieces = DENSE
    found = {one("delete", seed=n * 7).event: one("delete", seed=n * 7) for n in range(12)}
    assert text(found[0]) == "<0>, the blue square moves left. <1>, the green disc blinks."
    assert text(found[2]) == "<0>, the red disc spins. <1>, the blue square moves left."
    assert found[1].events == (SPINS, BLINKS)
    shorter = {text(one("delete", LIST, seed=n)) for n in range(12)}
    assert shorter == {"It happens in <0>."}
    woven = {text(one("delete", WOVEN, seed=n)) for n in range(12)}
    assert woven == {"then in <0> sits down.", "In <0> a person opens the door."}


def test_deleting_one_of_two_events_that_stand_side_by_side_keeps_the_mention_of_the_other():
    assert {text(one("delete", ((SPINS, BLINKS), ("See ", 0, 1, ".")), seed=n)) for n in range(12)} == {"See <0>."}


def test_merging_spans_both_neighbours_and_tells_one_of_them():
    wrong = one("merge")
    assert len(wrong.events) == 2
    k = wrong.event
    assert wrong.events[k].interval == (DENSE[0][k].start, DENSE[0][k + 1].end)


def test_an_added_event_lies_where_nothing_happens_and_says_what_is_not_said():
    for seed in range(20):
        wrong = one("add", seed=seed * 30)
        new = [event for event in wrong.events if event not in DENSE[0]]
        assert len(new) == 1 and all(overlap(new[0].interval, event.interval) == 0 for event in DENSE[0])
        assert new[0].caption not in [event.caption for event in DENSE[0]]
        assert wrong.events == tuple(sorted(wrong.events, key=lambda event: event.start))
    assert text(one("add", LIST)).count(", <") == 2


def test_an_exchange_needs_words_that_tell_the_events_apart():
    assert one("swap", LIST) is None and one("order", LIST) is None
    wrong = one("swap")
    assert sorted(e.interval for e in wrong.events) == sorted(e.interval for e in DENSE[0])


def test_a_fact_is_replaced_in_its_own_form():
    words = Words({"action": [("opens", "opening"), ("shuts", "shutting")]})
    assert words("a door is opening. Opens it", "action", Random(0)) == "a door is shutting. Shuts it"
    assert words("a reopening", "action", Random(0)) is None
    assert Words({"color": ["red"]})("red", "color", Random(0)) is None


def test_a_callable_may_distort_and_must_keep_the_place_of_the_event():
    def shout(text, kind, rng):
        return text.upper() if kind == "object" else None

    assert perturb(*ONE, 16.0, "object", Recipe(), shout).answer == ("THE MOMENT IS ", 0, ".")
    with pytest.raises(LabError, match="keep the place"):
        perturb(*ONE, 16.0, "object", Recipe(), lambda *_: "gone")


def test_an_overlap_is_the_one_that_scorers_use():
    spans = [event.interval for event in (*DENSE[0], Event(2, 6), Event(3, 3))]
    for a in spans:
        assert [overlap(a, b) for b in spans] == pytest.approx(temporal_iou([a], spans)[0].tolist())


spans = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda pair: (pair[0] / 2, (pair[0] + pair[1]) / 2))


@given(st.lists(spans, min_size=1, max_size=4), st.integers(0, 10 ** 6), st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=150)
def test_no_rejected_answer_is_right_and_no_wrong_interval_is_within_tolerance(times, seed, tolerance):
    times = sorted(set(times))
    events = tuple(Event(*span, f"thing {k} spins") for k, span in enumerate(times))
    pieces = tuple(piece for k in range(len(times)) for piece in (k, f", thing {k} spins. "))
    recipe = Recipe(per_sample=12, tolerance=tolerance, seed=seed)
    for wrong in rejected_answers(events, pieces, 32.0, recipe, WORDS, "s"):
        assert (wrong.events, wrong.answer) != (events, join(cut(pieces)))
        assert all(0 <= e.start <= e.end <= 32.0 for e in wrong.events)
        if wrong.kind in ("shift", "resize"):
            moved = [e.interval for e, old in zip(wrong.events, events) if e != old]
            assert len(moved) == 1 and temporal_iou(moved, times).max() < tolerance
        if wrong.factor == "which" or wrong.kind in ("shift", "resize", "repeat_event"):
            matched = len(assign(temporal_iou([e.interval for e in wrong.events], times), tolerance))
            assert matched < max(len(wrong.events), len(times))


def test_the_same_seed_and_name_give_the_same_answers_and_others_do_not():
    def made(seed, name):
        return rejected_answers(*DENSE, 16.0, Recipe(per_sample=6, seed=seed), WORDS, name)

    assert made(0, "a") == made(0, "a")
    assert made(0, "a") != made(1, "a") and made(0, "a") != made(0, "b")


def test_several_answers_are_all_different_and_go_through_the_factors_in_turn():
    found = rejected_answers(*DENSE, 16.0, Recipe(per_sample=8), WORDS, "x")
    assert len({(w.events, w.answer) for w in found}) == 8
    assert {factor: [w.factor for w in found].count(factor) for factor in FACTORS} == dict.fromkeys(FACTORS, 2)


def test_factors_kinds_and_strengths_are_chosen():
    found = rejected_answers(*ONE, 30.0, Recipe(per_sample=9, factors=("when",), kinds=("shift",), shift=(2.0,)), WORDS)
    assert {event.interval for wrong in found for event in wrong.events} == {(0.0, 2.5), (10.0, 12.5)}
    assert {wrong.strength for wrong in found} == {2.0}
    assert wanted_kinds(Recipe(kinds=("color", "order")), "what", WORDS) == ["order", "color"]


def test_an_answer_without_events_is_an_error_that_names_the_sample():
    with pytest.raises(LabError, match="sample q7: .*no events"):
        rejected_answers((), ("never",), 9.0, Recipe(), WORDS, "q7")


def test_where_there_is_no_room_there_is_no_wrong_answer():
    whole = (Event(0, 16.0),)
    recipe = Recipe(per_sample=9, factors=("when", "which"), resize=(0.6,), grid=0)
    assert rejected_answers(whole, ("All of ", 0, "."), 16.0, recipe) == []
