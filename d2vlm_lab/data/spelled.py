"""The style `time_tokens`: after each `<evi>` come the symbols of its times, as token ids beyond any vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..ideas.evidence import Interval
from ..ideas.symbols import read, show, spell
from .batch import IGNORE, Text, Tokenizer
from .sample import SampleError

FIRST = 2**30  # the id of the first symbol


def spelled_out(text: Text, intervals: Sequence[Interval]) -> Text:
    """A text whose `<evi>` are followed by these times, in seconds, and do not point at frames."""
    ids, labels, done = [], [], 0
    for column, interval in zip(text.columns, intervals, strict=True):
        try:
            symbols = [FIRST + number for number in spell(interval)]
        except ValueError as error:
            raise SampleError(str(error)) from None
        given = text.labels[column] == IGNORE
        ids += text.ids[done:column + 1] + symbols
        labels += text.labels[done:column + 1] + ([IGNORE] * len(symbols) if given else symbols)
        done = column + 1
    return Text(ids + text.ids[done:], labels + text.labels[done:])


def read_times(ids: Sequence[int], evidence: int) -> list[Interval | None]:
    """The times that the symbols after each `<evi>` (id `evidence`) say; None where they cannot be read."""
    written: list[list[int]] = []
    for token in ids:
        if token == evidence:
            written.append([])
        elif token >= FIRST:
            written[-1].append(token - FIRST)
    return [read(symbols) for symbols in written]


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Ids as text, with the symbols of times. NUL, which our files refuse, becomes the replacement character."""
    text = "".join(show([token - FIRST for token in run]) if symbols else tokenizer.decode(list(run))
                   for symbols, run in groupby(ids, lambda token: token >= FIRST))
    return text.replace("\0", "\ufffd")
