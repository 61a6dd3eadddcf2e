"""Frames that come one by one: what a source brings, what it says, and that nothing stays open behind it."""

import io
import os
import socket
import struct
import threading
import time
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from d2vlm_lab.data.live import playing, sources
from d2vlm_lab.data.live.sources import SourceNote, TimedFrame, open_source, steady, thinned
from d2vlm_lab.data.video import VideoError, choose, read_frames, write_frames
from d2vlm_lab.errors import LabError

RNG = np.random.default_rng(0)
SERVERS = set()  # ports
NOTICED = threading.Event()  # set once a test has seen that nothing comes any more
NOISE = RNG.integers(0, 255, (100, 32, 48, 3), dtype=np.uint8)


def frames_of(items):
    return [item for item in items if isinstance(item, TimedFrame)]


def notes_of(items):
    return [item.kind for item in items if isinstance(item, SourceNote)]


def stream(n=60, fps=10):
    """A transport stream, as cameras and broadcasters send it."""
    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        video = container.add_stream("mpeg4", rate=fps)
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        for k in range(n):
            frame = av.VideoFrame.from_ndarray(NOISE[k % len(NOISE)], format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return out.getvalue()


@pytest.fixture(scope="module")
def sender(tmp_path_factory):
    """A real server on the loopback that sends a stream in one of several ways."""
    data = stream()
    mine = tmp_path_factory.mktemp("mine") / "private.ts"
    mine.write_bytes(data)
    cut = len(data) * 3 // 4
    release = threading.Event()

    class Sender(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            try:
                if self.path == "/playlist":
                    self.wfile.write(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{mine}\n".encode())
                    return
                if self.path == "/forever":
                    while not release.is_set():
                        self.wfile.write(data)
                self.wfile.write(data[:cut])
                self.wfile.flush()
                if self.path == "/stall":
                    NOTICED.wait(20)
                if self.path == "/hang":
                    release.wait(20)
                self.wfile.write(bytes(600) + data[cut + 600:] if self.path == "/damaged" else data[cut:])
            except OSError:
                pass  # the reader has left

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sender)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    SERVERS.add(server.server_address[1])
    yield f"http://127.0.0.1:{server.server_address[1]}"
    release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def nothing_left():
    """Afterwards no thread of a source runs, and no file or connection is open that was not open before."""
    before = opened()
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "d2vlm-lab source"] == []
    assert opened() <= before


def opened():
    """The files of this process, and the far ends of its connections to a server; what a server holds is not meant."""
    folder = Path("/proc/self/fd")
    links = {os.readlink(file) for file in folder.iterdir() if os.path.lexists(file)} if folder.is_dir() else set()
    files = {link for link in links if not link.startswith(("socket:", "/proc"))}
    return files | {each.raddr for each in psutil.Process().net_connections() if each.raddr
                    and each.raddr.port in SERVERS}


@pytest.mark.parametrize("fps", [None, 1.0, 2.0, 3.0, 7.0])
def test_a_file_gives_the_same_frames_live_and_as_a_whole(tmp_path, fps, nothing_left):
    write_frames(tmp_path / "a.mp4", NOISE[:40], 8)
    whole = read_frames(tmp_path / "a.mp4", fps, reader="av")
    with open_source(tmp_path / "a.mp4", fps, pace=None) as source:
        items = list(source)
    frames = frames_of(items)
    assert [frame.seconds for frame in frames] == whole.timestamps.tolist()
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all(np.array_equal(frame.pixels, one) for frame, one in zip(frames, whole.frames))
    assert items[-1].kind == "end" and items[-1].seconds == 4.875


def test_a_variable_rate_and_any_clock_are_thinned_as_a_whole_video_is():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        times = np.cumsum(rng.choice([0.01, 0.033, 0.1, 0.5, 1.7], rng.integers(1, 40)) * rng.uniform(0.5, 1.5))
        times = times.round(6)
        for fps in (0.3, 0.5, 1.0, 2.0, 3.7, 24.0):
            given = [item[0] for item in thinned(((t, None) for t in times), fps)]
            assert given == times[choose(times, fps, None)].tolist(), (seed, fps)


def test_a_file_plays_at_its_own_pace(tmp_path):
    write_frames(tmp_path / "a.mp4", NOISE[:20], 10)
    came = []
    with open_source(tmp_path / "a.mp4", pace=4.0) as source:
        started = time.monotonic()
        for item in source:
            came.append((item.seconds, time.monotonic() - started))
    assert all(at >= seconds / 4 - 0.01 for seconds, at in came) and came[-1][0] == 1.9


def test_a_source_that_is_closed_early_stops_and_frees_its_file(tmp_path, nothing_left):
    write_frames(tmp_path / "a.mp4", NOISE[:20], 10)
    with open_source(tmp_path / "a.mp4", pace=1.0) as source:
        first = next(iter(source))
    assert first.seconds == 0 and list(source) == []


def test_a_source_that_is_closed_while_another_thread_reads_it_raises_nothing_there(tmp_path, nothing_left):
    path = tmp_path / "a.mp4"
    write_frames(path, np.zeros((200, 32, 32, 3), np.uint8), 10)
    for k in range(30):
        source, failed = open_source(path, pace=None), []

        def read(source=source, failed=failed):
            try:
                for _ in source:
                    pass
            except Exception as error:
                failed.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.001 * k)
        source.close()
        reader.join()
        assert failed == []


def test_closing_from_another_thread_ends_the_waiting(tmp_path, nothing_left):
    """As the stop button of a page does. The file would play for ten minutes."""
    write_frames(tmp_path / "a.mp4", NOISE[:20], 10)
    source = open_source(tmp_path / "a.mp4", pace=1 / 300)
    timer = threading.Timer(0.2, source.close)
    timer.start()
    with source:
        assert len(frames_of(source)) == 1
    timer.join()


def test_a_damaged_file_ends_with_a_note(tmp_path):
    (tmp_path / "a.ts").write_bytes(stream()[:-20_000])
    with open_source(tmp_path / "a.ts", pace=None) as source:
        items = list(source)
    assert 20 < len(frames_of(items)) < 60 and items[-1].kind == "end"


def test_a_picture_turned_by_an_odd_angle_is_one_clear_error(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=5)
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        video.set_display_rotation(30)
        for packet in (video.encode(av.VideoFrame.from_ndarray(NOISE[0], format="rgb24")), video.encode(None)):
            container.mux(packet)
    with open_source(tmp_path / "a.mp4", pace=None) as source, pytest.raises(VideoError, match="rotated by (29|30) "):
        list(source)


def test_an_address_is_read_to_its_end(sender, nothing_left):
    with open_source(f"{sender}/whole", fps=5.0) as source:
        items = list(source)
    assert [frame.seconds for frame in frames_of(items)] == pytest.approx(np.arange(30) / 5)
    assert notes_of(items) == ["end"] and "stopped" in items[-1].message


def test_an_address_that_stalls_is_said_and_goes_on(sender, nothing_left, monkeypatch):
    monkeypatch.setattr(playing, "STALL", 0.4)
    items = []
    with open_source(f"{sender}/stall", patience=20.0) as source:
        for item in source:
            items.append(item)
            if "stall" in notes_of([item]):
                NOTICED.set()
    assert "stall" in notes_of(items) and notes_of(items)[-1] == "end" and len(frames_of(items)) == 60


def test_an_address_that_sends_nothing_any_more_has_ended(sender, nothing_left):
    with open_source(f"{sender}/hang", patience=1.0) as source:
        items = list(source)
    assert notes_of(items) == ["end"] and items[-1].message == "nothing came for 1 s" and frames_of(items)


def test_an_address_that_sends_something_damaged_goes_on(sender, nothing_left):
    with open_source(f"{sender}/damaged") as source:
        items = list(source)
    assert frames_of(items)[-1].seconds == pytest.approx(5.9) and items[-1].kind == "end"


def test_an_address_that_never_ends_is_closed(sender, nothing_left):
    with open_source(f"{sender}/forever") as source:
        for item in source:
            if isinstance(item, TimedFrame) and item.index == 20:
                break


def test_who_reads_too_slowly_loses_the_oldest_frames_and_is_told(sender, nothing_left, monkeypatch):
    monkeypatch.setattr(sources, "WAITING", 10 * NOISE[0].nbytes)
    with open_source(f"{sender}/whole") as source:
        items = [next(iter(source))]
        while any(thread.name == "d2vlm-lab source" for thread in threading.enumerate()):
            time.sleep(0.01)
        items += list(source)
    frames = frames_of(items)
    assert "drop" in notes_of(items) and len(frames) <= 12 and frames[-1].seconds == pytest.approx(5.9)
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_an_address_may_be_a_plain_connection(nothing_left):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def send():
            connection, _ = server.accept()
            with connection:
                connection.sendall(stream())

        thread = threading.Thread(target=send)
        thread.start()
        with open_source(f"tcp://127.0.0.1:{server.getsockname()[1]}", fps=1.0) as source:
            assert len(frames_of(source)) == 6
        thread.join()


class Camera(StreamRequestHandler):
    """As much of RTSP as a camera needs: it tells what it has, then sends it as RTP in the same connection."""

    def handle(self):
        while request := self.rfile.readline().decode():
            headers = {}
            while line := self.rfile.readline().decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            word, more, body = request.split()[0], "", ""
            if word == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=c\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif word == "SETUP":
                more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\nSession: 1\r\n{more}\r\n{body}".encode())
            if word == "PLAY":
                self.send()
                return

    def send(self):
        data, size = stream(), 7 * 188
        for number, first in enumerate(range(0, len(data), size)):
            packet = struct.pack(">BBHII", 0x80, 33, number, 9000 * number, 1) + data[first:first + size]
            self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)


def test_a_camera_is_read_by_rtsp(nothing_left):
    with ThreadingTCPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        SERVERS.add(server.server_address[1])
        with open_source(f"rtsp://me:secret@127.0.0.1:{server.server_address[1]}/door", patience=3.0) as source:
            items = list(source)
        server.shutdown()
        thread.join()
    assert len(frames_of(items)) >= 55 and items[-1].kind == "end"


@pytest.mark.parametrize("address, words", [
    ("file:///etc/hostname", "begins with one of"), ("udp://127.0.0.1:9", "begins with one of"),
    ("tcp://0.0.0.0:9?listen=1", "wait for others"), ("rtsp://me:secret@127.0.0.1:1/a", "me:***@127.0.0.1:1/a"),
    ("rtsp://me:se@secret@127.0.0.1:1/a@b", "me:***@127.0.0.1:1/a@b"),
    ("camera:77", "no video comes from there")])
def test_an_address_that_is_no_sender_is_one_clear_error(address, words):
    with pytest.raises(LabError, match="[.]*") as error, open_source(address, patience=2.0) as source:
        list(source)
    assert words in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize("page", ["missing", "playlist"])
def test_a_server_cannot_make_this_machine_read_its_own_files(sender, page, nothing_left):
    with pytest.raises(VideoError, match="no video"), open_source(f"{sender}/{page}") as source:
        list(source)


@contextmanager
def serving(handler):
    """The port of a server on the loopback."""
    with ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        SERVERS.add(server.server_address[1])
        try:
            yield server.server_address[1]
        finally:
            NOTICED.set()
            server.shutdown()


class Pictures(StreamRequestHandler):
    """A camera that sends JPEG pictures without times, five a second."""

    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        for pixels in NOISE[:8]:
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "JPEG")
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
                len(data.getvalue()), data.getvalue()))
            time.sleep(0.2)


def test_pictures_without_times_are_shown_when_they_come(nothing_left):
    with serving(Pictures) as port, open_source(f"http://127.0.0.1:{port}/video") as source:
        frames = frames_of(source)
    assert len(frames) >= 7 and np.diff([frame.seconds for frame in frames]).mean() > 0.1, "not 25 a second"


class Silent(StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        NOTICED.wait(20)


def test_a_sender_that_never_answers_is_called_so():
    NOTICED.clear()
    with (serving(Silent) as port, pytest.raises(VideoError, match="nothing came for 0.5 s"),
          open_source(f"http://127.0.0.1:{port}/", patience=0.5) as source):
        list(source)


def test_who_leaves_a_silent_sender_does_not_wait_for_it(sender, monkeypatch):
    monkeypatch.setattr(sources, "GIVEN_UP", 0.2)
    monkeypatch.setattr(playing, "STALL", 0.4)
    with open_source(f"{sender}/hang", patience=5.0) as source:
        next(item for item in source if notes_of([item]) == ["stall"])
    waiting = [thread for thread in threading.enumerate() if thread.name == "d2vlm-lab source"]
    assert len(waiting) == 1, "its thread still waits, but nobody waits for the thread"
    waiting[0].join()


@pytest.mark.parametrize("usual, notes", [(0.0, [("stall", "nothing came for 2 s")]), (1 / 0.3, [])])
def test_frames_that_are_wanted_rarely_are_no_stall(usual, notes, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(playing.time, "monotonic", lambda: now[0])

    def arrivals():
        for now[0], item in ((0.0, "first"), (2.5, None), (3.3, "second")):
            yield item

    assert [item for item in playing.patient(arrivals(), 9.0, usual) if isinstance(item, tuple)] == notes


@pytest.mark.parametrize("address, shown", [
    ("rtsp://cam/user=admin&password=hunter2&channel=1", "rtsp://cam/user=admin&password=***&channel=1"),
    ("http://cam/video?user=a&PWD=hunter2", "http://cam/video?user=a&PWD=***"),
    ("rtsp://cam/user=a_password=hunter2_channel=1.sdp", "rtsp://cam/user=a_password=***"),
    ("http://cam/passage", "http://cam/passage")])
def test_no_password_is_shown(address, shown):
    assert playing.hidden(address) == shown


def test_a_file_that_is_gone_before_its_first_frame_is_one_clear_error(tmp_path):
    write_frames(tmp_path / "a.mp4", NOISE[:5], 5)
    with open_source(tmp_path / "a.mp4") as source:
        (tmp_path / "a.mp4").unlink()
        with pytest.raises(VideoError, match="a.mp4: the file cannot be opened"):
            list(source)


def test_a_folder_that_grows(tmp_path, monkeypatch, nothing_left):
    monkeypatch.setattr(playing, "STALL", 0.4)
    monkeypatch.setattr(playing, "SETTLED", 0.3)

    def save(name, k):
        Image.fromarray(NOISE[k]).save(tmp_path / name)

    def grow():
        time.sleep(0.3)
        whole = io.BytesIO()
        Image.fromarray(NOISE[2]).save(whole, "png")
        with open(tmp_path / "c.png", "wb") as file:
            file.write(whole.getvalue()[:900])
            file.flush()
            time.sleep(0.15)
            file.write(whole.getvalue()[900:])
        (tmp_path / "d.png").write_bytes(b"no picture")
        save("ab.png", 3)  # behind its time
        time.sleep(0.9)
        save("e.png", 4)

    save("a.png", 0)
    save("b.png", 1)
    thread = threading.Thread(target=grow)
    thread.start()
    with open_source(tmp_path, rate=2.0, patience=1.5) as source:
        items = list(source)
    thread.join()
    frames = frames_of(items)
    assert [frame.seconds for frame in frames] == [0, 0.5, 1.0, 1.5]
    assert all(np.array_equal(frame.pixels, NOISE[k]) for frame, k in zip(frames, (0, 1, 2, 4)))
    kinds = notes_of(items)
    assert {"drop", "damage", "stall"} <= set(kinds) and kinds[-1] == "end"
    assert any("ab.png came after" in item.message for item in items if isinstance(item, SourceNote))


def test_numbered_pictures_need_no_leading_zeros_and_come_live_as_they_do_as_a_whole(tmp_path, nothing_left):
    def save(k):
        Image.fromarray(NOISE[k]).save(tmp_path / f"{k + 8}.png")

    save(0)
    save(1)
    timer = threading.Timer(0.3, save, (2,))  # 10.png after 9.png
    timer.start()
    with open_source(tmp_path, rate=2.0, patience=1.0) as source:
        items = list(source)
    timer.join()
    live, whole = [frame.pixels for frame in frames_of(items)], read_frames(tmp_path).frames
    assert np.array_equal(live, NOISE[:3]) and np.array_equal(whole, NOISE[:3]) and notes_of(items) == ["end"]


def placed(*pairs):
    """What `steady` makes of times, each with a picture of its own or the number of one."""
    raw = [(seconds, NOISE[k]) for k, seconds in enumerate(pairs)]
    items = list(steady(iter(raw)))
    return [item[0] for item in items if isinstance(item, tuple)], [item.kind for item in items
                                                                    if isinstance(item, SourceNote)]


@pytest.mark.parametrize("times, expected, notes", [
    ((0, 1, 2), [0, 1, 2], []),
    ((0, 0.5, 1, 9, 9.5), [0, 0.5, 1, 9, 9.5], ["gap"]),
    ((0, 0.5, 0.5, 0.5, 1), [0, 0.5, 1], ["drop"]),  # of notes in a row, the first
    ((50, 50.5, 3, 3.5), [50, 50.5, 51, 51.5], ["jump"]),  # a file that starts anew
    ((0, 0.5, 1.7e9, 1.7e9 + 0.5), [0, 0.5, 1, 1.5], ["jump"]),  # a camera whose clock was set
    ((0, float("nan"), 1), [0, 1], ["drop"]),
])
def test_time_only_grows_whatever_a_source_says(times, expected, notes):
    seconds, said = placed(*times)
    assert seconds == pytest.approx(expected) and said == notes


def test_another_size_and_a_frozen_picture_are_said():
    raw = [(k, NOISE[0]) for k in range(8)] + [(8, NOISE[1][:16]), (9, NOISE[2][:16])]
    items = list(steady(iter(raw)))
    notes = [item for item in items if isinstance(item, SourceNote)]
    assert [note.kind for note in notes] == ["repeat", "size"]
    assert notes[1].message == "frames of 48x32 pixels are now 48x16" and len(items) == 12


def test_an_iterator_of_frames(nothing_left, monkeypatch):
    with open_source(iter(NOISE[:10]), fps=2.0, rate=4.0) as source:
        assert [frame.seconds for frame in frames_of(source)] == [0, 0.5, 1, 1.5, 2]
    with open_source([(3.0, NOISE[0]), (4.0, NOISE[1])]) as source:
        assert [frame.seconds for frame in frames_of(source)] == [3, 4]
    monkeypatch.setattr(playing, "STALL", 0.05)

    def slow():
        yield NOISE[0]
        time.sleep(0.2)
        yield NOISE[1]

    with open_source(slow()) as source:
        items = list(source)
    assert notes_of(items) == ["stall", "end"] and frames_of(items)[1].seconds >= 0.2


def test_what_is_no_frame_and_what_is_no_source_is_one_clear_error(tmp_path):
    with open_source([NOISE[0], NOISE[1].astype(float)]) as source, pytest.raises(LabError, match="frame 1 .*float64"):
        list(source)
    with pytest.raises(VideoError, match="no such video file"):
        open_source(tmp_path / "none.mp4")
    for wrong in ({"fps": 0}, {"pace": -1.0}, {"rate": "2"}, {"patience": None}):
        with pytest.raises(LabError, match=next(iter(wrong))):
            open_source([NOISE[0]], **wrong)
    with pytest.raises(LabError, match="no source"):
        open_source(3)
