"""Files that are complete or absent, lines that are, full disks, locks between processes, how much memory was used."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from .errors import LabError


def unsafe_path(path: str) -> bool:
    """True where a path from an annotation would leave the folder it belongs to."""
    pure = PurePosixPath(path.replace("\\", "/"))
    return not path or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0] or "\0" in path


@contextmanager
def atomic_path(final: str | os.PathLike) -> Iterator[Path]:
    """`with atomic_path(final) as partial:` a file that takes its final name only if the block succeeds."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, final)


def sweep(folder: str | os.PathLike, seconds: float = 0) -> None:
    """Remove the unfinished files and folders that a process which was killed left in `folder` and in those below it.

    Where nobody else may be writing, because the folder's lock is held, all of them; elsewhere those that have not
    changed for so many `seconds`.
    """
    for left in [path for path in Path(folder).rglob(".*") if re.fullmatch(r"\..+\.\d+\.(partial|old)", path.name)]:
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime < seconds:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "a file would become larger than this process may write"}


@contextmanager
def naming_full_disk(advice: str) -> Iterator[None]:
    """Turns what a full disk does to a block, in whichever library, into one error that ends with the `advice`."""
    usual = threading.excepthook

    def quiet(args) -> None:  # TensorBoard writes in a thread of its own, which would print a trace
        if args.exc_value is None or full_disk(args.exc_value) is None:
            usual(args)

    threading.excepthook = quiet
    try:
        yield
    except Exception as error:
        if (reason := full_disk(error)) is None or isinstance(error, LabError):
            raise
        raise LabError(f"{reason}; {advice}") from None
    finally:
        threading.excepthook = usual


def full_disk(error: BaseException | None) -> str | None:
    """In words, where an error comes from a disk without room. Not every library hands on the system's error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return FULL[error.errno]
        for number, reason in FULL.items():
            if os.strerror(number) in str(error):  # safetensors
                return reason
        if isinstance(error, RuntimeError) and ("iostream error" in str(error) or "unexpected pos" in str(error)):
            return "a file could not be written to its end, which mostly means that the disk is full"  # torch.save
        error = error.__cause__ or error.__context__
    return None


def json_lines(path: str | os.PathLike) -> list[dict]:
    """The objects of a JSON Lines file; none if it is missing. Lines that were cut off, by a kill or a full disk, are
    left out. Nothing is changed, so that another process may be writing."""
    if not os.path.exists(path):
        return []
    objects = []
    for line in Path(path).read_bytes().split(b"\n"):
        with suppress(ValueError):
            if isinstance(value := json.loads(line), dict):
                objects.append(value)
    return objects


@contextmanager
def locked(path: str | os.PathLike, waiting: Callable[[], object] = lambda: None, every: float = 0.1) -> Iterator[None]:
    """Hold the lock file `path` for a block. While another process holds it, `waiting` is called every so many seconds.

    The lock of a process that dies is free again, although its file stays.
    """
    def give_up() -> bool:
        waiting()
        return False

    lock = FileLock(path)
    lock.acquire(poll_interval=every, cancel_check=give_up)
    try:
        yield
    finally:
        Path(path).unlink(missing_ok=True)  # before the release: whoever takes it next makes a new file
        lock.release()


@contextmanager
def claimed(path: str | os.PathLike, refusal: str, seconds: float = 0) -> Iterator[None]:
    """Hold the lock file `path` for a block; an error with the message `refusal` if another process keeps it longer."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise LabError(refusal) from None
    try:
        yield
    finally:
        Path(path).unlink(missing_ok=True)
        lock.release()


def is_locked(path: str | os.PathLike) -> bool:
    """Whether a living process holds it."""
    if not os.path.exists(path):
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def peak_megabytes() -> float:
    """The most memory that this process has held. Linux's `ru_maxrss` would begin with the peak of its parent."""
    if sys.platform == "linux":
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
