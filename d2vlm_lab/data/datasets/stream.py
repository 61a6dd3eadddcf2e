"""The objects of a JSON list or of JSON Lines, one at a time, however large the file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

from ..sample import SampleError

CHUNK = 1 << 20  # characters
BETWEEN = re.compile(r"[\s,\[\]]*")  # what may stand between two objects


def stream_objects(path: str | os.PathLike) -> Iterator[dict]:
    """Errors name the file and the object."""
    decoder, n, text, at = json.JSONDecoder(), 0, "", 0
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise SampleError(f"{path}: no readable annotation file ({error.strerror})") from None
    with file:
        while True:
            at = BETWEEN.match(text, at).end()
            try:
                record, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                more = _more(file, path)
                if more:
                    text, at = text[at:] + more, 0
                    continue
                if at < len(text):
                    raise SampleError(f"{path}, sample {n}: not readable as JSON ({error})") from None
                return
            if not isinstance(record, dict):
                raise SampleError(f"{path}, sample {n}: expected an object, found {type(record).__name__}")
            yield record
            n += 1


def _more(file, path: str | os.PathLike) -> str:
    try:
        return file.read(CHUNK)
    except UnicodeDecodeError as error:
        raise SampleError(f"{path}: not readable as text ({error})") from None
