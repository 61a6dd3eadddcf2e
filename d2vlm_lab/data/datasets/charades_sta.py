"""Charades-STA: one sentence, one moment.

Two public files hold it: captions as JSON, and the original lines `VIDEO start end##sentence`, which give no durations.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ...ideas.evidence import Event
from ..sample import UNKNOWN, Sample
from . import et_bench
from .records import OnBad, about_one_sentence, field, interval, opened, read_coco, to_samples, unique, write_object

PROMPT = ("You are given a video about indoor activities. Watch the video carefully and find a visual event described "
          "by the sentence: '{caption}'. The format of your response should be: 'The event happens in <start time> - "
          "<end time>'.")
ANSWER = ("The event happens in ", 0, ".")  # as the prompt asks for


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    """All queries of a file in either form, asked in the published words."""
    records, build = (read_lines(path), from_line) if str(path).endswith(".txt") else (read_coco(path), from_record)
    return unique(to_samples(records, build, path, half_frame, on_bad), path, on_bad)


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """The JSON form, with the questions about one moment alone; their number in the file becomes their id."""
    moments = [sample for sample in about_one_sentence(samples) if len(sample.events) == 1]
    write_object(path, {"annotations": [
        {"id": index, "image_id": sample.video, "duration": sample.duration, "caption": sample.events[0].caption,
         "timestamp": list(sample.events[0].interval)} for index, sample in enumerate(moments)]})


def predictions(path: str | os.PathLike, samples: Sequence[Sample]) -> list[dict]:
    """What the scorer wants back, without the answer `a`."""
    return [et_bench.to_record(sample, int(sample.id)) for sample in samples]


def from_record(record: dict, index: int = 0) -> Sample:
    """A moment of the public file may end after its video does; the video then lasts as long as the moment."""
    start, end = interval(record["timestamp"], "timestamp")
    caption = field(record, "caption", str)
    duration = field(record, "duration", float) if "duration" in record else UNKNOWN
    duration = max(duration, end) if duration > 0 else duration
    return Sample(str(field(record, "id", int)), field(record, "image_id", str), duration, "tvg", "charades_sta",
                  PROMPT.format(caption=caption.strip(".")), (Event(start, end, caption),), ANSWER)


def from_line(record: dict, index: int = 0) -> Sample:
    """A query of the original file: its line is `VIDEO start end##sentence`."""
    moment, _, caption = record["line"].partition("##")
    try:
        video, start, end = moment.split()
        times = [float(start), float(end)]
    except ValueError:
        raise ValueError(f"{record['line']!r}; expected VIDEO start end##sentence") from None
    return from_record({"id": index, "image_id": f"{video}.mp4", "timestamp": times, "caption": caption}, index)


def read_lines(path: str | os.PathLike) -> list[dict]:
    with opened(path) as file:
        return [{"line": line.strip()} for line in file if line.strip()]
