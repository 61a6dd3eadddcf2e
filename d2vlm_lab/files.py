"""Files and lines that are complete or absent, hashes, files in packages, full disks, locks, memory."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from .errors import LabError
from .reader import read_lines

PIECE = 2**24  # bytes of a file that one thread hashes at a time


def unsafe_path(path: str) -> bool:
    """True where a path from an annotation would leave the folder it belongs to."""
    pure = PurePosixPath(path.replace("\\", "/"))
    return not pure.parts or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0] or "\0" in path


def check_outputs(outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]) -> None:
    """An error where a file that will be written is a folder, a file that is read, or the same as another output."""
    taken = {os.path.realpath(path): "this is a file that is read" for path in inputs}
    for path in outputs:
        real = os.path.realpath(path)
        problem = "a folder stands where this file should be written" if os.path.isdir(path) else taken.get(real)
        if problem is not None:
            raise LabError(f"{path}: {problem}; choose another name to write")
        taken[real] = "another output is written there, too"


@contextmanager
def atomic_path(final: str | os.PathLike) -> Iterator[Path]:
    """`with atomic_path(final) as partial:` a file that takes its final name only if the block succeeds."""
    final = Path(final)
    if os.path.exists(final) and not os.path.isfile(final):  # also a device, which would be replaced
        kind = "a folder" if os.path.isdir(final) else "something that is no file"
        raise LabError(f"{final}: {kind} stands where this file should be written")
    partial = final.with_name(f".{final.name[:100]}.{socket.gethostname()}.{os.getpid()}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(final.parent.absolute())
        yield partial
        os.replace(partial, final)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.errno not in FULL and error.filename in _names(partial, final):
            raise LabError(f"{final}: cannot be written ({error.strerror})") from None
        raise


def _names(*paths: Path) -> set[str]:
    """The names of these paths and of all folders in which they are."""
    return {str(place) for path in paths for place in (path, *path.parents)}


@cache
def sweep(folder: Path) -> None:
    """Remove from a folder what processes on this machine had begun to write there before they were killed."""
    for path in folder.glob(".*"):
        begun = re.fullmatch(rf"\..*\.{re.escape(socket.gethostname())}\.(\d+)\.(partial|old)", path.name)
        if begun and not is_alive(int(begun[1])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def sweep_below(folder: str | os.PathLike) -> None:
    """`sweep` in a folder and in all folders below it."""
    for place in [Path(folder).absolute(), *(path.absolute() for path in Path(folder).rglob("*") if path.is_dir())]:
        sweep(place)


def is_alive(process: int) -> bool:
    """Whether there is a process of that number on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


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
    """What is wrong, in words, if an error comes from a full disk. Not every library hands on the system's error."""
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
    return [value for _, value in read_lines(path, dict, lambda *_: None)] if Path(path).exists() else []


def write_text(path: str | os.PathLike, text: str) -> None:
    """A text file, which takes its name only when it is complete."""
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: object, **form) -> None:
    """A JSON file, written likewise; `form` as for `json.dumps`."""
    write_text(path, json.dumps(value, indent=1, **form) + "\n")


def as_json_lines(records: Iterable[dict]) -> Iterator[str]:
    """The lines of a JSON Lines file."""
    return (json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write_json_lines(path: str | os.PathLike, records: Iterable[dict]) -> None:
    """A JSON Lines file, which takes its name only when it is complete."""
    with atomic_path(path) as unfinished, open(unfinished, "w", encoding="utf-8") as out:
        out.writelines(as_json_lines(records))


def file_hash(path: Path) -> str:
    """A hash of the content of a file, computed by several threads and only once for one content."""
    state = path.stat()
    return _hash(path, state.st_size, state.st_mtime_ns)


@cache
def _hash(path: Path, size: int, changed: int) -> str:
    def piece(at: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(at)
            return hashlib.sha256(file.read(PIECE)).digest()

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return hashlib.sha256(b"".join(threads.map(piece, range(0, size, PIECE)))).hexdigest()


def packaged(package: str, suffix: str, known: str = "") -> Path:
    """The first file with this ending inside an installed package, without importing the package.

    `known` is the name of a package that has such a file, for the error.
    """
    spec = find_spec(package)
    files = sorted(Path(spec.origin).parent.rglob(f"*{suffix}")) if spec and spec.origin else []
    if not files:
        hint = f"; {known} has one" if known else ""
        raise LabError(f"package:{package}: no such package with a {suffix} file is installed{hint}")
    return files[0]


@contextmanager
def locked(path: str | os.PathLike, refusal: str = "", seconds: float = -1) -> Iterator[None]:
    """Hold the lock file `path` for a block; wait while another process holds it, but at most `seconds` if not below 0.

    After them, an error with the message `refusal`. The lock of a process that dies is free again, although its file
    stays.
    """
    lock = _lock(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise LabError(refusal) from None
    try:
        yield
    finally:
        Path(path).unlink(missing_ok=True)  # before the release: whoever takes it next makes a new file
        lock.release()


def claimed(path: str | os.PathLike, refusal: str, seconds: float = 0.5) -> AbstractContextManager[None]:
    """`locked`, but refused if another process keeps the lock longer than `is_locked` does, which takes a moment."""
    return locked(path, refusal, seconds)


def _lock(path: str | os.PathLike) -> FileLock:
    """A lock that can be taken: where its file cannot be made, FileLock would wait for ever."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
    except OSError as error:
        if error.errno in FULL:
            raise
        raise LabError(f"{path}: cannot be written ({error.strerror})") from None
    return FileLock(path)


def is_locked(path: str | os.PathLike) -> bool:
    """Whether a living process holds the lock; everybody who may read the file can ask."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # until the file is closed
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def peak_megabytes() -> float:
    """The most memory that this process has held. Linux's `ru_maxrss` would begin with the peak of its parent."""
    if sys.platform == "linux":
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
