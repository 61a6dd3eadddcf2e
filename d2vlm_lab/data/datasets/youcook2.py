"""YouCook2 dense captioning: the steps of a recipe, each with its segment. `pure_cap` holds a sentence for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ...ideas.evidence import EVIDENCE, Event
from ...shapes import shown
from ..sample import Sample
from . import et_bench
from .records import OnBad, field, interval, read_coco, to_samples, unique, write_object
from .times import pieces_of

# as published, slips included: the topic is the same for every video
PROMPT = ("You are given a video about 'making fattoush'. Watch the video carefully and densly describe all the "
          "cooking steps. For each step, you need to determine the start and ends times and provide a concise "
          "description. The format of your response should be: '<start time> - <end time>, <description>'.")


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    return unique(to_samples(read_coco(path), from_record, path, half_frame, on_bad), path, on_bad)


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """The dense captions alone, each event with one sentence; their number in the file becomes their id."""
    dense = [sample for sample in samples if sample.task == "dvc" and sample.events]
    write_object(path, {"annotations": [
        {"id": index, "image_id": sample.video, "duration": sample.duration,
         "segments": [list(event.interval) for event in sample.events],
         "pure_cap": ". ".join(event.caption.rstrip(". ") for event in sample.events)}
        for index, sample in enumerate(dense)]})


def predictions(path: str | os.PathLike, samples: Sequence[Sample]) -> list[dict]:
    """What the scorer wants back, without the answer `a`."""
    return [et_bench.to_record(sample, int(sample.id)) for sample in samples]


def from_record(record: dict, index: int = 0) -> Sample:
    """The answer lists the steps in the format that the prompt asks for."""
    captions = field(record, "pure_cap", str).split(". ")
    segments = record["segments"]
    if not isinstance(segments, list) or len(segments) != len(captions):
        raise ValueError(f"pure_cap holds {len(captions)} captions (split at '. '), segments is {shown(segments)}; "
                         "there must be one for each")
    events = tuple(Event(*interval(segment, f"segment {k}"), caption)
                   for k, (segment, caption) in enumerate(zip(segments, captions), 1))
    answer = " ".join(f"{EVIDENCE}, {caption.rstrip('. ')}." for caption in captions)
    return Sample(str(field(record, "id", int)), field(record, "image_id", str), field(record, "duration", float),
                  "dvc", "youcook2", PROMPT, events, pieces_of(answer))
