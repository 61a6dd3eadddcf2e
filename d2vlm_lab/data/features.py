"""Features of a frozen frame encoder, kept on disk so that no video is decoded twice.

An entry is identified by the content of the video file, how its frames were sampled and which encoder saw them. It is
one file with a line of JSON, the timestamps and the features; arrays are mapped from it rather than copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import LabError
from ..files import atomic_path, locked
from ..reader import opened
from .preparation import Preparation
from .video import Decoder, Parts, VideoError, check_file, pictures, read_parts

HEADER = 256  # bytes
BLOCK = 64  # frames that are encoded at a time
KINDS = ("<f2", "<f4")
AS_THEY_ARE = Preparation()
VERIFIED: set[tuple[str, int, int]] = set()  # entries with a correct checksum: path, size, time of the last change


class FeatureCache:
    """Several processes may share this cache: an entry is made once and appears whole; a damaged one is made again."""

    def __init__(self, folder: str | os.PathLike, encoder_id: str, fps: float | None = None,
                 preparation: Preparation = AS_THEY_ARE, max_frames: int | None = None,
                 kept_as: Literal["fp16", "fp32"] = "fp32", around: int = 0, reader: Decoder = "auto"):
        self.sampling: dict[str, Any] = {"fps": fps, "prepare": preparation.frames, "max_frames": max_frames,
                                         "reader": reader, "clock": preparation.clock}
        self.dtype = {"fp16": torch.float16, "fp32": torch.float32}[kept_as]
        self.around = around  # frames before and after a frame that the encoder looks at, besides this one
        name = re.sub(r"[^\w.-]+", "_", encoder_id)
        sampling = f"fps={fps}-size={preparation.label}-max_frames={max_frames}"
        self.folder = Path(folder) / name / (sampling if kept_as == "fp32" else f"{sampling}-{kept_as}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(f"{self.folder}: the folder for features cannot be made ({error.strerror}); make it "
                           "writable, or set data.cache=off") from None
        self.hashes = HashIndex(Path(folder) / "hashes.txt")

    def entry(self, path: str | os.PathLike) -> Path:
        """The file that holds, or will hold, the features of a video."""
        return self.folder / f"{self.hashes.of(path)}.features"

    def get(self, path: str | os.PathLike, encode: Callable[..., Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Features (F, ...) and timestamps (F,); `encode` makes missing ones from (F, H, W, 3) uint8 frames.

        A video is decoded and encoded in blocks of BLOCK frames, and its features go to the disk block by block.
        """
        entry = self.entry(path)
        if (arrays := read_entry(entry)) is None:
            with writing(self.folder), locked(entry.with_name(f".{entry.stem}.lock")):
                if (arrays := read_entry(entry)) is None:  # another process may have made it meanwhile
                    with atomic_path(entry) as partial, open(partial, "wb") as out:
                        read_parts(path, lambda parts, times: write_entry(
                            out, self._encoded(path, parts, encode), times), **self.sampling)
                    arrays = read_entry(entry)
                    assert arrays is not None, f"{entry} cannot be read back"
        return arrays

    def _encoded(self, path: str | os.PathLike, parts: Parts, encode: Callable[..., Tensor]) -> Iterator[np.ndarray]:
        for frames, before, after in in_blocks(parts, BLOCK, self.around):
            sides = (before, after) if self.around else ()
            features = encode(torch.from_numpy(frames), *sides).detach().to("cpu", self.dtype).numpy()
            if self.dtype == torch.float16 and not np.isfinite(features).all():
                raise LabError(f"{path}: the features of its frames are too large for 16 bits; set data.cache=fp32")
            yield features

    def has(self, path: str | os.PathLike) -> bool:
        """Whether the features of a video are there, whole."""
        return read_entry(self.entry(path)) is not None


class HashIndex:
    """Hashes of files, remembered by path, size and time of change, so that the content of a file is read only once."""

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[str, str] = {}
        self.end = 0  # how far the file was read
        self.read_file()

    def __reduce__(self) -> tuple:
        return HashIndex, (self.path,)  # a worker reads the file by itself

    def read_file(self) -> None:
        """Learn what this and other processes have added to the file since it was last read."""
        if os.path.exists(self.path):
            with opened(self.path) as file:
                file.seek(self.end)
                lines = file.read().decode(errors="replace").splitlines()
                self.end = file.tell()
            self.known |= dict(line.split(" ") for line in lines if re.fullmatch(r"[0-9a-f]{32} [0-9a-f]{32}", line))

    def of(self, file: str | os.PathLike) -> str:
        if os.path.isdir(file):  # a folder of pictures
            return _short(" ".join(self.of(picture) for picture in pictures(Path(file))).encode())
        check_file(Path(file))
        state = os.stat(file)
        key = _short(f"{os.path.abspath(file)} {state.st_size} {state.st_mtime_ns}".encode())
        if key not in self.known:
            self.read_file()
        if key not in self.known:
            try:
                with open(file, "rb") as content:
                    self.known[key] = hashlib.file_digest(content, "sha256").hexdigest()[:32]
            except OSError as error:
                raise VideoError(f"{file}: cannot be read ({error.strerror})") from None
            with writing(self.path), open(self.path, "a", encoding="utf-8") as out:
                # short enough to stay whole when others write too
                out.write(f"{key} {self.known[key]}\n")
        return self.known[key]


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turns what keeps features from being written into an error of one line; errors of videos pass unchanged."""
    try:
        yield
    except OSError as error:
        raise LabError(f"{place}: features cannot be kept there ({error.strerror or error}); make room or make it "
                       "writable, or set data.cache=off") from None


def in_blocks(parts: Parts, size: int, around: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Frames in blocks of `size`, each with up to `around` neighbours on either side, and how many of these come before
    and after the block."""
    held, before = None, 0
    for part in chain(parts, [None]):
        if part is not None:
            held = part if held is None else np.concatenate([held, part])
        while held is not None and len(held) - before >= (size + around if part is not None else 1):
            n = min(size, len(held) - before)
            after = min(around, len(held) - before - n)
            yield held[:before + n + after], before, after
            first = max(0, before + n - around)
            held, before = held[first:], before + n - first


def write_entry(out: BinaryIO, features: Iterable[np.ndarray], timestamps: np.ndarray) -> None:
    """Write the features, which come in blocks; the earlier content of the file is lost."""
    timestamps = np.ascontiguousarray(timestamps, dtype=np.float64)
    checksum, shape, kind = zlib.crc32(timestamps), None, ""
    out.seek(0)
    out.truncate()
    out.write(b" " * HEADER)
    out.write(timestamps)
    for block in map(np.ascontiguousarray, features):
        shape, kind, checksum = block.shape[1:], block.dtype.str, zlib.crc32(block, checksum)
        out.write(block)
    header = {"shape": (len(timestamps), *(shape or ())), "dtype": kind, "crc32": checksum}
    out.seek(0)
    out.write(json.dumps(header).encode().ljust(HEADER))


def read_entry(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Features and timestamps mapped from the file; None if it is missing or damaged. Changes to them stay in memory.

    The checksum needs the whole file, so each process verifies it only at its first read.
    """
    try:
        opened(path).close()
        state = os.stat(path)
        raw = np.memmap(path, np.uint8, "c")
        header = json.loads(raw[:HEADER].tobytes())
        shape, kind, body = tuple(header["shape"]), np.dtype(header["dtype"]), raw[HEADER:]
        if kind.str not in KINDS or not shape or min(shape) < 1:
            return None
        file = (str(path), state.st_size, state.st_mtime_ns)
        if file not in VERIFIED and zlib.crc32(body) != header["crc32"]:
            return None
        VERIFIED.add(file)
        cut = 8 * shape[0]
        return body[cut:].view(kind).reshape(shape), body[:cut].view(np.float64)
    except (LabError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
