"""One at a time, between processes that know nothing of each other: a locked file, free when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: str | os.PathLike, waiting: Callable[[], object] = lambda: None, every: float = 0.1) -> Iterator[None]:
    """Hold the lock `path` for a block; while another holds it, `waiting` is called again and again."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while (held := _take(path)) is None:
        waiting()
        time.sleep(every)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(held)


def is_locked(path: str | os.PathLike) -> bool:
    """Whether a living process holds it."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _take(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(path)):
            return handle
    except (BlockingIOError, FileNotFoundError):  # FileNotFoundError: its last holder removed it in between
        pass
    os.close(handle)
    return None
