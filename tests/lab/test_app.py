"""The app as a browser sees it: what it answers, what it keeps, and all that it refuses."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace

import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world import load as load_world
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab import ask
from d2vlm_lab.lab.app.command import put_examples
from d2vlm_lab.lab.app.server import App
from d2vlm_lab.lab.app.shelf import NotThere, Shelf
from d2vlm_lab.settings import override

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "data" / "tiny-sft"
QUESTION = "describe every event and when it happens."


@pytest.fixture(scope="module")
def lab():
    return ask.load(MODEL)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    world = load_world(make_world(tmp_path_factory.mktemp("app") / "world", override(WorldConfig(), {"videos": 10}), 1))
    return [world.video_path(scene) for scene in world.truth("train")[:4]]


@pytest.fixture
def app(lab, videos, tmp_path):
    (tmp_path / "shelf").mkdir()
    shelf = Shelf(lab, tmp_path / "shelf", keep=2, limit=2**20)
    shelf.add_example(videos[0], (("when?", ()),))
    with running(shelf) as app:
        yield app


@contextmanager
def running(shelf):
    with App(shelf) as app:
        thread = threading.Thread(target=app.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield app
        finally:
            app.shutdown()
            thread.join()


def send(app, method, path, body=None, headers=(), secret=True):
    """Status, headers and body of the answer to a request whose path is sent as it is."""
    link = http.client.HTTPConnection("127.0.0.1", app.server_port, timeout=30)
    link.putrequest(method, f"/{app.secret}/{path}" if secret else path, skip_host=True)
    length = {} if body is None else {"Content-Length": len(body)}
    for name, value in {"Host": f"127.0.0.1:{app.server_port}", **length, **dict(headers)}.items():
        link.putheader(name, str(value))
    link.endheaders(body)
    answer = link.getresponse()
    found = answer.status, dict(answer.headers), answer.read()
    link.close()
    return found


def drop(app, path, name=None):
    status, _, body = send(app, "POST", "videos", path.read_bytes(), {"X-Name": name or path.name})
    return status, json.loads(body)


def question(app, number, text=QUESTION):
    status, _, body = send(app, "POST", "ask", json.dumps({"video": number, "question": text}).encode())
    return status, json.loads(body)


def test_the_page_names_the_checkpoint_and_allows_only_its_own_script(app):
    status, headers, body = send(app, "GET", "")
    assert status == 200 and b"tiny-sft" in body and b'"test_' not in body
    assert "script-src 'sha256-" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert app.server_address[0] == "127.0.0.1"


def test_a_video_that_is_dropped_can_be_asked_about_and_played_in_parts(app, videos, lab):
    status, kept = drop(app, videos[1], "my holiday.mp4")
    assert status == 200 and kept["name"] == "my holiday.mp4"
    status, answer = question(app, kept["id"])
    said = lab.watch(videos[1]).ask(QUESTION)
    assert said.intervals and status == 200
    assert f'src="videos/{kept["id"]}"' in answer["html"] and "my holiday.mp4" in answer["html"]
    assert all(f"{start:.1f} - {end:.1f}" in answer["html"] for start, end in said.intervals)
    data = videos[1].read_bytes()
    assert send(app, "GET", f"videos/{kept['id']}")[2] == data
    for wanted, part in (("bytes=10-19", data[10:20]), ("bytes=100-", data[100:]), ("bytes=-7", data[-7:]),
                         ("bytes=0-99999999", data)):
        status, headers, body = send(app, "GET", f"videos/{kept['id']}", headers={"Range": wanted})
        assert status == 206 and body == part
        assert headers["Content-Range"].endswith(f"/{len(data)}") and headers["Content-Type"] == "video/mp4"
    for wanted in ("bytes=99999999-", "bytes=5-4", "bytes=-0", "lines=1-2", "bytes=a-b"):
        assert send(app, "GET", f"videos/{kept['id']}", headers={"Range": wanted})[0] == 416


@pytest.mark.parametrize("path", [
    "videos/../../../../etc/passwd", "videos/%2e%2e/%2e%2e/etc/passwd", "videos/..%2f..%2fetc%2fpasswd",
    "../etc/passwd", "videos/..%5c..%5cetc%5cpasswd", "videos//etc/passwd", "/etc/passwd", "videos/%00", "videos/",
    "videos", "ask", "videos/....//etc/passwd", "videos/%c0%ae%c0%ae/etc/passwd", "?x=/etc/passwd",
    "videos/" + "0" * 32])
def test_no_address_leads_to_a_file(app, path):
    status, _, body = send(app, "GET", path)
    assert status == 404 and b"root:" not in body and set(json.loads(body)) == {"error"}


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/../etc/passwd", "http://127.0.0.1/etc/passwd", "/wrong/", "*",
                                  "/videos/x"])
def test_without_the_secret_there_is_nothing(app, path):
    assert send(app, "GET", path, secret=False)[0] == 404


def test_a_link_among_examples_is_left_out_and_one_put_in_the_place_of_a_video_is_not_followed(lab, videos, tmp_path):
    folder = tmp_path / "examples"
    folder.mkdir()
    (tmp_path / "secret.mp4").write_bytes(videos[1].read_bytes())
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "notes.txt").write_text("no video")
    shelf = Shelf(lab, tmp_path)
    with pytest.raises(LabError, match="no video lies in it .*; links are not followed"):
        put_examples(shelf, folder)
    (folder / "good.mp4").write_bytes(videos[0].read_bytes())
    put_examples(shelf, folder)
    (video,) = shelf.examples.values()
    assert video.name == "good.mp4"
    with running(shelf) as app:
        assert send(app, "GET", f"videos/{video.id}")[0] == 200
        video.path.unlink()
        video.path.symlink_to(tmp_path / "secret.mp4")
        assert send(app, "GET", f"videos/{video.id}")[0] == 404
    with pytest.raises(NotThere):
        shelf.ask(video, "when does it spin?")


def test_it_is_told_that_a_folder_has_more_videos_than_are_offered(lab, tmp_path, capsys):
    for k in range(14):
        (tmp_path / f"{k:02}.mp4").touch()
        if k in (11, 13):
            put_examples(Shelf(lab, tmp_path), tmp_path)
    assert capsys.readouterr().out == (f"The first 12 of the 14 videos in {tmp_path} are offered; drop others on the "
                                       "page.\n")


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": ""}, {"Host": "127.0.0.1:1"},
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"}])
def test_a_request_under_another_name_or_from_another_site_is_refused(app, videos, headers):
    status, _, body = send(app, "POST", "videos", videos[0].read_bytes(), {"X-Name": "a.mp4", **headers})
    assert status == 403 and set(json.loads(body)) == {"error"}
    if "Host" in headers:
        assert send(app, "GET", "", headers=headers)[0] == 403
    assert list(app.shelf.folder.iterdir()) == []


@pytest.mark.parametrize("name, body, problem", [
    ("a.exe", b"x", "ends with .mp4"), ("a", b"x", "ends with .mp4"), ("", b"x", "ends with .mp4"),
    ("a.mp4", b"", "must not be empty"), ("a.mp4", b"x" * (2**20 + 1), "may have up to 1 MB"),
    ("a.mp4", b"no video at all", "a.mp4"), ("list.mkv", b"#EXTM3U\nfile:///etc/passwd\n", "list.mkv"),
    ("../../../etc/x.mp4", b"no video", "not a video")])
def test_what_is_no_video_or_too_large_is_refused_in_words_and_nothing_of_it_is_kept(app, name, body, problem):
    status, _, answer = send(app, "POST", "videos", body, {"X-Name": name})
    assert status == 400 and problem in json.loads(answer)["error"]
    assert str(app.shelf.folder) not in json.loads(answer)["error"]
    assert list(app.shelf.folder.iterdir()) == [] and app.shelf.dropped == {}


def test_a_long_name_is_cut_where_it_is_shown_and_its_ending_still_counts(app, videos):
    status, kept = drop(app, videos[0], name="a" * 300 + ".mp4")
    assert status == 200 and kept["name"] == "a" * 200


def test_a_request_must_say_how_long_it_is_and_a_question_must_be_one(app):
    for headers in ({"Transfer-Encoding": "chunked"}, {"Content-Length": "-1"}, {"Content-Length": "9" * 16}, {}):
        assert send(app, "POST", "videos", headers={"X-Name": "a.mp4", **headers})[0] == 411
    (number,) = app.shelf.examples
    for body, status in ((b"{", 400), (b"[]", 400), (b'{"video": 3}', 400), (b"x" * (2**16 + 1), 413),
                         (b'{"video": "x", "question": "when?"}', 404),
                         (json.dumps({"video": number, "question": " "}).encode(), 400)):
        assert send(app, "POST", "ask", body)[0] == status
    assert question(app, number, "what happens in <evi>?")[0] == 400


def test_a_browser_that_goes_away_leaves_nothing_behind(app):
    with socket.create_connection(("127.0.0.1", app.server_port)) as link:
        link.sendall(f"POST /{app.secret}/videos HTTP/1.1\r\nHost: 127.0.0.1:{app.server_port}\r\nX-Name: a.mp4\r\n"
                     "Content-Length: 1000\r\n\r\nhalf".encode())
        link.shutdown(socket.SHUT_WR)
        assert b"the connection broke" in link.makefile("rb").read()
    assert list(app.shelf.folder.iterdir()) == []


def test_only_the_newest_videos_are_kept(app, videos):
    numbers = [drop(app, video)[1]["id"] for video in videos[:3]]
    assert len(list(app.shelf.folder.iterdir())) == 2
    assert question(app, numbers[0]) == (404, {"error": "this video is no longer kept; drop it on the page once more"})
    assert [send(app, "GET", f"videos/{number}")[0] for number in numbers] == [404, 200, 200]
    assert question(app, next(iter(app.shelf.examples)))[0] == 200


def test_several_at_once_get_the_same_as_one_after_another(app, videos):
    numbers = [drop(app, video)[1]["id"] for video in videos[:2]]
    alone = [question(app, number) for number in numbers]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda k: question(app, numbers[k % 2]), range(12)))
        assert together == [alone[k % 2] for k in range(12)]
        dropped = list(pool.map(lambda k: drop(app, videos[k % 4]), range(12)))
    assert {status for status, _ in dropped} <= {200, HTTPStatus.SERVICE_UNAVAILABLE}
    assert len(app.shelf.dropped) == len(list(app.shelf.folder.iterdir())) == 2


def test_a_name_is_text_and_never_part_of_the_page(app, videos):
    name = "<img src=x onerror=alert(1)>.mp4"
    _, kept = drop(app, videos[0], name.replace("<", "%3C"))
    assert kept["name"] == name
    html = question(app, kept["id"], "<script>alert(1)</script>?")[1]["html"]
    assert "<img src=x" not in html and "<script>" not in html
    app.shelf.add_example(videos[0], (("</script><b>?", ()),))
    assert b"</script><b>" not in send(app, "GET", "")[2]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_command_ends_cleanly_and_takes_the_videos_with_it(videos, tmp_path, number):
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    model = MODEL.with_name("tiny-live")
    process = subprocess.Popen([sys.executable, "-m", "d2vlm_lab.cli", "app", model, "--port", "0"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        lines = iter(process.stdout.readline, "")
        port, secret = next(filter(None, (re.search(r"http://127.0.0.1:(\d+)/(.*)/", line) for line in lines))).groups()
        status, kept = drop(SimpleNamespace(server_port=int(port), secret=secret), videos[0])
        assert status == 200
        watched = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
        watched.request("POST", f"/{secret}/live", json.dumps({"video": kept["id"], "questions": [QUESTION]}))
        lines = watched.getresponse()
        assert b"describe every event" in lines.readline()
        (folder,) = tmp_path.glob("d2vlm-app-*")
        assert len(list(folder.glob("*.mp4"))) == 1 and folder.stat().st_mode & 0o077 == 0
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
        assert b"over" not in lines.read(), "what was watched live ends with the app"
        watched.close()
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors, list(tmp_path.iterdir())) == (0, "", [])
    assert "ended; the videos that were dropped are removed" in out


def test_the_options_of_the_command_arrive(videos, monkeypatch):
    served = []
    monkeypatch.setattr("d2vlm_lab.lab.app.command.serve", lambda shelf, port: served.append((shelf, port)))
    assert main(["app", str(MODEL), "--port", "0", "--megabytes", "3", "--keep", "5", "--fps", "1.5", "--device", "cpu",
                 "--examples", str(videos[0].parent)]) == 0
    (shelf, port), = served
    assert (port, shelf.limit, shelf.keep, shelf.lab.fps) == (0, 3 * 2**20, 5, 1.5)
    assert shelf.lab.model.device.type == "cpu" and videos[0].name in {kept.name for kept in shelf.examples.values()}


def test_a_port_in_use_and_an_empty_folder_of_examples_are_one_clear_error(app, lab, tmp_path, capsys):
    assert main(["app", str(MODEL), "--port", str(app.server_port), "--examples", str(ROOT / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(LabError, match="no video lies in it"):
        put_examples(Shelf(lab, tmp_path), tmp_path)
    assert main(["app", str(MODEL), "--port", str(app.server_port)]) == 2
    assert "cannot be used" in capsys.readouterr().err
