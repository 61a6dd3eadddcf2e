"""What is scored beside the intervals: captions, second mentions, rivals, losses on true answers."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from d2vlm_lab.config import read_config
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.data.splits import reader
from d2vlm_lab.data.video import VideoError
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.data.world.scene import Scene, SceneEvent, Thing
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event, GroundedAnswer, Reference, compose
from d2vlm_lab.judging.exam import examine, prefers, readable, spending, teacher_forced, write_exam
from d2vlm_lab.judging.mechanisms import mistakes
from d2vlm_lab.judging.predict import Prediction
from d2vlm_lab.judging.refusals import refusal_scores
from d2vlm_lab.judging.rivals import duels, rival_scores, role
from d2vlm_lab.judging.scores import boundary_errors, caption_scores, captions, grounding_scores, second_mentions
from d2vlm_lab.lab.annotate.draft import Captioned, described
from d2vlm_lab.lab.run import starting_model

EVENTS = (Event(1.0, 3.0, "the red disc spins"), Event(6.0, 8.0, "a blue square is moving left"))
SAMPLE = Sample("s", "v.mp4", 16.0, "dvc", "world", "describe every event and when it happens.", EVENTS,
                (0, ", the red disc spins. ", 1, ", a blue square is moving left."))


def said(answer: GroundedAnswer, sample: Sample = SAMPLE, digits: bool = False) -> Prediction:
    text = "".join(piece if isinstance(piece, str) else "<evi>" for piece in answer.pieces)
    return Prediction(sample, SimpleNamespace(answer=answer, text=text), digits)


@pytest.mark.parametrize("style", ["interleaved", "factorized", "coupled", "digits", "time_tokens"])
def test_the_true_answer_gets_full_marks_in_every_style(style):
    right = said(compose(EVENTS, SAMPLE.answer, style), digits=style == "digits")
    assert captions(right) == [event.caption for event in EVENTS]
    assert caption_scores([right]) == {"dvc_caption_F1": 1.0, "dvc_joint_F1@0.5": 1.0, "dvc_words_F1@0.5": 1.0}


@pytest.mark.parametrize("style", ["interleaved", "factorized", "coupled"])
@pytest.mark.parametrize("words", [("watch out!", "she sits"), ("is it on?", "It is."), ("Mr. Smith waves", "he sits")],
                         ids=str)
def test_a_caption_is_one_whatever_marks_are_in_it(words, style):
    captioned = [Captioned(start, start + 2, text, "") for start, text in zip((1.0, 6.0), words)]
    sample = replace(SAMPLE, events=tuple(Event(one.start, one.end, one.text) for one in captioned),
                     answer=tuple(described(captioned)))
    right = said(compose(sample.events, sample.answer, style), sample)
    assert caption_scores([right]) == {"dvc_caption_F1": 1.0, "dvc_joint_F1@0.5": 1.0, "dvc_words_F1@0.5": 1.0}
    other = said(compose(sample.events, [piece if piece == 0 else ", x." if isinstance(piece, str) else piece
                                         for piece in sample.answer], style), sample)
    assert caption_scores([other])["dvc_caption_F1"] == 0 and not mistakes([right])["mistakes_any"]
    first = words[0].strip("?!")
    longer = said(compose(sample.events, [piece.replace(first, f"{first} twice") if isinstance(piece, str) else piece
                                          for piece in sample.answer], style), sample)
    assert caption_scores([longer])["dvc_caption_F1"] <= 0.5, "a longer sentence is not the caption inside it"


def test_numbers_in_captions_are_words_where_evidence_tokens_say_when():
    events = (Event(0.0, 10.0, "add 2-3 eggs"), Event(12.0, 20.0, "pour 1.5 cups of milk"))
    recipe = replace(SAMPLE, events=events, answer=(0, " add 2-3 eggs. ", 1, " pour 1.5 cups of milk."))
    right = said(compose(events, recipe.answer), recipe)
    assert captions(right) == [event.caption for event in events]
    assert caption_scores([right])["dvc_joint_F1@0.5"] == grounding_scores([right], "dvc")["dvc_exact_text"] == 1
    people = GroundedAnswer(pieces=("No: only 2-3 people walk by.",))
    assert said(people).intervals == [] and said(people, digits=True).intervals == [(2, 3)]


def test_captions_count_apart_from_their_times():
    moved = (Event(10.0, 12.0), Event(6.0, 8.0))
    assert caption_scores([said(compose(moved, SAMPLE.answer))]) == {
        "dvc_caption_F1": 1.0, "dvc_joint_F1@0.5": 0.5, "dvc_words_F1@0.5": 0.5}
    swapped = (0, ", a blue square is moving left. ", 1, ", the red disc spins.")
    assert caption_scores([said(compose(EVENTS, swapped))]) == {
        "dvc_caption_F1": 1.0, "dvc_joint_F1@0.5": 0.0, "dvc_words_F1@0.5": 0.0}
    one = said(compose(EVENTS[:1], (0, ", the red disc spins.")))
    assert caption_scores([one]) == {"dvc_caption_F1": 0.6667, "dvc_joint_F1@0.5": 0.6667,
                                     "dvc_words_F1@0.5": 0.6667}


def test_nothing_said_is_nothing_found():
    assert caption_scores([said(GroundedAnswer())]) == {
        "dvc_caption_F1": 0.0, "dvc_joint_F1@0.5": 0.0, "dvc_words_F1@0.5": 0.0}


def test_second_mentions_are_scored_alone_and_against_the_first():
    twice = GroundedAnswer(((1.0, 3.0),), (Reference(0, (1.0, 2.0)), ", the red disc spins."), True)
    short = Sample("s", "v.mp4", 16.0, "tvg", "world", "when?", EVENTS[:1], ("In ", 0))
    assert second_mentions([said(twice, short)]) == {"second_F1@0.5": 1.0, "mentions_agree": 0.5, "second_drift": 0.5}
    assert second_mentions([said(compose(EVENTS, SAMPLE.answer, "coupled"))]) == {}


def test_refusing_is_scored_where_it_is_right_and_where_it_is_wrong():
    nothing = Sample("s", "v.mp4", 16.0, "tvg", "world", "when?", (), ("That does not happen.",))
    event = Sample("s", "v.mp4", 16.0, "tvg", "world", "when?", EVENTS[:1], ("In ", 0))
    silent, found = GroundedAnswer(pieces=("That does not happen.",)), GroundedAnswer(((1.0, 3.0),))
    about_nothing = [said(silent, nothing), said(silent, nothing), said(found, nothing), said(silent, nothing)]
    about_events = [said(found, event), said(silent, event), said(found, SAMPLE)]  # the last names no event
    assert refusal_scores(about_nothing, about_events) == {
        "refused": 0.75, "refused_wrongly": 0.5, "refusal_F1": round(1.5 / 2.25, 4)}
    assert refusal_scores([said(silent, nothing)], [said(found, event)]) == {
        "refused": 1.0, "refused_wrongly": 0.0, "refusal_F1": 1.0}
    assert refusal_scores([], about_events) == refusal_scores(about_nothing, []) == {}


def test_the_ends_of_what_was_found_are_compared_with_the_true_ones():
    event = Sample("s", "v.mp4", 16.0, "tvg", "world", "when?", EVENTS[:1], ("In ", 0))
    near, far = GroundedAnswer(((1.5, 3.0), (1.0, 2.0))), GroundedAnswer(((9.0, 12.0),))
    both = GroundedAnswer(((1.0, 3.0), (6.0, 9.0)))
    assert boundary_errors([said(near, event), said(far, event), said(both)]) == {
        "named_boundary_error": 0.25, "dvc_boundary_error": 0.25}
    assert boundary_errors([said(GroundedAnswer(), event)]) == {}


def test_an_event_is_inner_outer_crossing_or_alone():
    assert role((2, 4), []) == "alone"
    assert role((2, 4), [(1, 5)]) == "inner"
    assert role((1, 5), [(2, 4)]) == "outer"
    assert role((1, 4), [(3, 6)]) == "crossing"


def test_a_rival_captures_what_overlaps_it_more_than_the_asked_event():
    things = (Thing("red", "disc"), Thing("blue", "disc"))
    events = (SceneEvent(0, "spins", 2, 20), SceneEvent(1, "spins", 8, 12))
    scene = Scene("v.mp4", "val", 2.0, 32, 64, things, events)
    inner = Sample("s", "v.mp4", 16.0, "tvg", "world", "when?", (Event(4.0, 6.0),), ("In ", 0))
    lost, won = (said(GroundedAnswer((span,)), inner) for span in ((1.0, 10.0), (4.0, 6.0)))
    assert [(d.role, d.found, d.captured) for d in duels([lost, won], [scene])] == [
        ("inner", False, True), ("inner", True, False)]
    assert rival_scores([lost, won], [scene]) == {"inner_found": 0.5, "inner_questions": 2, "inner_captured": 0.5}


def test_a_world_without_overlaps_has_no_rivals():
    scene = Scene("v.mp4", "val", 2.0, 32, 64, (Thing("red", "disc"),), (SceneEvent(0, "spins", 2, 6),))
    alone = Sample("s", "v.mp4", 16.0, "tvg", "world", "when?", (Event(1.0, 3.0),), ("In ", 0))
    assert rival_scores([said(GroundedAnswer(((1.0, 3.0),)), alone)], [scene]) == {}


def test_a_checkpoint_is_examined_in_its_own_and_in_another_world(tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.splits.CACHE", str(tmp_path / "cache"))
    for name, nested in (("plain", 0.0), ("nested", 1.0)):
        make_world(tmp_path / name, WorldConfig(videos=20, nested=nested, events=(2, 2)), workers=1)
    config = read_config("tiny", [f"data.world={tmp_path}/plain", "evaluation.max_new_tokens=12",
                                  "data.world_settings=[videos=20, nested=0.0, 'events=[2, 2]']"])
    model = starting_model(config)
    with pytest.raises(LabError, match="elsewhere"):
        examine(model, config, 3, str(tmp_path / "elsewhere"))
    here, there = examine(model, config, 3), examine(model, config, 3, str(tmp_path / "nested"))
    assert {"named_F1@0.5", "dvc_caption_F1", "held_out_grounding", "spread"} <= set(here.scores)
    assert {"refused", "refused_wrongly", "refusal_F1"} <= set(here.scores)
    assert "inner_found" in there.scores and "inner_found" not in here.scores
    assert {p.sample.task for p in here.predictions} == {"tvg", "gvq", "dvc"}
    with spending() as spent:
        write_exam(here, tmp_path, {"more": 1.0})
    lines = [json.loads(row) for row in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == len(here.predictions) > 4
    assert json.loads((tmp_path / "metrics.json").read_text()) == here.scores | {"more": 1.0}
    assert spent["memory_mb"] > 10 and spent["seconds"] >= 0
    read = reader(config, model.frames, tmp_path / "plain" / "videos")
    again = teacher_forced(model, [p.sample for p in here.predictions], read)
    assert set(again) == {"held_out_answer", "held_out_grounding", "held_out_consistency", "spread", "read_at_0.5"}
    others = teacher_forced(model, [p.sample for p in here.predictions][::-1], read, at_once=4)
    assert others == pytest.approx(again, abs=2e-4)  # neither the size of a batch nor the order changes a score
    assert {f"prefers_{factor}" for factor in ("when", "which", "what", "how")} <= set(here.scores)
    true = [p.sample for p in here.predictions]
    jumbled = [replace(sample, id=f"{sample.id}!", answer=(" disc in no the happens left",) * 2) for sample in true]
    likelier = prefers(model, true, read, lambda sample: [(jumbled[true.index(sample)], "what")])
    other_way = prefers(model, jumbled, read, lambda sample: [(true[jumbled.index(sample)], "what")])
    assert likelier == {"prefers_what": 1.0} and other_way == {"prefers_what": 0.0}


@pytest.mark.parametrize("changes", [["method.formulation=softmax"], ["method.style=digits"]], ids=str)
def test_the_live_exam_leaves_out_standing_questions_where_none_can_stand(changes, tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.splits.CACHE", str(tmp_path / "cache"))
    make_world(tmp_path / "world", WorldConfig(videos=10, events=(1, 1)), workers=1)
    config = read_config("tiny", [f"data.world={tmp_path}/world", "evaluation.max_new_tokens=2", "evaluation.live=true",
                                  "method.frame_block=2", *changes])
    scores = examine(starting_model(config), config, 1).scores
    assert "during_F1@0.5" in scores and not any(name.startswith("live_") for name in scores)


def test_a_video_that_cannot_be_read_is_left_out_of_the_exam_and_named(capsys):
    def read(sample):
        if sample.video == "b.mp4":
            raise VideoError("b.mp4: the file is empty")

    samples = [Sample(str(n), f"{'abcb'[n]}.mp4", 9.0, "tvg", "s", "when?") for n in range(4)]
    assert [sample.id for sample in readable(samples, read)] == ["0", "2"]
    assert capsys.readouterr().out == "left out of the exam: b.mp4: the file is empty\n"
