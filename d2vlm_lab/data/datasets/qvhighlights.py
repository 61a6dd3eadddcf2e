"""QVHighlights, moment retrieval: a sentence, and every window of the video that fits it.

Its lines hold `qid`, `query`, `vid`, `duration` and `relevant_windows`; the lines of its test split lack the windows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ...files import write_json_lines
from ...ideas.evidence import Event
from ...shapes import shown
from ..sample import Sample
from . import et_bench
from .records import OnBad, about_one_sentence, field, interval, read_records, to_samples, unique

# There is no published prompt: the data set is older than the models that would need one.
PROMPT = ("Find every moment of the video that fits the sentence: '{query}'. Name the best one first. The format of "
          "your response should be: 'It happens in <start time> - <end time>, <start time> - <end time>'.")


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    records = read_records(path, go_on=on_bad is not None)
    return unique(to_samples(records, from_record, path, half_frame, on_bad), path, on_bad)


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """The questions about one sentence, all of them about .mp4 files; their number in the file becomes their id."""
    write_json_lines(path, (
        {"qid": index, "query": sample.events[0].caption, "vid": sample.video.removesuffix(".mp4"),
         "duration": sample.duration, "relevant_windows": [list(event.interval) for event in sample.events]}
        for index, sample in enumerate(about_one_sentence(samples))))


def predictions(path: str | os.PathLike, samples: Sequence[Sample]) -> list[dict]:
    """What the scorer wants back, without the answer `a`."""
    return [et_bench.to_record(sample, int(sample.id)) for sample in samples]


def from_record(record: dict, index: int = 0) -> Sample:
    """A window may end after its video does; the video then lasts as long as the window."""
    if "relevant_windows" not in record:
        raise ValueError("field 'relevant_windows' is missing; the test split has none, so use the validation split")
    windows = record["relevant_windows"]
    if not isinstance(windows, list) or not windows:
        raise ValueError(f"relevant_windows is {shown(windows)}; it must be a list of at least one [start, end]")
    query = field(record, "query", str).strip().strip(".")
    events = tuple(Event(*interval(window, f"window {k}"), query) for k, window in enumerate(windows, 1))
    duration = field(record, "duration", float)
    duration = max(duration, *(event.end for event in events)) if duration > 0 else duration
    answer = [piece for k in range(len(events)) for piece in (", ", k)]
    return Sample(str(field(record, "qid", int)), f"{field(record, 'vid', str)}.mp4", duration, "tal", "qvhighlights",
                  PROMPT.format(query=query), events, ("It happens in ", *answer[1:], "."))
