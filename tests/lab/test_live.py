"""A checkpoint that listens: standing questions, questions asked now, and notes about the source."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from small import tiny_model

from d2vlm_lab.data.live.sources import SourceNote, TimedFrame
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world.make import sample_scenes
from d2vlm_lab.data.world.render import render
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import overlap, parse
from d2vlm_lab.ideas.speaking import Rule
from d2vlm_lab.judging.predict import Prediction
from d2vlm_lab.lab import ask as lab
from d2vlm_lab.lab.live import about
from d2vlm_lab.model.decoding import Generated
from d2vlm_lab.model.streaming.standing import Closed, Opened, Update, Withdrawn

SFT = Path(__file__).parents[2] / "data" / "tiny-sft"
DESCRIBE = "describe every event and when it happens."


@pytest.fixture(scope="module")
def checkpoint():
    return lab.load(SFT)


@pytest.fixture(scope="module")
def pictures():
    config = WorldConfig(videos=1)
    return render(sample_scenes(config)[0], config, np.random.default_rng(0))


def shown(pictures, times=None):
    return list(zip(np.arange(len(pictures)) / 2 if times is None else times, pictures))


def test_a_stream_from_its_beginning_to_its_end(checkpoint, pictures):
    with checkpoint.listen(shown(pictures), block=4) as live:
        live.wait_for(DESCRIBE, Rule(0.5, 0.3))
        live.wait_for("when does the red disc spin?", words=False)
        said = [update for update in live if isinstance(update, Update)]
    assert live.now == 15.5 and len(live.questions[0].curve) == 32
    assert said == sorted(said, key=lambda update: update.seconds), "what is said is said in the order of time"
    for update in said:
        assert update.interval[0] <= update.interval[1] <= update.seconds and update.latency >= 0
        assert str(update).startswith(f"{update.seconds:.1f} s: ")
    opened = {(update.question, update.number) for update in said if isinstance(update, Opened)}
    ended = [(update.question, update.number) for update in said if isinstance(update, Closed | Withdrawn)]
    assert opened and sorted(opened) == sorted(set(ended))
    assert {(each.question, each.number) for each in live.closed} <= opened
    assert any(each.text for each in live.closed if each.question == DESCRIBE)
    assert not any(each.text for each in live.closed if each.question != DESCRIBE)


def test_a_question_asked_now_is_answered_about_the_video_so_far(checkpoint, pictures):
    with checkpoint.listen(shown(pictures), block=32) as live:
        assert list(live.until(9.0)) == []
        early = live.ask(DESCRIBE)
        list(live)
        late = live.ask(DESCRIBE)
    assert early.watched.timestamps[-1] == 9.0 and len(early.watched.frames) == 19
    assert all(end <= 9.0 for _, end in early.intervals) and early.similarity.shape[1] == 19
    # One block of the whole video is what the checkpoint was trained with: the same as watching it.
    model = checkpoint.model
    features = model.frames.encode(lab.torch.from_numpy(pictures))
    watched = lab.Watched(checkpoint, Path("whole"), pictures, lab.Clip(features, np.arange(32) / 2))
    assert late.written == watched.ask(DESCRIBE).written
    np.testing.assert_allclose(late.similarity, watched.ask(DESCRIBE).similarity, atol=1e-5)
    assert "<svg" in late._repr_html_() or "<img" in late._repr_html_()


def test_with_a_bounded_memory_a_question_is_about_what_is_kept(checkpoint, pictures):
    long = np.concatenate([pictures] * 4)
    with checkpoint.listen(shown(long), block=4, keep_seconds=8.0) as live:
        list(live)
        answer = live.ask(DESCRIBE)
    assert 8.0 <= live.now - answer.watched.timestamps[0] <= 10.0 and live.now == 63.5
    assert all(start >= answer.watched.timestamps[0] for start, _ in answer.intervals)
    assert len(live.pixels) == len(answer.watched.timestamps), "pictures that are forgotten are not held"


def test_what_goes_on_is_told_at_once_and_what_is_over_only_if_the_past_is_wanted():
    world, config = lab.load(SFT.with_name("tiny-live")), WorldConfig(videos=12)
    scene = next(scene for scene in sample_scenes(config) if len(scene.events) == 2 and scene.events[1].last < 24)
    pictures = render(scene, config, np.random.default_rng(0))

    def asked_at(second, past=False):
        with world.listen(shown(pictures)) as live:
            list(live.until(second))
            live.wait_for(DESCRIBE, words=False, past=past)
            said = [update for update in live if isinstance(update, Update)]
            return [(type(update), update.number, update.interval) for update in said]

    whole = asked_at(-1.0)
    first = next(update for update in whole if update[0] is Closed)[2]
    middle = sum(first) / 2 + 1.5  # the tower looks ahead
    during = asked_at(middle)
    assert during[0][:2] == (Opened, 0) and during[0][2][0] == first[0] < during[0][2][1] < first[1]
    assert during[1:] == whole[-len(during) + 1:]
    assert asked_at(15.5) == [] and asked_at(15.5, past=True) == whole


def test_the_same_question_twice_is_two_questions(checkpoint, pictures):
    with checkpoint.listen(shown(pictures), block=4) as live:
        for words in (True, False):
            live.wait_for(DESCRIBE, Rule(0.5, 0.3), words)
        list(live)
    spoken, silent = [[each for each in live.closed if bool(each.text) == words] for words in (True, False)]
    assert spoken and [each.interval for each in spoken] == [each.interval for each in silent]


def test_who_leaves_in_the_middle_of_a_moment_finds_the_rest_later(checkpoint, pictures):
    def said(step):
        with checkpoint.listen(shown(pictures), block=32) as live:
            for number in range(2):
                live.wait_for(f"{DESCRIBE} {number}", Rule(0.5, 0.3), words=False)
            updates = []
            while live.running or live.pending:
                updates += islice(live, step)
            return updates

    assert said(1) == said(None) and len(said(None)) > 2


class Camera:
    """A source that was closed, or not."""

    def __init__(self, items, error=None):
        self.items, self.error, self.closed = items, error, False

    def __enter__(self):
        return self

    def __iter__(self):
        yield from self.items
        if self.error:
            raise self.error

    def __exit__(self, *error):
        self.closed = True


def listening(checkpoint, source, monkeypatch, **how):
    monkeypatch.setattr(lab, "open_source", lambda source, fps, pace: source)
    return checkpoint.listen(source, **how)


def test_notes_about_the_source_are_handed_on_and_gaps_and_sizes_do_not_stop_it(checkpoint, pictures, monkeypatch):
    notes = [SourceNote(2.0, "stall", "no frame for 3 s"), SourceNote(5.0, "size", "64x64 became 128x64")]
    frames = [TimedFrame(k, k / 2 if k < 10 else 100 + k / 2, each) for k, each in enumerate(pictures)]
    frames[10:] = [TimedFrame(each.index, each.seconds, np.repeat(each.pixels, 2, 1)) for each in frames[10:]]
    camera = Camera([*frames[:4], notes[0], *frames[4:10], notes[1], *frames[10:]])
    with listening(checkpoint, camera, monkeypatch, block=4, keep_seconds=8.0) as live:
        live.wait_for(DESCRIBE)
        assert [item for item in live if isinstance(item, SourceNote)] == notes
        assert live.now == 115.5 and camera.closed is False
    assert camera.closed


def test_a_source_that_fails_is_closed_and_nothing_that_was_closed_is_lost(checkpoint, pictures, monkeypatch):
    camera = Camera([TimedFrame(k, k / 2, each) for k, each in enumerate(pictures)], LabError("the camera is gone"))
    with (pytest.raises(LabError, match="the camera is gone"),
          listening(checkpoint, camera, monkeypatch, block=4) as live):
        live.wait_for(DESCRIBE, Rule(0.3, 0.2))
        list(live)
    assert camera.closed and len(live.closed) == live.questions[0].speaker.opened and live.closed
    assert live.ask(DESCRIBE).text and len(live.questions[0].curve) == 32


@pytest.mark.parametrize("words", [True, False])
def test_where_the_language_model_ends_events_are_still_closed(checkpoint, pictures, monkeypatch, words):
    live_lab = lab.load(SFT.with_name("tiny-live"))
    monkeypatch.setattr("d2vlm_lab.model.streaming.stream.position_limit", lambda language: 30)
    with pytest.raises(LabError), live_lab.listen(shown(np.concatenate([pictures] * 2))) as live:
        live.wait_for(DESCRIBE, Rule(1e-9, 1e-9), words)
        said = list(live)
        pytest.fail(str(said))
    assert [closed.interval[0] for closed in live.closed] == [0.0] and live.questions[0].speaker.open is None


def test_an_event_for_whose_words_there_is_no_room_is_closed_without_them(checkpoint, pictures, monkeypatch):
    for user in ("ask", "live"):
        monkeypatch.setattr(f"d2vlm_lab.lab.{user}.too_long", lambda *args: "there is no room")
    with checkpoint.listen(shown(pictures), block=4) as live:
        live.wait_for(DESCRIBE, Rule(0.5, 0.3))
        list(live)
        assert live.closed and not any(closed.text for closed in live.closed)
        with pytest.raises(LabError, match="there is no room; ask something shorter, or listen with keep_frames"):
            live.ask(DESCRIBE)


def test_a_long_event_begins_where_it_began(pictures, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.model.streaming.standing.CURVE", 16)
    with lab.load(SFT.with_name("tiny-live")).listen(shown(pictures)) as live:
        live.wait_for(DESCRIBE, Rule(1e-9, 1e-9), words=False)
        said = [update for update in live if isinstance(update, Update)]
    assert len(said) > 16 and {update.interval[0] for update in said} == {0.0}


def test_a_second_that_has_come_is_not_waited_for(checkpoint, pictures):
    with checkpoint.listen(shown(pictures), block=4) as live:
        for _ in range(2):
            list(live.until(5.0))
            assert live.now == 5.0


def test_what_is_asked_too_early_or_of_a_checkpoint_that_cannot_listen_is_an_error(checkpoint, pictures):
    with pytest.raises(LabError, match="block=8"):
        checkpoint.listen(shown(pictures))
    live = checkpoint.listen(shown(pictures), block=4)
    with pytest.raises(LabError, match="with lab.listen"):
        list(live)
    with pytest.raises(LabError, match="no frame has come"), live:
        live.ask("what?")
    with pytest.raises(LabError, match="keep_frames is 1"):
        checkpoint.listen(shown(pictures), block=4, keep_frames=1)
    with pytest.raises(LabError, match="question is empty"):
        live.wait_for(" ")


def test_the_model_of_the_checkpoint_stays_as_it_was(checkpoint, pictures):
    before = checkpoint.model.method
    checkpoint.listen(shown(pictures), block=4)
    assert checkpoint.model.method is before and before.frame_block is None


def prediction(text, *intervals):
    return Prediction(None, Generated(text, parse(text, intervals), (), (), True))


def test_of_an_answer_about_several_events_only_what_is_about_the_closed_one_is_said():
    spans = [(0.0, 2.5), (4.0, 7.0)]
    answer = prediction("<evi><evi></evi> <evi>, the disc spins. <evi>, the square blinks.", *spans, *spans)
    assert about(answer, (4.5, 7.0)) == "4.0 - 7.0, the square blinks."
    assert about(answer, (0.0, 2.0)) == "0.0 - 2.5, the disc spins."
    assert about(answer, (8.0, 9.0)) == ""
    assert about(prediction("That does not happen."), (8.0, 9.0)) == "That does not happen."


def test_the_shipped_checkpoint_tells_what_happens_while_it_happens():
    config, live_lab = WorldConfig(videos=12, seed=5), lab.load(SFT.with_name("tiny-live"))
    hits = closed = true = 0
    for scene in sample_scenes(config)[:12]:
        with live_lab.listen(shown(render(scene, config, np.random.default_rng(0)))) as live:
            live.wait_for(DESCRIBE, words=False)
            list(live)
        spans = [update.interval for update in live.closed]
        events = [scene.interval(event) for event in scene.events]
        hits += sum(any(overlap(span, event) >= 0.5 for span in spans) for event in events)
        closed, true = closed + len(spans), true + len(events)
        assert all(update.latency <= 3.0 for update in live.closed), "two frames of patience, two of the tower, a block"
    assert 2 * hits / (closed + true) > 0.8


def test_a_tower_of_the_world_waits_for_the_frames_that_it_looks_ahead_at():
    assert tiny_model().frames.around == 2
