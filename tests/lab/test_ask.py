"""A checkpoint, a video, a question: the answer, its evidence, and what a reader should know of both."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2vlm_lab.data.batch import Clip, encode_prompt
from d2vlm_lab.data.pruning import prune
from d2vlm_lab.data.sample import SampleError
from d2vlm_lab.data.video import VideoError
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world import load as load_world
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event, parse
from d2vlm_lab.judging.predict import Prediction
from d2vlm_lab.lab import ask as lab
from d2vlm_lab.lab.show.card import card_html, text_pieces
from d2vlm_lab.model.card import model_card
from d2vlm_lab.model.decoding import Evidence, Generated, generate
from d2vlm_lab.settings import override

ROOT = Path(__file__).parents[2]
BASE = ROOT / "data" / "base" / "small"
IMPORTED = Path(__file__).parents[1] / "golden" / "checkpoint"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    config = override(WorldConfig(), {"videos": 10})
    world = load_world(make_world(tmp_path_factory.mktemp("lab") / "world", config, workers=1))
    return world.video_path(world.truth("train")[0])


@pytest.fixture(scope="module")
def watched(video):
    return lab.load(BASE).watch(video)


def grounded_answer(watched, text="<evi><evi></evi> In <evi> it <spins> & in <evi>.", confirmed=True, digits=False):
    """What a trained model would have said, so that evidence has something to be drawn from."""
    spans = [(2, 5), (8, 12), (2, 5), (8, 12)]
    curves = [np.where((np.arange(32) >= a) & (np.arange(32) <= b), 0.9, 0.1) for a, b in spans]
    evidence = tuple(Evidence((a / 2, b / 2), (a, b), curve, 0.9) for (a, b), curve in zip(spans, curves))
    answer = parse(text, [e.interval for e in evidence])
    said = Generated(text, answer, evidence, (), confirmed)
    return lab.Answer(watched, Prediction(watched.sample("when?"), said, digits), "")


def grounding(model):
    model.can_ground = True
    return model


def test_an_answer_is_what_the_model_generates_for_the_question(watched):
    answer = watched.ask("what happens here?")
    model = watched.lab.model
    prompt = encode_prompt("what happens here?", (), watched.clip, model.tokenizer, model.prompt)
    assert answer.written == generate(model, [watched.clip], [[prompt]])[0].text
    assert answer.question == "what happens here?"


def test_a_video_is_read_at_the_rate_of_the_checkpoint_or_at_a_given_one(video):
    assert np.allclose(np.diff(lab.load(BASE).watch(video).timestamps), 0.5)
    assert np.allclose(np.diff(lab.load(BASE, fps=1).watch(video).timestamps), 1.0)
    assert len(lab.load(BASE, max_frames=7).watch(video).timestamps) == 7


def test_a_checkpoint_inside_a_run_is_asked_at_the_rate_of_that_run(tmp_path, capsys):
    shutil.copytree(BASE, tmp_path / "model")
    (tmp_path / "config.json").write_text('{"data": {"fps": 4.0, "max_frames": 64}}')
    asked = lab.load(tmp_path / "model")
    assert (asked.fps, asked.max_frames) == (4.0, 64) and not capsys.readouterr().out
    assert lab.load(tmp_path / "model", max_frames=9).max_frames == 9
    assert capsys.readouterr().out == "max_frames is 9; this checkpoint was trained with 64\n"
    (tmp_path / "config.json").write_text('{"data": {"fps": 0}}')
    with pytest.raises(LabError, match="config.json: data.fps: expected a number above 0"):
        lab.load(tmp_path / "model")


def test_a_checkpoint_that_was_trained_on_some_frames_of_each_video_is_asked_about_as_many(tmp_path, video):
    shutil.copytree(BASE, tmp_path / "model")
    (tmp_path / "config.json").write_text('{"data": {"keep_frames": 6, "pruning": "change"}}')
    few, every = lab.load(tmp_path / "model").watch(video), lab.load(BASE).watch(video)
    expected = prune(every.clip, 6, "change")
    assert torch.equal(few.clip.features, expected.features) and (few.timestamps == expected.timestamps).all()
    assert not torch.equal(few.clip.features, prune(every.clip, 6, "even").features)
    shown = [np.flatnonzero(every.timestamps == time).item() for time in few.timestamps]
    assert len(shown) == 6 and (few.frames == every.frames[shown]).all()
    assert "at most 512, of which the language model sees 6." in repr(few.lab)


def test_text_intervals_references_and_curves_of_an_answer_agree(watched):
    answer = grounded_answer(watched)
    assert answer.text == "1.0 - 2.5 4.0 - 6.0 </evi> In 1.0 - 2.5 it <spins> & in 4.0 - 6.0."
    assert answer.intervals == [(1.0, 2.5), (4.0, 6.0)]
    assert [reference.event for reference in answer.references] == [0, 1]
    assert answer.similarity.shape == (4, 32)
    assert text_pieces(answer.text)[-5:] == [" In ", ("1.0 - 2.5", (1.0, 2.5), 0), " it <spins> & in ",
                                             ("4.0 - 6.0", (4.0, 6.0), 1), "."]


def test_an_answer_prints_what_was_found_and_then_its_words(watched):
    answer = grounded_answer(watched)
    assert str(answer) == "found: 1.0 - 2.5, 4.0 - 6.0 s\nIn 1.0 - 2.5 it <spins> & in 4.0 - 6.0."
    assert answer.written == "<evi><evi></evi> In <evi> it <spins> & in <evi>."
    assert str(grounded_answer(watched, "</evi> That does not happen.")) == "That does not happen."
    assert str(grounded_answer(watched, "In <evi>.")) == "In 1.0 - 2.5."


def test_times_that_are_spelled_out_are_evidence_too(watched):
    answer = grounded_answer(watched, "It happens in 3.0 - 4.5, then in 7 - 8.", digits=True)
    assert text_pieces(answer.text) == ["It happens in ", ("3.0 - 4.5", (3.0, 4.5), 0), ", then in ",
                                        ("7 - 8.", (7.0, 8.0), 1)]
    assert answer.intervals == [(3.0, 4.5), (7.0, 8.0)]


def test_the_page_holds_the_video_escapes_text_and_plays_an_interval_to_the_end_of_its_last_frame(watched):
    page = grounded_answer(watched)._repr_html_()
    assert "data:video/mp4;base64," in page
    assert "it &lt;spins&gt; &amp; in" in page and "<spins>" not in page
    assert "v.currentTime=1.000" in page and "end=3.000" in page
    assert str(watched.lab) in page


def test_a_large_video_is_referred_to_instead_of_carried(watched, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.lab.ask.INSIDE", 100)
    page = grounded_answer(watched)._repr_html_()
    assert "base64,AAAA" not in page and watched.path.name in page


def test_the_name_of_a_large_video_becomes_an_address(watched, tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.lab.ask.INSIDE", 100)
    monkeypatch.chdir(tmp_path)
    shutil.copy(watched.path, "my clip #1 50%.mp4")
    assert lab.video_source(tmp_path / "my clip #1 50%.mp4") == "my%20clip%20%231%2050%25.mp4"


def test_the_card_shows_the_truth_beside_the_answer(watched):
    html = card_html(grounded_answer(watched).card(truth=[Event(1.0, 3.0, "the red disc spins")]))
    assert "1.0 - 3.0 s, the red disc spins" in html
    assert re.findall(r"<span>(truth|answer)<", html) == ["truth", "answer"]


def test_the_page_has_the_curve_of_every_event_once_in_the_colour_of_its_buttons(watched):
    answer = grounded_answer(watched)
    drawn, = answer.card().answers
    assert np.allclose(drawn.curves, answer.similarity[:2])
    page = answer._repr_html_()
    curves = re.findall(r'<polyline [^>]*stroke="(#\w+)"', page)
    assert re.findall(r'<button style="background:(#\w+)', page) == curves * 2  # found first, then told
    assert page.count("<figure>") == 8 and page.count("data:image/jpeg;base64,") == 8


def test_words_that_a_world_checkpoint_has_never_seen_are_named(watched):
    assert "elephant" in watched.ask("when does the red elephant spin?").note
    assert "When" in watched.lab.unknown_words("When does the red disc spin?")
    assert watched.lab.unknown_words("when does the red disc spin? in <evi>? (A) 12.5") == []


def test_a_world_checkpoint_is_asked_in_lower_case_and_says_so(watched):
    answer = watched.ask("When does the Red disc spin? (B)", options=["The Disc", "the square"])
    assert answer.question == "when does the red disc spin? (B) (A) the disc (B) the square"
    assert answer.note.startswith("Asked in lower case") and "seen the words" not in answer.note
    assert "lower case" not in watched.ask("when does the red disc spin?").note


def test_a_checkpoint_says_what_to_expect_of_it(watched):
    assert "Never taught to ground" in str(watched.lab)
    assert "mean nothing" in watched.ask("what happens here?").note
    taught = lab.Lab(grounding(lab.load(BASE).model), "x", 2.0, 8)
    assert "synthetic world alone" in str(taught) and "interleaved" in str(taught)


def test_a_checkpoint_of_own_annotations_is_asked_in_their_words(watched, tmp_path):
    """Also one that was trained further, in the world."""
    first, second = (shutil.copytree(BASE, tmp_path / name) for name in ("first", "second"))
    (first / "recipe.json").write_text('{"config": {"data": {"train": "mine.jsonl", "format": "samples"}}}')
    (second / "recipe.json").write_text('{"config": {"data": {"train": ""}}}')
    description = json.loads((second / "d2vlm.json").read_text()) | {"base": str(first), "base_hash": ""}
    (second / "d2vlm.json").write_text(json.dumps(description))
    for checkpoint in (first, second):
        asked = lab.load(checkpoint)
        assert asked.wording("When does This happen?") == "When does This happen?" and not asked.world_only
        assert asked.unknown_words("a box") == [] != watched.lab.unknown_words("a box")
        taught = str(replace(asked, model=grounding(asked.model)))
        assert "has only ever seen coloured shapes" in taught and "world alone" not in taught
        card = model_card(checkpoint, checkpoint)
        assert "has only ever seen coloured shapes" in card and "world of this project alone" not in card


def test_an_imported_checkpoint_watches_and_answers(video):
    watched = lab.load(IMPORTED).watch(video)
    assert watched.lab.fps == 1.0 and not watched.lab.world_only
    answer = watched.ask("What happens in <evi>?", intervals=[(1.0, 2.0)], decoding=lab.Decoding(4))
    assert answer.question == "What happens in <evi>?"
    assert "any video" in str(watched.lab) and answer.note == "Cut off at the limit of new tokens."
    assert len(answer.similarity) == answer.written.count("<evi>")


def test_options_are_listed_behind_the_question(watched):
    sample = watched.sample("what spins?", ["the disc", "the square"])
    assert sample.question == "what spins? (A) the disc (B) the square"


def test_asking_twice_is_asking_the_same(watched):
    first, second = (watched.ask("what happens here?") for _ in range(2))
    assert first.written == second.written
    assert isinstance(watched.clip, Clip) and torch.isfinite(watched.clip.features).all()


@pytest.mark.parametrize("path, reason", [("nowhere", "no such folder"), (ROOT / "tests", "neither a checkpoint")])
def test_a_folder_without_a_checkpoint_is_an_error_that_says_so(path, reason):
    with pytest.raises(LabError, match=reason):
        lab.load(path)


def test_the_folder_of_a_run_leads_to_the_model_inside_it(tmp_path):
    shutil.copytree(BASE, tmp_path / "model")
    assert lab.load(tmp_path).model.frames.id == lab.load(BASE).model.frames.id


def test_a_missing_or_broken_video_and_a_wrong_question_are_errors(watched, tmp_path):
    with pytest.raises(VideoError, match="no such video"):
        watched.lab.watch(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match="not a video"):
        watched.lab.watch(tmp_path / "text.mp4")
    with pytest.raises(LabError, match="empty"):
        watched.ask("  ")
    with pytest.raises(SampleError, match="1 <evi> but there are 0"):
        watched.ask("what happens in <evi>?")
    with pytest.raises(SampleError, match="after the video's end"):
        watched.ask("what happens in <evi>?", intervals=[(3.0, 99.0)])


def test_a_question_that_is_long_because_of_its_options_has_no_room_either(watched):
    with pytest.raises(LabError, match="the question has .* tokens and the video"):
        watched.ask("which?", ["x " * 3_000, "b"])


@pytest.mark.parametrize("rate", [{"max_frames": 1}, {"fps": 0.01}])
def test_a_video_is_as_long_as_its_file_however_few_frames_are_read(video, rate):
    one = lab.load(BASE, **rate).watch(video)
    assert len(one.frames) == 1 and one.step == 16.0
    assert one.ask("what happens in <evi>?", intervals=[(3.0, 5.0)]).question
    with pytest.raises(SampleError, match="after the video's end at 16.0 s"):
        one.sample("what happens in <evi>?", intervals=[(3.0, 99.0)])


def test_a_time_line_ends_with_the_video_also_where_frames_are_far_apart(watched):
    still = replace(watched, frames=watched.frames[:2], clip=Clip(watched.clip.features[:2], np.array([0.0, 10.0])),
                    length=10.03)
    assert still.sample("when?").duration == 10.03
    card = replace(grounded_answer(still).card(), truth=(Event(0.0, 10.0),))
    assert card.end == 10.03 and "left:0.00%;width:100.00%" in card_html(card)


@pytest.mark.parametrize("call, problem", [
    (lambda w: w.ask(None), "the question: expected text"), (lambda w: w.ask("a\0b"), "text without NUL"),
    (lambda w: w.ask("word " * 10_000), "question has 50,000 characters"), (lambda w: w.ask("what?", "ab"), "options"),
    (lambda w: w.ask("what?", ["a", "a"]), "'a' is there twice"), (lambda w: w.ask("what?", ["x"] * 9), "at most 5"),
    (lambda w: w.ask("in <evi>?", intervals=[1, 2]), "intervals.0."),
    (lambda w: w.ask("in <evi>?", intervals=3), "intervals: expected a list"),
    (lambda w: w.ask("what?", decoding=3), "decoding is 3"), (lambda w: w.lab.watch(None), "null is no path"),
    (lambda w: lab.load(None), "null is no path"), (lambda w: lab.load(BASE, fps=0), "fps is 0"),
    (lambda w: lab.load(BASE, max_frames=1.5), "max_frames is 1.5"),
    (lambda w: lab.load(BASE, device="nope"), "device is 'nope'")])
def test_what_is_of_the_wrong_kind_is_named(watched, call, problem):
    with pytest.raises(LabError, match=problem) as error:
        call(watched)
    assert "\n" not in str(error.value)


def test_an_instant_may_be_asked_about_and_a_folder_of_pictures_can_be_shown(watched, tmp_path):
    assert watched.ask("what happens at <evi>?", intervals=[(3.0, 3.0)]).question
    for k, frame in enumerate(watched.frames[:3]):
        Image.fromarray(frame).save(tmp_path / f"{k}.png")
    page = watched.lab.watch(tmp_path).ask("<script>alert(1)</script>?")._repr_html_()
    assert "<video" not in page and "<script>" not in page and "&lt;script&gt;" in page
