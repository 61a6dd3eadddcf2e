"""Files that are whole or not there, locks between processes, and the memory of this one."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath


def unsafe_path(path: str) -> bool:
    """True where a path from an annotation would leave the folder it belongs to."""
    pure = PurePosixPath(path.replace("\\", "/"))
    return not path or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0] or "\0" in path


class atomic_path:
    """`with atomic_path(final) as partial:` a file that takes its final name only if the block succeeds."""

    def __init__(self, final: str | os.PathLike):
        self.final = Path(final)
        self.partial = self.final.with_name(f".{self.final.name}.{os.getpid()}.partial")

    def __enter__(self) -> Path:
        self.final.parent.mkdir(parents=True, exist_ok=True)
        return self.partial

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None:
            os.replace(self.partial, self.final)
        else:
            self.partial.unlink(missing_ok=True)


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


def peak_megabytes() -> float:
    """Linux's `ru_maxrss` starts from the peak of the process that started this one; `VmHWM` is this one's own."""
    if sys.platform == "linux":
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
