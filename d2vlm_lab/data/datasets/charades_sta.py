"""Charades-STA: one sentence, one moment. Two public files hold it: captions as JSON, and the original lines
`VIDEO start end##sentence`, which name no durations.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ...ideas.evidence import Event
from ..sample import UNKNOWN, Sample, SampleError, validate
from . import coco_captions, et_bench
from .fields import checked, interval, number, text, whole

TASK, SOURCE = "tvg", "charades_sta"
PROMPT = ("You are given a video about indoor activities. Watch the video carefully and find a visual event described "
          "by the sentence: '{caption}'. The format of your response should be: 'The event happens in <start time> - "
          "<end time>'.")


def read(path: str | os.PathLike) -> list[Sample]:
    """All queries of either file, asked in the published words."""
    return _read_lines(path) if str(path).endswith(".txt") else coco_captions.read(path, from_record)


def from_record(record: dict, index: int = 0, where: str = "") -> Sample:
    """A moment of the public file may end after its video does; the video then lasts as long as the moment."""
    start, end = interval(record["timestamp"], "timestamp")
    caption = text(record, "caption")
    duration = number(record, "duration") if "duration" in record else UNKNOWN
    duration = max(duration, end) if duration > 0 else duration
    sample = Sample(str(whole(record, "id")), text(record, "image_id"), duration, TASK, SOURCE,
                    PROMPT.format(caption=caption.strip(".")), (Event(start, end, caption),))
    return validate(sample, where)


def to_prediction(sample: Sample) -> dict:
    """What the scorer wants back, without the answer `a`."""
    record = et_bench.to_record(sample, int(sample.id))
    return {key: value for key, value in record.items() if value != UNKNOWN}


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """The JSON form."""
    coco_captions.write(path, [
        {"image_id": s.video, "caption": s.events[0].caption, "id": int(s.id), "timestamp": list(s.events[0].interval),
         **({} if s.duration == UNKNOWN else {"duration": s.duration})} for s in samples])


def _read_lines(path: str | os.PathLike) -> list[Sample]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError:
        raise SampleError(f"{path}: no such annotation file") from None
    except UnicodeDecodeError as error:
        raise SampleError(f"{path}: not readable as text ({error})") from None
    samples = []
    for index, line in enumerate(line for line in lines if line):
        head, _, caption = line.partition("##")
        try:
            video, start, end = head.split()
            record = {"id": index, "image_id": f"{video}.mp4", "timestamp": [float(start), float(end)]}
        except ValueError:
            raise SampleError(f"{path}, sample {index}: {line!r}; expected VIDEO start end##sentence") from None
        samples.append(checked(from_record, {**record, "caption": caption}, index, str(path)))
    return samples
