"""Frames and their true times: the same from all readers, and a clear error for every kind of broken file."""

import random
from fractions import Fraction
from importlib.util import find_spec

import av
import numpy as np
import pytest

from d2vlm_lab.data import video
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.data.video import VideoError, choose, read_frames, write_frames
from d2vlm_lab.errors import LabError

TORCHCODEC = find_spec("torchcodec") is not None
needs_torchcodec = pytest.mark.skipif(not TORCHCODEC, reason="torchcodec is not installed here")
needs_decord = pytest.mark.skipif(video.decord is None, reason="decord is not installed here")
READERS = [pytest.param("decord", marks=needs_decord), "av", pytest.param("torchcodec", marks=needs_torchcodec)]


def pictures(n=40, height=48, width=64):
    """A smooth pattern that moves, and a bar that grows by one column per frame, so that a frame tells its number."""
    rows, columns = np.mgrid[:height, :width]
    frames = [np.stack([columns * 3, rows * 4, (rows + columns + 4 * k) % 200], -1).astype(np.uint8) for k in range(n)]
    for k, frame in enumerate(frames):
        frame[:8, :k + 1] = 255
        frame[:8, k + 1:] = 0
    return np.stack(frames)


def number(frame):
    """Which frame of `pictures` this is."""
    return int((frame[2, :, 0] > 128).sum()) - 1


def write(path, frames=None, fps=10, codec="libx264", milliseconds=None, rotation=0, movflags=None,
          b_frames=False):
    frames = pictures() if frames is None else frames
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=fps, options={} if b_frames else {"bf": "0"})
        stream.thread_count = 1
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        if milliseconds is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for k, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = int(milliseconds[k]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("reader", READERS)
def test_what_was_written_is_read_back_with_its_times(tmp_path, reader):
    write_frames(tmp_path / "a.mp4", pictures(32), 2)
    clip = read_frames(tmp_path / "a.mp4", reader=reader)
    assert clip.frames.dtype == np.uint8 and clip.timestamps.dtype == np.float64
    assert clip.timestamps.tolist() == [k / 2 for k in range(32)]
    assert [number(frame) for frame in clip.frames] == list(range(32))
    assert np.abs(clip.frames.astype(int) - pictures(32)).mean() < 4


def test_the_same_frames_give_the_same_file(tmp_path):
    dice, held = np.random.default_rng(0), []
    for k in range(12):
        held = [*held[-5:], dice.integers(0, 255, dice.integers(1, 300_000), dtype=np.uint8)]  # memory in disorder
        write_frames(tmp_path / f"{k}.mp4", pictures(32, 64, 64), 2)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


CASES = ["plain.mp4", "b_frames.mp4", "plain.mkv", "plain.webm", "plain.avi", "odd.mp4", "variable.mp4", "rotated.mp4",
         "upside_down.mp4"]


def example(folder, case):
    """A file of each common kind."""
    codec = {"plain.webm": "libvpx-vp9", "plain.avi": "mpeg4", "av1.mp4": "libsvtav1"}.get(case, "libx264")
    steps = np.random.default_rng(0).integers(20, 300, 40)
    late = [5000 + 100 * k for k in range(40)]
    return write(folder / case, pictures(height=50, width=86) if "odd" in case else pictures(height=64, width=96),
                 codec=codec, milliseconds={"variable.mp4": steps.cumsum(), "late.mp4": late}.get(case),
                 b_frames="b_frames" in case, rotation={"rotated.mp4": 90, "upside_down.mp4": 180}.get(case, 0))


@pytest.mark.parametrize("reader, case", [
    *(pytest.param("decord", case, marks=needs_decord) for case in CASES),
    *(pytest.param("torchcodec", case, marks=needs_torchcodec) for case in [*CASES, "late.mp4", "av1.mp4"])])
def test_all_readers_return_the_same_frames_and_times(tmp_path, reader, case):
    path = example(tmp_path, case)
    for sampling in ({}, {"fps": 3, "prepare": Preparation(32).frames}, {"fps": 2, "max_frames": 5}):
        one, other = (read_frames(path, **sampling, reader=name) for name in (reader, "av"))
        assert np.array_equal(one.frames, other.frames)
        assert np.allclose(one.timestamps, other.timestamps, atol=1e-4)


@pytest.mark.parametrize("reader", ["auto", "av"])
def test_av1_which_decord_cannot_read_is_read_by_default(tmp_path, reader):
    clip = read_frames(example(tmp_path, "av1.mp4"), reader=reader)
    assert [number(frame) for frame in clip.frames] == [*range(40)]


@pytest.mark.skipif(TORCHCODEC, reason="torchcodec is installed here")
def test_without_torchcodec_its_choice_is_one_clear_error(tmp_path):
    with pytest.raises(LabError, match="data.reader is torchcodec, which cannot be used here .it is not installed"):
        read_frames(write(tmp_path / "a.mp4"), reader="torchcodec")


@pytest.mark.parametrize("reader", READERS)
def test_with_a_variable_frame_rate_times_are_those_in_the_file(tmp_path, reader):
    times = np.concatenate([[0], np.random.default_rng(1).integers(20, 300, 39).cumsum()])
    clip = read_frames(write(tmp_path / "v.mp4", milliseconds=times), reader=reader)
    assert np.allclose(clip.timestamps, times / 1000, atol=1e-4)
    sampled = read_frames(tmp_path / "v.mp4", fps=2, reader=reader)
    shown = [np.flatnonzero(times <= tick * 500)[-1] for tick in range(int(times[-1] / 500) + 1)]
    assert [number(frame) for frame in sampled.frames] == list(dict.fromkeys(shown))


@pytest.mark.parametrize("reader", ["auto", "av", pytest.param("torchcodec", marks=needs_torchcodec)])
def test_a_rotated_video_is_shown_upright(tmp_path, reader):
    """In a width at which decord gives up, too."""
    clip = read_frames(write(tmp_path / "r.mp4", rotation=90), reader=reader)
    assert clip.frames.shape[1:3] == (64, 48)
    upright = np.rot90(pictures(), 1, (1, 2)).astype(int)
    assert np.abs(clip.frames - upright).mean() < 4 < np.abs(clip.frames - upright[:, ::-1, ::-1]).mean()


@pytest.mark.parametrize("reader", ["auto", "av", pytest.param("torchcodec", marks=needs_torchcodec)])
def test_frames_before_zero_of_a_cut_without_re_encoding_are_dropped(tmp_path, reader):
    cut = tmp_path / "cut.mp4"
    with av.open(str(write(tmp_path / "whole.mp4"))) as source, av.open(
            str(cut), "w", container_options={"avoid_negative_ts": "disabled"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        offset = int(1 / source.streams.video[0].time_base)  # what follows the first second
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, stream
                target.mux(packet)
    clip = read_frames(cut, reader=reader)
    assert [number(frame) for frame in clip.frames] == list(range(10, 40))
    assert np.allclose(clip.timestamps, np.arange(30) / 10, atol=1e-4)


def test_choose_takes_what_is_on_screen_at_each_tick_and_each_frame_once():
    times = np.array([0.0, 0.4, 0.5, 1.1, 2.6])
    assert choose(times, 2, None).tolist() == [0, 2, 3]  # ticks 0, .5, 1, 1.5, 2, 2.5: the last frame comes after
    assert choose(times, 100, None).tolist() == [0, 1, 2, 3, 4]
    assert choose(times, None, 3).tolist() == [0, 2, 4]


@pytest.mark.parametrize("size", [24, 96])
def test_the_short_side_becomes_size_and_the_aspect_stays(tmp_path, size):
    write_frames(tmp_path / "a.mp4", pictures(4), 2)
    frames = read_frames(tmp_path / "a.mp4", prepare=Preparation(size).frames).frames
    assert frames.shape == (4, size, size * 64 // 48, 3)


def broken(folder):
    """One file of each kind that holds no readable video, by what is wrong with it."""
    good = write(folder / "good.mp4", movflags="faststart").read_bytes()
    late = write(folder / "late.mp4").read_bytes()
    matroska = write(folder / "good.mkv", pictures(60)).read_bytes()
    noise = bytearray(good)
    dice = random.Random(0)
    for _ in range(2000):
        noise[dice.randrange(good.index(b"mdat") + 4, len(good))] = dice.randrange(256)
    contents = {"empty": b"", "text": b"no video\n" * 500, "random": dice.randbytes(20000), "corrupt": bytes(noise),
                "index lost": late[:len(late) // 2], "cut in half": good[:len(good) // 2], "cut late": good[:-200],
                "matroska cut": matroska[:len(matroska) // 2]}
    for name, content in contents.items():
        (folder / f"{name}.mp4").write_bytes(content)
    with av.open(str(folder / "sound only.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for k in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(folder / "no frames.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height = stream.width = 64
        container.start_encoding()
    return [*contents, "sound only", "no frames", "missing"]


@pytest.mark.parametrize("reader", ["auto", *READERS])
def test_every_broken_file_is_one_clear_error_that_names_it(tmp_path, reader):
    for name in broken(tmp_path):
        with pytest.raises(VideoError, match=f"{name}.mp4") as error:
            read_frames(tmp_path / f"{name}.mp4", fps=2, reader=reader)
        assert "\n" not in str(error.value), name


@needs_decord
def test_where_one_reader_fails_the_other_takes_over(tmp_path, monkeypatch):
    stream = write(tmp_path / "stream.ts", b_frames=True)
    with pytest.raises(VideoError):
        read_frames(stream, reader="decord")
    assert [number(frame) for frame in read_frames(stream).frames] == list(range(40))
    def broken(path, about):
        raise RuntimeError("no such decoder")

    monkeypatch.setitem(video._READERS, "av", broken)
    assert len(read_frames(write(tmp_path / "a.mp4")).frames) == 40
    with pytest.raises(VideoError, match="stream.ts: damaged video, cannot be decoded .no such decoder"):
        read_frames(stream)


def test_a_decoder_that_is_not_installed_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "decord", None)
    with pytest.raises(LabError, match="decord is not installed"):
        read_frames(write(tmp_path / "a.mp4"), reader="decord")


@pytest.mark.parametrize("reader", ["auto", pytest.param("torchcodec", marks=needs_torchcodec)])
def test_damage_that_the_decoder_can_hide_still_gives_every_frame_and_no_crash(tmp_path, reader):
    """Random bytes changed one to ten at a time: an error, or all frames at the right times."""
    good = write(tmp_path / "good.mp4").read_bytes()
    for seed in range(40):
        dice, data = random.Random(seed), bytearray(good)
        for _ in range(dice.choice([1, 3, 10])):
            data[dice.randrange(40, len(data))] = dice.randrange(256)
        (tmp_path / "hurt.mp4").write_bytes(data)
        try:
            clip = read_frames(tmp_path / "hurt.mp4", reader=reader)
        except VideoError as error:
            assert "hurt.mp4" in str(error)
        else:
            assert len(clip.frames) == len(clip.timestamps) and (np.diff(clip.timestamps) > 0).all()


def test_a_rate_that_is_not_positive_is_refused(tmp_path):
    with pytest.raises(LabError, match="must be positive"):
        read_frames(write(tmp_path / "a.mp4"), fps=0)
