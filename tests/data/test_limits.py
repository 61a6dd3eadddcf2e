"""What a video may demand: memory is bounded, limits have names, no file leads to another, nothing is waited for."""

import os
import socket
from fractions import Fraction
from importlib.util import find_spec

import av
import numpy as np
import pytest
from PIL import Image
from test_video import pictures, write

from d2vlm_lab.data import video
from d2vlm_lab.data.limits import Limits
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.data.video import VideoError, read_frames, write_frames
from d2vlm_lab.errors import LabError


def claim(path, width, height, n):
    """A small file of n frames, all but the first of which say that nothing changes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30, options={"g": "600"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame, packets = av.VideoFrame(width, height, "yuv420p"), []
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for k in range(3):
            frame.pts = k
            packets += stream.encode(frame)
        first, same = (bytes(packet) for packet in (packets + list(stream.encode(None)))[:2])
        for k in range(n):
            packet = av.Packet(same if k else first)
            packet.pts = packet.dts = k
            packet.duration, packet.time_base, packet.stream, packet.is_keyframe = 1, Fraction(1, 30), stream, k == 0
            container.mux(packet)
    return path


def refused(path, **options):
    with pytest.raises(LabError) as error:
        read_frames(path, **options)
    message = str(error.value)
    assert str(path) in message and "\n" not in message and "Errno" not in message
    return message


@pytest.mark.parametrize("variable, shape", [("D2VLM_LAB_MAX_FRAMES", (64, 64, 40)),
                                             ("D2VLM_LAB_MAX_MEGAPIXELS", (1280, 720, 2)),
                                             ("D2VLM_LAB_MAX_GIGAPIXELS", (640, 480, 40))])
def test_a_limit_is_named_before_anything_is_decoded(tmp_path, monkeypatch, variable, shape):
    path = claim(tmp_path / "large.mp4", *shape)
    monkeypatch.setenv(variable, "0.01")
    monkeypatch.setattr(video, "_READERS", {})
    assert variable in refused(path, fps=2)
    monkeypatch.setenv(variable, "no")
    with pytest.raises(LabError, match=f"{variable} is 'no'; it must be a positive number"):
        read_frames(path)


def test_huge_videos_are_above_the_limits_and_long_films_are_not():
    limits = Limits()
    for frames, width, height in ((100_000, 7680, 4320), (1_000_000, 64, 64), (1, 60_000, 60_000), (40, 16_000, 2)):
        with pytest.raises(VideoError):
            limits.check("huge.mp4", frames, width, height)
    limits.check("film.mp4", 2 * 3600 * 30, 1920, 1080)
    limits.check("8k.mp4", 10 * 60 * 30, 7680, 4320)


@pytest.mark.parametrize("reader", ["decord", "av", "torchcodec"])
def test_frames_are_the_same_however_many_are_in_memory_at_once(tmp_path, monkeypatch, reader):
    if find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed here")
    write_frames(tmp_path / "a.mp4", pictures(37), 10)
    whole = read_frames(tmp_path / "a.mp4", 7, Preparation.square(40).frames, reader=reader)
    monkeypatch.setattr(video, "AT_ONCE_BYTES", 3 * 48 * 64 * 2)
    assert np.array_equal(read_frames(tmp_path / "a.mp4", 7, Preparation.square(40).frames, reader=reader).frames,
                          whole.frames)


def test_large_frames_are_few_at_a_time(tmp_path):
    path, sizes = claim(tmp_path / "8k.mp4", 7680, 4320, 5), []

    def prepare(frames):
        sizes.append(len(frames))
        return frames[:, ::100, ::100]

    assert read_frames(path, prepare=prepare).frames.shape == (5, 44, 77, 3)
    assert sizes == [2, 2, 1]


def test_frames_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.limits.KEPT_GIGABYTES", 0.0001)
    assert "lower data.fps or data.max_frames" in refused(write(tmp_path / "a.mp4"))
    assert len(read_frames(tmp_path / "a.mp4", max_frames=8).frames) == 8
    monkeypatch.undo()
    assert "lower data.fps" in refused(tmp_path / "a.mp4", fps=1e9)
    for fps in (float("nan"), float("inf"), -1):
        with pytest.raises(LabError, match="must be positive"):
            read_frames(tmp_path / "a.mp4", fps)


@pytest.mark.parametrize("text", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"])
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_a_playlist_leads_to_no_other_file(tmp_path, text, name):
    (tmp_path / name).write_text(text.format(write(tmp_path / "other.mp4")))
    assert "playlist" in refused(tmp_path / name)


def test_a_name_is_never_taken_for_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.rename(write(tmp_path / "a.mp4"), "concat:a|b.mp4")
    assert len(read_frames("concat:a|b.mp4").frames) == 40


def test_a_bare_stream_without_times_is_refused_before_it_is_decoded(tmp_path):
    with av.open(str(tmp_path / "a.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    assert "another format" in refused(tmp_path / "a.h264")


def test_a_picture_is_no_video_and_a_folder_of_pictures_is_one(tmp_path):
    folder = tmp_path / "shown"
    folder.mkdir()
    assert "no picture in this folder" in refused(folder)
    for k, picture in enumerate(pictures(3)):
        Image.fromarray(picture).save(folder / f"{k}.png")
    (folder / "0.png").rename(tmp_path / "alone.mp4")
    assert "a picture" in refused(tmp_path / "alone.mp4")
    os.mkfifo(folder / "0.png")
    (folder / "3.png").mkdir()
    assert len(read_frames(folder).frames) == 2
    Image.fromarray(pictures(1, 20, 20)[0]).save(folder / "4.png")
    assert "its frames have several sizes" in refused(folder)
    assert read_frames(folder, prepare=Preparation.square(16).frames).frames.shape == (3, 16, 16, 3)
    (folder / "1.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="1.png: not a picture"):
        read_frames(folder)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
        for name in ("pipe.mp4", "socket.mp4"):
            assert "not a regular file" in refused(tmp_path / name)
    assert "not a regular file" in refused("/dev/zero")
    assert "a broken link" in refused(tmp_path / "link.mp4")
    for name in ("missing.mp4", "n" * 300, "a\0b"):
        assert "no such video file" in refused(tmp_path / name)
