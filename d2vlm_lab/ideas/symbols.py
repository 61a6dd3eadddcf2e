"""A time in special symbols, as in TRACE: ten digits, a point, a separator and an end, at a fixed width.

An interval from 12 to 20.5 seconds becomes `0012.0,0020.5;`. After the end symbol, words follow again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .evidence import Interval

SYMBOLS = "0123456789.,;"
END = SYMBOLS.index(";")
WIDTH = 6  # of a time, with one decimal
LATEST = 10 ** (WIDTH - 2) - 0.1  # seconds
WRITTEN = re.compile(r"(\d{4}\.\d),(\d{4}\.\d);")


def spell(interval: Interval) -> list[int]:
    """An interval as the numbers of its symbols."""
    if not all(0 <= time <= LATEST for time in interval):
        raise ValueError(f"{interval[0]:g} - {interval[1]:g} does not fit into time tokens, which reach from 0 to "
                         f"{LATEST} seconds")
    times = map(abs, interval)  # -0.0 is 0.0
    return [SYMBOLS.index(symbol) for time, last in zip(times, ",;") for symbol in f"{time:0{WIDTH}.1f}{last}"]


def show(symbols: Sequence[int]) -> str:
    return "".join(SYMBOLS[number] for number in symbols)


def read(symbols: Sequence[int]) -> Interval | None:
    """The interval that some symbols give, its ends in order; None if they are not written as `spell` does.
    """
    written = WRITTEN.fullmatch(show(symbols))
    if not written:
        return None
    start, end = sorted(map(float, written.groups()))
    return start, end
