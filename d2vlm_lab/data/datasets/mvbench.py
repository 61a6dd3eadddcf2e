"""MVBench: twenty tasks of multiple choice, each a JSON list of its own, with videos of eleven other data sets.

Some questions are about a part of their video: `video` then ends in `#t=start,end`, as media fragments are written.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..sample import UNKNOWN, Sample, SampleError, validate
from .et_instruct import load_list
from .fields import checked, number, text

SOURCE = "mvbench"
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


def read(folder: str | os.PathLike) -> list[Sample]:
    """Every task whose file is there, in the order of the table; or one file of a task."""
    folder = Path(folder)
    files = [folder] if folder.is_file() else [folder / f"{stem}.json" for stem in FILES]
    found = [file for file in files if file.is_file()]
    if not found:
        raise SampleError(f"{folder}: none of MVBench's files is here ({next(iter(FILES))}.json, ...)")
    if found[0].stem not in FILES:
        raise SampleError(f"{folder}: no task of MVBench has this name; it must be one of {', '.join(FILES)}")
    return [checked(lambda r, i, where, stem=file.stem: from_record(r, i, where, stem), record, index, str(file))
            for file in found for index, record in enumerate(load_list(file))]


def from_record(record: dict, index: int, where: str, stem: str) -> Sample:
    _, folder, part = FILES[stem]
    options, right = record["candidates"], record["answer"]
    if not isinstance(options, list) or not 2 <= len(options) <= 26 or not all(isinstance(o, str) for o in options):
        raise ValueError(f"candidates is {options!r}; it must be a list of at least two texts")
    if right not in options:
        raise ValueError(f"answer is {right!r}; it must be one of the candidates")
    video = text(record, "video")
    if part:
        video = with_part(video, number(record, "start"), number(record, "end"))
    correct = max(k for k, option in enumerate(options) if option == right)  # of two alike the last, as published
    lines = "".join(f"({letter(k)}) {option}.\n" for k, option in enumerate(options))
    sample = Sample(f"{stem}/{index}", video, UNKNOWN, stem, SOURCE,
                    PROMPT.format(question=text(record, "question"), options=lines),
                    options=tuple(options), correct=correct)
    validate(sample, where)  # as the annotation has it: its path must not climb out of the task's folder either
    return Sample(**{**sample.__dict__, "video": f"{folder}/{video}"})


def to_prediction(sample: Sample) -> dict:
    """What the scorer wants back, without the answer `pred`."""
    return {"task_type": FILES[sample.task][0], "A": f"({letter(sample.correct)}) {sample.options[sample.correct]}",
            "video": sample.video, "q": sample.question}


def with_part(video: str, start: float, end: float) -> str:
    if not 0 <= start < end:
        raise ValueError(f"start is {start} and end is {end}; a part begins before it ends, and not before 0")
    return f"{video}#t={start:g},{end:g}"


def split_part(video: str) -> tuple[str, tuple[float, float] | None]:
    """The path of a video, and the seconds that a question is about (None: all of it)."""
    match = FRAGMENT.search(video)
    return (video[:match.start()], (float(match[1]), float(match[2]))) if match else (video, None)


def letter(k: int) -> str:
    return chr(ord("A") + k)
