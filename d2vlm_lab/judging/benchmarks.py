"""The benchmarks: how the folder of each is laid out, where to get it, and how its questions are read."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.datasets import charades_sta, et_bench, mvbench, qvhighlights, timelens, video_mme, youcook2
from ..data.datasets.formats import ADAPTERS
from ..data.sample import Sample, brief
from ..data.video import find_video
from ..errors import LabError
from ..ideas.evidence import Interval
from ..reader import read_bytes
from .metrics.records import LARGEST, etbench_problem

if TYPE_CHECKING:  # these files import torch, which is not needed to check a folder or to score answers
    from ..data.batch import Clip
    from ..data.groups import Reader

Question = tuple[Sample, dict]  # what is asked, and the prediction without its answer
AnswerKey = tuple[str, str, str]  # task, source and id, since some benchmarks number each task anew


@dataclass(frozen=True)
class OnHub:
    """What `d2vlm-lab get` fetches of a data set; the user fetches the rest."""

    repository: str
    licence: str  # licence of these files, as the page of the repository says
    files: tuple[str, ...]
    inside: str = ""  # the folder of the repository in which they lie; here they lie in the data set's own


@dataclass(frozen=True)
class Benchmark:
    format: str  # of its annotations, in `formats.ADAPTERS`
    scorer: str  # of `d2vlm-lab score`; empty for a data set to train on
    annotations: tuple[str, ...]  # in its folder; the first of these that exists is read
    videos: tuple[str, ...]  # likewise
    page: str  # where to get it
    steps: tuple[str, ...]  # what to put where
    prompt: str = ""  # as published; empty where the annotation holds whole prompts
    answer: str = "a"  # the field of a prediction that holds the answer
    penalized: tuple[str, ...] = ()  # tasks that the authors decode with a repetition penalty
    fps: float = 1.0
    hub: OnHub | None = None

    def read(self, annotations: Path, half_frame: float = 0.5, bad: list[str] | None = None) -> list[Question]:
        """The questions of a benchmark. What is wrong with others is added to `bad`; without it, it is an error."""
        adapter = ADAPTERS[self.format]
        problems: list[str] = [] if bad is None else bad
        samples = adapter.read(annotations, max(half_frame, 0.5),
                               None if bad is None else lambda _, problem: problems.append(problem))
        questions: dict[AnswerKey, Question] = {}
        for sample, record in zip(samples, adapter.predictions(annotations, samples), strict=True):
            record = {**record, "sample": sample.id}
            if self.scorer == "etbench" and (wrong := etbench_problem({**record, "a": ""})):
                problems.append(f"{annotations}, sample {brief(sample.id)}: {wrong}")
                continue
            if (key := answer_key(record)) in questions:
                problems.append(f"{annotations}: {' '.join(filter(None, key))} is there several times")
            questions.setdefault(key, (sample, record))
        if problems and bad is None:
            raise LabError(problems[0])
        if not questions:
            raise LabError(f"{annotations}: there is no question in this file"
                           + (f" that can be used; the first: {problems[0]}" if problems else ""))
        return list(questions.values())


def answer_key(record: dict) -> AnswerKey:
    """Which question of its benchmark a prediction answers."""
    return str(record.get("task", "")), str(record.get("source", "")), str(record["sample"])


def _timelens(name: str) -> Benchmark:
    """One of the three sets of TimeLens-Bench, all of which lie in one folder."""
    return Benchmark(
        "timelens", "timelens", (f"{name}-timelens.json",), (f"videos/{name}",),
        "https://huggingface.co/datasets/TencentARC/TimeLens-Bench",
        (f"{name}-timelens.json", f"videos/{name}/: unpack every video_shards/*.tar.gz into videos/"), timelens.PROMPT,
        hub=OnHub("TencentARC/TimeLens-Bench", "bsd-3-clause", (f"{name}-timelens.json",)))


BENCHMARKS = {
    "world": Benchmark(
        "et_bench", "etbench", ("etbench.json",), ("videos",), "made here: d2vlm-lab make-world --out FOLDER",
        ("etbench.json and videos/ are written by make-world",), fps=2.0),
    "etbench": Benchmark(
        "et_bench", "etbench", ("annotations/etbench_txt_v1.0.json", "annotations/etbench_vid_v1.0.json"),
        ("videos_compressed", "videos"), "https://huggingface.co/datasets/PolyU-ChenLab/ETBench",
        ("annotations/etbench_txt_v1.0.json: 7,289 questions",
         "videos/: unpack every videos/*.tar.gz there; compress_videos.py of that page makes videos_compressed/, "
         "which is read first"), penalized=et_bench.CHOICE,
        hub=OnHub("PolyU-ChenLab/ETBench", "cc-by-nc-sa-4.0", (
            "annotations/etbench_txt_v1.0.json", "annotations/etbench_vid_v1.0.json"))),
    "charades": Benchmark(
        "charades_sta", "charades", ("test.caption_coco_format.json", "charades_sta_test.txt"), ("videos",),
        "https://github.com/RenShuhuai-Andy/TimeChat (TimeIT annotations), https://github.com/jiyanggao/TALL "
        "(original annotations), https://prior.allenai.org/projects/charades (videos)",
        ("test.caption_coco_format.json of TimeIT's temporal_video_grounding/charades, or charades_sta_test.txt",
         "videos/: the files of Charades_v1_480.zip, such as videos/3MSZA.mp4"), charades_sta.PROMPT,
        hub=OnHub("ShuhuaiRen/TimeIT", "cc-by-4.0", (
            "test.caption_coco_format.json", "charades_sta_test.txt", "charades_sta_train.txt"),
            "data/temporal_video_grounding/charades/charades_annotation")),
    **{f"timelens-{name}": _timelens(name) for name in ("charades", "activitynet", "qvhighlights")},
    "qvhighlights": Benchmark(
        "qvhighlights", "qvhighlights", ("highlight_val_release.jsonl",), ("videos",),
        "https://github.com/jayleicn/moment_detr (annotations and videos)",
        ("highlight_val_release.jsonl: from data/ of that page; the test split has no windows",
         "videos/: the files of qvhilights_videos.tar.gz, such as videos/bP5KfdFJzC4_660.0_810.0.mp4"),
        qvhighlights.PROMPT),
    "youcook2": Benchmark(
        "youcook2", "youcook2", ("val.caption_coco_format.json",), ("videos",),
        "https://github.com/RenShuhuai-Andy/TimeChat (TimeIT annotations), http://youcook2.eecs.umich.edu (videos)",
        ("val.caption_coco_format.json of TimeIT's dense_video_captioning/youcook2",
         "videos/: each at its image_id, or by its file name alone"), youcook2.PROMPT),
    "mvbench": Benchmark(
        "mvbench", "mvbench", ("json",), ("video",), "https://huggingface.co/datasets/OpenGVLab/MVBench",
        (f"json/: {len(mvbench.FILES)} files, action_sequence.json and so on",
         "video/: unpack every archive there: " + ", ".join(dict.fromkeys(folder for _, folder, _ in mvbench.TABLE))),
        mvbench.PROMPT, "pred"),
    "videomme": Benchmark(
        "video_mme", "videomme", ("videomme/test-00000-of-00001.parquet", "test.json"), ("data", "videos"),
        "https://video-mme.github.io, https://huggingface.co/datasets/lmms-lab/Video-MME",
        ("videomme/test-00000-of-00001.parquet: 2,700 questions; test.json with the same rows will do",
         "data/: unpack every videos_chunked_*.zip, such as data/fFjv93ACGo8.mp4"), video_mme.PROMPT),
}


TRAINING_SETS = {
    "et_instruct": Benchmark(
        "et_instruct", "", ("evi.json", "et_instruct_164k_txt.json", "et_instruct_164k_vid.json"),
        ("videos_compressed", "videos"), "https://huggingface.co/datasets/PolyU-ChenLab/ET-Instruct-164K",
        ("et_instruct_164k_txt.json, or et_instruct_164k_vid.json, or evi.json (times as evidence tokens) from the "
         "folder ET-Instruct of https://huggingface.co/datasets/wenzhengzeng/D2VLM-Dataset",
         "videos/: unpack every videos/*.tar.gz there"),
        hub=OnHub("PolyU-ChenLab/ET-Instruct-164K", "cc-by-nc-sa-4.0", (
            "et_instruct_164k_txt.json", "et_instruct_164k_vid.json"))),
    "timelens-100k": Benchmark(
        "timelens", "", ("timelens-100k.jsonl",), ("videos",),
        "https://huggingface.co/datasets/TencentARC/TimeLens-100K",
        ("timelens-100k.jsonl", "videos/: unpack every video_shards/*.tar.gz there"),
        hub=OnHub("TencentARC/TimeLens-100K", "see its page", ("timelens-100k.jsonl",))),
    "qvhighlights-train": Benchmark(
        "qvhighlights", "", ("highlight_train_release.jsonl",), ("videos",),
        "https://github.com/jayleicn/moment_detr (annotations and videos)",
        ("highlight_train_release.jsonl: from data/ of that page", "videos/: the files of qvhilights_videos.tar.gz")),
}
DATA_SETS = BENCHMARKS | TRAINING_SETS


def find(benchmark: str, folder: Path) -> tuple[Path, Path]:
    """Where the annotations and the videos are in the folder of a benchmark or of a training set."""
    layout = DATA_SETS[benchmark]

    def existing(names: tuple[str, ...]) -> Path:
        for name in names:
            if os.path.exists(folder / name):
                return folder / name
        raise LabError(f"{folder / names[0]} is missing; a {benchmark} folder holds "
                       f"{' or '.join(layout.annotations)}, and {' or '.join(layout.videos)}/ "
                       f"(`d2vlm-lab data {benchmark}` says where to get them)")

    return existing(layout.annotations), existing(layout.videos)


def video_path(videos: Path, video: str) -> Path:
    """The file of a sample's video, of which the sample may be about a part."""
    return find_video(videos, mvbench.split_part(video)[0])


def clip_reader(read: Reader, videos: Path, parts: bool = True) -> Reader:
    """`read` for samples about a part of a video: the clip is that part, or without `parts` the whole video."""
    def clip(sample: Sample) -> Clip:
        part = mvbench.split_part(sample.video)[1]
        whole = read(replace(sample, video=video_path(videos, sample.video).relative_to(videos).as_posix()))
        return within(whole, part) if part and parts else whole

    return clip


def within(clip: Clip, part: Interval) -> Clip:
    """The frames on screen from start to end of the part; at least the one that is on screen at its start."""
    times = clip.timestamps
    first = max(int(np.searchsorted(times, part[0] + 1e-3, side="right")) - 1, 0)
    last = max(int(np.searchsorted(times, part[1] + 1e-3, side="right")), first + 1)
    return replace(clip, features=clip.features[first:last], timestamps=times[first:last])


def fingerprint(path: Path) -> str:
    """A hash of an annotation file, or of the names and contents of the files in a folder."""
    if not path.is_dir():
        content = read_bytes(path, LARGEST)
    else:
        content = b"".join(file.name.encode() + file.read_bytes() for file in sorted(path.glob("*.json")))
    return hashlib.sha256(content).hexdigest()[:16]
