"""A file is complete or absent, and what a killed process had begun is not left beside it."""

import os
import resource
import signal
import subprocess
import sys

import pytest

from d2vlm_lab.errors import LabError
from d2vlm_lab.files import atomic_path, claimed, locked, sweep

WRITES = """
import sys, time
from d2vlm_lab.files import atomic_path
with atomic_path(sys.argv[1]) as partial:
    partial.write_text("half")
    print("begun", flush=True)
    time.sleep(60)
"""


def end(process):
    process.kill()
    process.communicate()


def write(path, content):
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def test_a_folder_where_a_file_should_go_is_an_error_and_nothing_is_left(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(LabError, match="page.html: a folder stands where this file should be written"):
        write(tmp_path / "page.html", b"x")
    with pytest.raises(LabError, match="late.html: cannot be written"), atomic_path(tmp_path / "late.html") as partial:
        partial.write_text("x")
        (tmp_path / "late.html").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late.html", "page.html"]


def test_a_place_that_cannot_be_written_is_named_by_its_final_name(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    for place in (tmp_path / "file" / "page.html", tmp_path / "file" / "deeper" / "page.html", tmp_path / ("x" * 300)):
        with pytest.raises(LabError, match=f"^{place}: cannot be written"):
            write(place, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lock_that_cannot_be_made_is_an_error_and_no_endless_wait(tmp_path):
    for place in ("/proc/no-such-folder/.lock", tmp_path):
        with pytest.raises(LabError, match="cannot be written"), locked(place):
            pass
        with pytest.raises(LabError, match="cannot be written"), claimed(place, "another process"):
            pass


def test_what_is_no_file_is_never_replaced_by_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LabError, match="pipe: something that is no file stands where"):
        write(tmp_path / "pipe", b"x")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path):
    write(tmp_path / "file", b"old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError):
            write(tmp_path / "file", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "file").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_had_begun_is_swept_by_the_next_one_and_what_others_write_is_not(tmp_path):
    victim, process = (subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path / f"file-{killed}")],
                                        stdout=subprocess.PIPE, text=True) for killed in (True, False))
    try:
        assert victim.stdout.readline() == process.stdout.readline() == "begun\n"
        end(victim)
        assert len(list(tmp_path.glob(".*.partial"))) == 2
        sweep.cache_clear()
        write(tmp_path / "other", b"x")
        left, = tmp_path.glob(".*.partial")
        assert left.name.startswith(".file-False.") and str(process.pid) in left.name
    finally:
        end(process)
    assert not (tmp_path / "file-True").exists()
