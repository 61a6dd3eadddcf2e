"""YouCook2 dense captioning: the steps of a recipe, each with its segment. `pure_cap` holds them all, one sentence
for each segment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ...ideas.evidence import Event, seconds
from ..sample import Sample, validate
from . import coco_captions, et_bench
from .fields import interval, number, text, whole

TASK, SOURCE = "dvc", "youcook2"
# as published, slips included: the topic is the same for every video
PROMPT = ("You are given a video about 'making fattoush'. Watch the video carefully and densly describe all the "
          "cooking steps. For each step, you need to determine the start and ends times and provide a concise "
          "description. The format of your response should be: '<start time> - <end time>, <description>'.")


def read(path: str | os.PathLike) -> list[Sample]:
    return coco_captions.read(path, from_record)


def from_record(record: dict, index: int = 0, where: str = "") -> Sample:
    captions = text(record, "pure_cap").split(". ")
    segments = record["segments"]
    if not isinstance(segments, list) or len(segments) != len(captions):
        raise ValueError(f"pure_cap holds {len(captions)} captions (split at '. '), segments is {segments!r}; "
                         "there must be one for each")
    events = tuple(Event(*interval(segment, f"segment {k}"), caption)
                   for k, (segment, caption) in enumerate(zip(segments, captions), 1))
    sample = Sample(str(whole(record, "id")), text(record, "image_id"), number(record, "duration"), TASK, SOURCE,
                    PROMPT, events)
    return validate(sample, where)


def to_prediction(sample: Sample) -> dict:
    """What the scorer wants back, without the answer `a`."""
    return et_bench.to_record(sample, int(sample.id))


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    coco_captions.write(path, [
        {"image_id": s.video, "id": int(s.id), "duration": s.duration, "segments": [list(e.interval) for e in s.events],
         "pure_cap": ". ".join(event.caption for event in s.events),
         "caption": " ".join(f"{seconds(event.interval)} seconds, {event.caption}." for event in s.events)}
        for s in samples])
