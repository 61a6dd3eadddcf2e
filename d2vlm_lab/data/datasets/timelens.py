"""TimeLens: TimeLens-Bench, which repairs Charades-STA, ActivityNet Captions and QVHighlights, and TimeLens-100K.

A file of the benchmark is one object, `{"VIDEO": {"duration": 30.0, "spans": [[3.0, 7.5]], "queries": ["..."]}}`. A
line of the training set is `{"video_path": "a.mp4", "duration": 30.0, "events": [{"query": "...", "span": ...}]}`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from ...errors import LabError
from ...ideas.evidence import Event
from ...reader import read_json
from ...shapes import shown
from ..sample import Sample, SampleError
from . import et_bench
from .records import OnBad, about_one_sentence, field, interval, read_records, to_samples, write_object

PROMPT = ("Please find the visual event described by the sentence '{query}', determining its starting and ending "
          "times. The format should be: 'The event happens in <start time> - <end time> seconds'.")


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    """All queries, asked in the published words; the name of the file is their source."""
    path = Path(path)
    if path.suffix == ".jsonl":
        records = chain.from_iterable(map(_of_a_line, read_records(path, go_on=on_bad is not None)))
    else:
        try:
            records = chain.from_iterable(_of_a_video(*item) for item in read_json(path, dict).items())
        except LabError as error:
            raise SampleError(f"{error}; a file of TimeLens-Bench holds one object for each video") from None
    return to_samples(records, lambda record, index: from_record(record, index, path.stem), path, half_frame, on_bad)


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """The form of TimeLens-Bench, with the questions about one sentence, all of them about .mp4 files."""
    videos: dict[str, dict] = {}
    for sample in about_one_sentence(samples):
        video = videos.setdefault(sample.video.removesuffix(".mp4"),
                                  {"duration": sample.duration, "spans": [], "queries": []})
        moments = [list(event.interval) for event in sample.events]
        video["spans"].append(moments if len(moments) > 1 else moments[0])
        video["queries"].append(sample.events[0].caption)
    write_object(path, videos)


def predictions(path: str | os.PathLike, samples: Sequence[Sample]) -> list[dict]:
    """What the scorer wants back, without the answer `a`."""
    return [et_bench.to_record(sample, int(sample.id)) for sample in samples]


def from_record(record: dict, index: int, source: str) -> Sample:
    """A moment may end after its video does; the video then lasts as long as the moment."""
    if "problem" in record:
        raise ValueError(record["problem"])
    query = " ".join(field(record, "query", str).split()).strip(".").strip()
    spans = record["span"]
    several = isinstance(spans, list) and all(isinstance(span, list) for span in spans) and spans != []
    moments = [interval(span, "span") for span in (spans if several else [spans])]
    duration = field(record, "duration", float)
    duration = max(duration, *(end for _, end in moments)) if duration > 0 else duration
    answer = [piece for k in range(len(moments)) for piece in (", ", k)]
    return Sample(str(index), field(record, "video", str), duration, "tvg" if len(moments) == 1 else "tal", source,
                  PROMPT.format(query=query), tuple(Event(*moment, query) for moment in moments),
                  ("The event happens in ", *answer[1:], " seconds."))


def _of_a_video(video: str, value: object) -> Iterator[dict]:
    spans, queries, duration = ([value.get(name) for name in ("spans", "queries", "duration")]
                                if isinstance(value, dict) else (None, None, None))
    if not isinstance(spans, list) or not isinstance(queries, list) or len(spans) != len(queries):
        yield {"video": video, "problem": f"expected a duration, and spans and queries of equal number, found "
                                          f"{shown(value)}"}
        return
    for span, query in zip(spans, queries):
        yield {"video": f"{video}.mp4", "duration": duration, "span": span, "query": query}


def _of_a_line(value: dict | SampleError) -> Iterator[dict | SampleError]:
    if isinstance(value, SampleError):
        yield value
        return
    video, events = value.get("video_path"), value.get("events")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        yield {"video": video, "problem": f"events is {shown(events)}; it must be a list of objects"}
        return
    for event in events:
        fields = {name: event[name] for name in ("query", "span") if name in event}
        yield {"video": video, "duration": value.get("duration"), **fields}
