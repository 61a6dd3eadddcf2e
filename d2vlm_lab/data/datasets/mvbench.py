"""MVBench: twenty tasks of multiple choice, each a JSON list of its own, with videos of eleven other data sets.

Some questions are about a part of their video: `video` then ends in `#t=start,end`, as media fragments are written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from string import ascii_uppercase as LETTERS

from ...ideas.evidence import Interval
from ...shapes import shown
from ..sample import UNKNOWN, Sample, SampleError
from .records import OnBad, field, read_records, to_samples

# name, folder of its videos, whether a question is about the part from `start` to `end`
TABLE = (
    ("Action Sequence", "star/Charades_v1_480", True), ("Action Prediction", "star/Charades_v1_480", True),
    ("Action Antonym", "ssv2_video", False), ("Fine-grained Action", "Moments_in_Time_Raw/videos", False),
    ("Unexpected Action", "FunQA_test/test", False), ("Object Existence", "clevrer/video_validation", False),
    ("Object Interaction", "star/Charades_v1_480", True), ("Object Shuffle", "perception/videos", False),
    ("Moving Direction", "clevrer/video_validation", False), ("Action Localization", "sta/sta_video", True),
    ("Scene Transition", "scene_qa/video", False), ("Action Count", "perception/videos", False),
    ("Moving Count", "clevrer/video_validation", False), ("Moving Attribute", "clevrer/video_validation", False),
    ("State Change", "perception/videos", False), ("Fine-grained Pose", "nturgbd", False),
    ("Character Order", "perception/videos", False), ("Egocentric Navigation", "vlnqa", False),
    ("Episodic Reasoning", "tvqa/frames_fps3_hq", True),  # a folder of pictures for each video
    ("Counterfactual Inference", "clevrer/video_validation", False),
)
FILES = {re.sub(r"\W", "_", name.lower()): (name, folder, part) for name, folder, part in TABLE}
PROMPT = ("Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
          "objects and the action and pose of persons. Based on your observations, select the best option that "
          "accurately addresses the question.\nQuestion: {question}\nOptions:\n{options}Best Option: (")
FRAGMENT = re.compile(r"#t=([\d.]+),([\d.]+)$")


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    """Every task whose file is in the folder, in the order of the table; or one file of a task."""
    path = Path(path)
    files = [path / f"{stem}.json" for stem in FILES] if os.path.isdir(path) else [path]
    files = [file for file in files if os.path.exists(file)]
    if not files:
        raise SampleError(f"{path}: none of MVBench's files is here ({next(iter(FILES))}.json, ...)")
    if files[0].stem not in FILES:
        raise SampleError(f"{path}: no task of MVBench has this name; it must be one of {', '.join(FILES)}")
    samples = []
    for file in files:
        records = read_records(file, go_on=on_bad is not None)
        samples += to_samples(records, partial(from_record, stem=file.stem), file, half_frame, on_bad)
    return samples


def predictions(path: str | os.PathLike, samples: Sequence[Sample]) -> list[dict]:
    """What the scorer wants back, without the answer `pred`."""
    return [{"task_type": FILES[sample.task][0], "A": f"({LETTERS[sample.correct]}) {sample.options[sample.correct]}",
             "candidates": list(sample.options), "video": sample.video, "q": sample.question}
            for sample in samples if sample.correct is not None]


def from_record(record: dict, index: int, stem: str) -> Sample:
    """A question of the task whose file is named `stem`."""
    _, folder, has_part = FILES[stem]
    options, right = record["candidates"], record["answer"]
    if (not isinstance(options, list) or not 2 <= len(options) <= 26
            or not all(isinstance(option, str) and option for option in options)):
        raise ValueError(f"candidates is {shown(options)}; it must be a list of at least two texts, none of them empty")
    if right not in options:
        raise ValueError(f"answer is {shown(right)}; it must be one of the candidates")
    video = f"{folder}/{field(record, 'video', str)}"
    if has_part:
        start, end = field(record, "start", float), field(record, "end", float)
        if not 0 <= start <= end:  # in an early version of one file, a part is a single moment
            raise ValueError(f"start is {start} and end is {end}; a part begins at 0 or later, and ends after it")
        video += f"#t={start:g},{end:g}"
    correct = max(k for k, option in enumerate(options) if option == right)  # of equal options the last, as published
    lines = "".join(f"({letter}) {option}.\n" for letter, option in zip(LETTERS, options))
    return Sample(f"{stem}/{index}", video, UNKNOWN, stem, "mvbench",
                  PROMPT.format(question=field(record, "question", str), options=lines),
                  options=tuple(options), correct=correct)


def split_part(video: str) -> tuple[str, Interval | None]:
    """The path of a video, and the seconds that a question is about (None: all of it)."""
    match = FRAGMENT.search(video)
    return (video[:match.start()], (float(match[1]), float(match[2]))) if match else (video, None)
