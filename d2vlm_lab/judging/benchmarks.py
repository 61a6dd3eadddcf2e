"""The benchmarks: how each one's folder is laid out, where it comes from, and what its files become."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data.batch import Clip
from ..data.datasets import charades_sta, et_bench, mvbench, video_mme, youcook2
from ..data.datasets.et_instruct import load_list
from ..data.groups import Reader
from ..data.sample import Sample
from ..errors import LabError

Question = tuple[Sample, dict]  # what is asked, and its prediction but for the answer


@dataclass(frozen=True)
class Benchmark:
    scorer: str  # of `d2vlm-lab score`
    annotations: tuple[str, ...]  # inside its folder: the first of these that is there
    videos: tuple[str, ...]  # likewise
    read: Callable[[Path, float], list[Question]]  # of annotations; the float is half a frame, in seconds
    page: str  # where it can be had
    steps: tuple[str, ...]  # what to put where
    prompt: str = ""  # as published; empty where the annotation holds whole prompts
    answer: str = "a"  # the field of a prediction that holds it
    penalized: tuple[str, ...] = ()  # tasks that the authors decode with a repetition penalty
    fps: float = 1.0


def etbench_questions(path: Path, half_frame: float) -> list[Question]:
    return list(zip(et_bench.read(path, half_frame), load_list(path)))


def converted(adapter) -> Callable[[Path, float], list[Question]]:
    """Questions of an adapter that knows how a prediction is made of its samples."""
    return lambda path, _: [(sample, adapter.to_prediction(sample)) for sample in adapter.read(path)]


BENCHMARKS = {
    "world": Benchmark(
        "etbench", ("etbench.json",), ("videos",), etbench_questions, "made here: d2vlm-lab make-world --out FOLDER",
        ("etbench.json and videos/ are written by make-world",), fps=2.0),
    "etbench": Benchmark(
        "etbench", ("annotations/etbench_txt_v1.0.json", "annotations/etbench_vid_v1.0.json"),
        ("videos_compressed", "videos"), etbench_questions, "https://huggingface.co/datasets/PolyU-ChenLab/ETBench",
        ("annotations/etbench_txt_v1.0.json: 7,289 questions",
         "videos/: unpack every videos/*.tar.gz there; compress_videos.py of that page makes videos_compressed/, "
         "which is read first"), penalized=et_bench.CHOICE),
    "charades": Benchmark(
        "charades", ("test.caption_coco_format.json", "charades_sta_test.txt"), ("videos",), converted(charades_sta),
        "https://github.com/RenShuhuai-Andy/TimeChat (TimeIT annotations), https://github.com/jiyanggao/TALL "
        "(original annotations), https://prior.allenai.org/projects/charades (videos)",
        ("test.caption_coco_format.json of TimeIT's temporal_video_grounding/charades, or charades_sta_test.txt",
         "videos/: the files of Charades_v1_480.zip, such as videos/3MSZA.mp4"), charades_sta.PROMPT),
    "youcook2": Benchmark(
        "youcook2", ("val.caption_coco_format.json",), ("videos",), converted(youcook2),
        "https://github.com/RenShuhuai-Andy/TimeChat (TimeIT annotations), http://youcook2.eecs.umich.edu (videos)",
        ("val.caption_coco_format.json of TimeIT's dense_video_captioning/youcook2",
         "videos/: each at its image_id, or by its file name alone"), youcook2.PROMPT),
    "mvbench": Benchmark(
        "mvbench", ("json",), ("video",), converted(mvbench), "https://huggingface.co/datasets/OpenGVLab/MVBench",
        (f"json/: {len(mvbench.FILES)} files, action_sequence.json and so on",
         "video/: unpack every archive there: " + ", ".join(dict.fromkeys(folder for _, folder, _ in mvbench.TABLE))),
        mvbench.PROMPT, "pred"),
    "videomme": Benchmark(
        "videomme", ("videomme/test-00000-of-00001.parquet", "test.json"), ("data", "videos"),
        lambda path, _: list(zip(video_mme.read(path), video_mme.records(path))),
        "https://video-mme.github.io, https://huggingface.co/datasets/lmms-lab/Video-MME",
        ("videomme/test-00000-of-00001.parquet: 2,700 questions; test.json with the same rows will do",
         "data/: unpack every videos_chunked_*.zip, such as data/fFjv93ACGo8.mp4"), video_mme.PROMPT),
}


def find(benchmark: str, folder: Path) -> tuple[Path, Path]:
    """Where the annotations and the videos of a benchmark's folder are."""
    layout = BENCHMARKS[benchmark]
    found = []
    for names in (layout.annotations, layout.videos):
        there = [folder / name for name in names if (folder / name).exists()]
        if not there:
            raise LabError(f"{folder / names[0]} is missing; a {benchmark} folder holds "
                           f"{' or '.join(layout.annotations)}, and {' or '.join(layout.videos)}/ "
                           f"(`d2vlm-lab data {benchmark}` says where to get them)")
        found.append(there[0])
    return found[0], found[1]


def video_path(videos: Path, video: str) -> Path:
    """The file of a sample's video, which may also lie in the folder by its name alone."""
    path = videos / mvbench.split_part(video)[0]
    return videos / path.name if not path.exists() and (videos / path.name).exists() else path


def clip_reader(read: Reader, videos: Path, parts: bool = True) -> Reader:
    """`read`, for videos that are named with the part that counts; without `parts` all of each is shown."""
    def clip(sample: Sample) -> Clip:
        part = mvbench.split_part(sample.video)[1]
        whole = read(replace(sample, video=video_path(videos, sample.video).relative_to(videos).as_posix()))
        return within(whole, part) if part and parts else whole

    return clip


def within(clip: Clip, part: tuple[float, float]) -> Clip:
    """The frames on screen from its start to its end; at least the one that is there at the start."""
    times = clip.timestamps
    first = max(int(np.searchsorted(times, part[0] + 1e-3, side="right")) - 1, 0)
    last = max(int(np.searchsorted(times, part[1] + 1e-3, side="right")), first + 1)
    return Clip(clip.features[first:last], times[first:last])


def fingerprint(path: Path) -> str:
    """Of an annotation file, or of a folder of them: names and contents."""
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() * (path != file) + file.read_bytes())
    return digest.hexdigest()[:16]
