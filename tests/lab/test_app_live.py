"""A video that is watched live in the app: what the page is told, when it ends, and what is refused."""

import copy
import http.client
import json
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest
from test_app import MODEL, question, running, send

from d2vlm_lab.data.live.sources import Source
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world.make import sample_scenes
from d2vlm_lab.data.world.render import render
from d2vlm_lab.lab import ask
from d2vlm_lab.lab.app.live import AT_ONCE, DESCRIBE, QUESTIONS, why_not
from d2vlm_lab.lab.app.shelf import Shelf
from d2vlm_lab.model.streaming.standing import Update

RATE = 20  # pictures a second of the short video, which is ten times as fast as the world
SPIN = "when does the red disc spin?"


@pytest.fixture(scope="module")
def lab():
    return ask.load(MODEL.with_name("tiny-live"), fps=RATE)


def film(path, rate):
    """One video of the world with so many pictures a second."""
    config = WorldConfig(videos=8)
    scene = max(sample_scenes(config), key=lambda scene: len(scene.events))
    pictures = render(scene, config, np.random.default_rng(0))
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(rate))
        stream.pix_fmt, (stream.height, stream.width) = "yuv420p", pictures.shape[1:3]
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One of less than two seconds, and one whose second frame comes after all tests."""
    folder = tmp_path_factory.mktemp("live")
    film(folder / "short.mp4", RATE)
    film(folder / "long.mp4", Fraction(1, 100))
    return folder


@pytest.fixture
def app(lab, videos, tmp_path):
    shelf = Shelf(lab, tmp_path)
    for name in ("short.mp4", "long.mp4"):
        shelf.add_example(videos / name)
    with running(shelf) as app:
        yield app


def number(app, name):
    return next(video.id for video in app.shelf.examples.values() if video.name == name)


def body(app, name="long.mp4", questions=(DESCRIBE,)):
    return json.dumps({"video": number(app, name), "questions": questions}).encode()


@contextmanager
def watching(app, name="long.mp4", questions=(DESCRIBE,)):
    """The answer to a request, of which a part may be read."""
    with closing(http.client.HTTPConnection("127.0.0.1", app.server_port, timeout=30)) as link:
        link.request("POST", f"/{app.secret}/live", body(app, name, questions))
        with link.getresponse() as answer:
            yield answer


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "not yet"
        time.sleep(0.02)


def held(videos):
    """Open files among the videos, and threads, of this process."""
    files = [each.path for each in psutil.Process().open_files() if each.path.startswith(str(videos))]
    return files, {thread.name for thread in threading.enumerate() if "process_request" in thread.name}


def test_the_page_is_told_what_the_checkpoint_says_of_the_stream_while_it_runs(app, lab, videos):
    with lab.listen(videos / "short.mp4", pace=None) as live:
        for text in (SPIN, DESCRIBE):
            live.wait_for(text)
        said = [update for update in live if isinstance(update, Update)]
    begun = time.monotonic()
    with watching(app, "short.mp4", (SPIN, DESCRIBE, DESCRIBE.upper())) as answer:
        assert answer.status == 200 and answer.headers["Content-Security-Policy"]
        lines = [json.loads(line) for line in answer]
    first, *moments, last = lines
    assert time.monotonic() - begun > 32 / RATE - 0.3, "it takes as long as the video"
    assert [each["text"] for each in first["questions"]] == [SPIN, DESCRIBE]
    assert last == {"over": "The video has ended."}
    assert first["end"] == pytest.approx(32 / RATE) and first["step"] == 1 / RATE
    told = [update for moment in moments for update in moment["updates"]]
    assert {"opened", "extended", "closed"} <= {update["kind"] for update in told}
    assert any(update["text"] for update in told)
    assert [(each["kind"], (SPIN, DESCRIBE)[each["question"]], each["number"], tuple(each["interval"]), each["seconds"],
             each["text"]) for each in told] == [
        (type(each).__name__.lower(), each.question, each.number, each.interval, each.seconds,
         getattr(each, "text", "")) for each in said]
    for k, standing in enumerate(live.questions):
        points = [point for moment in moments for point in moment["curves"][k]]
        assert [seconds for seconds, _ in points] == list(standing.seconds)
        np.testing.assert_allclose([value for _, value in points], standing.curve, atol=1e-4)
    assert [note for moment in moments for note in moment["notes"]] == ["the file has ended"]
    wait_until(lambda: held(videos) == ([], set()))


def test_a_page_that_leaves_between_two_frames_ends_its_session_and_frees_what_it_held(app, videos):
    with watching(app) as answer:
        assert json.loads(answer.readline())["name"] == "long.mp4"
        assert held(videos)[0] and len(app.sessions.running) == 1
    wait_until(lambda: not app.sessions.running and held(videos) == ([], set()))


def test_a_source_is_closed_by_the_thread_that_reads_it_so_that_leaving_gives_no_error(app, monkeypatch, capfd):
    close, closing_threads = Source.close, []
    monkeypatch.setattr(Source, "close", lambda source: closing_threads.append(threading.current_thread().name)
                        or close(source))
    with ExitStack() as pages:
        for _ in range(AT_ONCE):
            assert pages.enter_context(watching(app)).readline()
    wait_until(lambda: not app.sessions.running)
    assert len(closing_threads) == AT_ONCE and all("process_request" in name for name in closing_threads)
    assert capfd.readouterr().err == ""


def test_the_end_of_the_app_ends_what_is_watched(lab, videos, tmp_path):
    shelf = Shelf(lab, tmp_path)
    shelf.add_example(videos / "long.mp4")
    with running(shelf) as app, watching(app) as answer:
        answer.readline()
        app.server_close()
        assert not app.sessions.running and not any("over" in json.loads(line) for line in answer)
    wait_until(lambda: held(videos) == ([], set()))


def test_only_a_few_are_watched_at_once_and_meanwhile_others_are_answered(app):
    with ExitStack() as others:
        for _ in range(AT_ONCE - 1):
            assert others.enter_context(watching(app)).readline()
        with watching(app) as last:
            assert last.readline()
            with watching(app) as answer:
                assert answer.status == 503 and "stop one of them first" in json.loads(answer.read())["error"]
            assert question(app, number(app, "short.mp4"))[0] == 200, "the model is free while a frame is waited for"
        wait_until(lambda: len(app.sessions.running) < AT_ONCE)
        with watching(app) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": "127.0.0.1:1"}, {"Origin": "null"},
                                     {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_site_cannot_watch(app, headers):
    assert send(app, "POST", "live", body(app), headers)[0] == 403
    assert not app.sessions.running


def test_what_cannot_be_watched_is_refused_in_words(app, videos, tmp_path):
    assert send(app, "POST", "live", body(app), secret=False)[0] == 404
    assert send(app, "GET", "live")[0] == 404 and send(app, "POST", "live")[0] == 411
    for questions in ([], [" "], ["a" * 2001], [f"what {k}?" for k in range(QUESTIONS + 1)], "when?", [3],
                      ["what happens in <evi>?"]):
        status, _, answer = send(app, "POST", "live", body(app, questions=questions))
        assert status == 400 and set(json.loads(answer)) == {"error"}, questions
    assert send(app, "POST", "live", json.dumps({"video": "x" * 32, "questions": ["when?"]}).encode())[0] == 404
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "link.mp4").symlink_to(videos / "short.mp4")
    for name, expected in (("text.mp4", 400), ("link.mp4", 404)):
        app.shelf.add_example(tmp_path / name)
        status, _, answer = send(app, "POST", "live", body(app, name))
        assert status == expected and name in json.loads(answer)["error"] and str(tmp_path) not in answer.decode()
    assert not app.sessions.running


def test_a_checkpoint_that_cannot_stream_says_why(app, lab, videos, tmp_path):
    assert b"No video can be watched live" not in send(app, "GET", "")[2]
    shelf = Shelf(ask.load(MODEL), tmp_path)
    shelf.add_example(videos / "long.mp4")
    with running(shelf) as other:
        page = send(other, "GET", "")[2].decode()
        assert "No video can be watched live with this checkpoint: its frames look at all later frames" in page
        assert '<button id="live" type="button" disabled hidden>' in page
        status, _, answer = send(other, "POST", "live", body(other))
        assert status == 400 and "method.frame_block" in json.loads(answer)["error"]
    assert why_not(lab.model) == ""
    for change in ({"formulation": "bins"}, {"style": "time_tokens"}):
        model = copy.copy(lab.model)
        model.method = replace(model.method, **change)
        assert "compares its evidence with every frame" in why_not(model)
