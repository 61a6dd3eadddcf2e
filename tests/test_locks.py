import fcntl
import os
import signal
import threading
import time

import pytest
from studies import small_world

from d2vlm_lab.files import claimed, is_locked, locked


def test_one_at_a_time_and_the_next_when_it_is_free(tmp_path):
    path, order = tmp_path / "deep" / "lock", []

    def second():
        with locked(path):
            order.append("second")

    with locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        assert is_locked(path)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and not path.exists() and not is_locked(path)


def test_a_lock_is_free_when_its_holder_is_killed(tmp_path):
    path = tmp_path / "lock"
    if not (pid := os.fork()):
        with locked(path):
            time.sleep(60)
        os._exit(0)
    while not is_locked(path):
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert path.exists() and not is_locked(path)
    with locked(path, "it waits", 0):
        pass


def test_a_lock_is_free_when_its_holder_is_killed_though_a_process_that_it_forked_lives_on(tmp_path):
    path, name = tmp_path / "lock", tmp_path / "child"
    if not (pid := os.fork()):
        with locked(path):
            if child := os.fork():
                (tmp_path / "partial").write_text(str(child))
                (tmp_path / "partial").rename(name)
            time.sleep(60)
        os._exit(0)
    while not name.exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    child = int(name.read_text())
    os.kill(child, 0)
    assert path.exists() and not is_locked(path)
    os.kill(child, signal.SIGKILL)


def test_who_may_only_read_sees_whether_it_is_held(tmp_path, monkeypatch):
    def seen():
        if not (pid := os.fork()):
            try:
                if not os.geteuid():
                    try:
                        os.setuid(65534)  # root may write everywhere
                    except OSError:
                        os._exit(3)
                os._exit(is_locked("lock"))
            finally:
                os._exit(2)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return pytest.skip("this root cannot become another user") if status == 3 else status

    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with locked("lock"):
        os.chmod("lock", 0o444)
        tmp_path.chmod(0o555)
        assert seen() == 1
        tmp_path.chmod(0o755)
    (tmp_path / "lock").touch(0o444)  # of a process that was killed
    assert seen() == 0


def test_a_look_at_a_lock_refuses_nobody(tmp_path):
    path = tmp_path / "lock"
    with open(path, "w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert not is_locked(path)
        timer = threading.Timer(0.1, fcntl.flock, (look, fcntl.LOCK_UN))
        timer.start()
        with claimed(path, "another process"):
            timer.join()


def test_many_who_want_it_never_have_it_together(tmp_path):
    path, book = tmp_path / "lock", tmp_path / "book"
    pids = []
    for _ in range(4):
        if not (pid := os.fork()):
            for _ in range(25):
                with locked(path):
                    book.write_text(str(int(book.read_text() if book.exists() else 0) + 1))
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    assert book.read_text() == "100"


def test_a_world_that_two_processes_want_is_made_once(tmp_path):
    pids = []
    for _ in range(2):
        if not (pid := os.fork()):
            small_world(tmp_path)
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    assert [path.name for path in tmp_path.iterdir()] == ["world"]
    made = (tmp_path / "world" / "world.json").stat().st_mtime_ns
    small_world(tmp_path)
    assert (tmp_path / "world" / "world.json").stat().st_mtime_ns == made
