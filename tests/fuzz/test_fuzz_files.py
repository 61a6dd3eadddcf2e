"""Data files, predictions, checkpoints and videos, broken in every way."""

import json
import os
import shutil

import numpy as np
import pytest
from harness import Target, attack

from d2vlm_lab.config import ROOT
from d2vlm_lab.data.datasets import fpo_annotations
from d2vlm_lab.data.datasets.formats import ADAPTERS
from d2vlm_lab.data.features import FeatureCache
from d2vlm_lab.data.pairs import read_preferences
from d2vlm_lab.data.video import read_frames, write_frames
from d2vlm_lab.model.checkpoint import load, save

EVENTS = [{"start": 1.0, "end": 2.0, "caption": "x"}, {"start": 3.0, "end": 4.0}]
COMMON = {"task": "tvg", "source": "s", "video": "v.mp4", "duration": 20.0}
SAMPLE = {"id": "a", **COMMON, "question": "when?", "events": EVENTS, "answer": ["at ", 0, " and ", 1]}
TURNS = [{"from": "human", "value": "when?"}, {"from": "gpt", "value": "<evi></evi> In <evi>."}]
CHOICES = {"p": 1, "o": ["a", "b", [1.0, 2.0]]}
ANNOTATIONS = {
    "et_instruct": [{"id": "a", **COMMON, "tgt": [3, 4], "conversations": TURNS}], "samples": [SAMPLE],
    "charades_sta": {"annotations": [{"id": 1, "image_id": "v.mp4", "timestamp": [1.0, 2.0], "caption": "opens"}]},
    "youcook2": {"annotations": [{"id": 1, "image_id": "v.mp4", "segments": [[1, 2], [3, 4]], "duration": 20.0,
                                  "pure_cap": "cut it. fry it."}]},
    "timelens": {"v": {"duration": 20.0, "spans": [[1.0, 2.0]], "queries": ["opens"]}},
    "qvhighlights": [{"qid": 1, "query": "opens", "duration": 20, "vid": "v", "relevant_windows": [[1, 2]]}],
    "et_bench": [{"idx": 0, **COMMON, "tgt": [1.0, 2.0], "q": "when?"},
                 {"idx": 1, **COMMON, "task": "rar", "src": [1, 2], "q": "what in <vid> - <vid>?", **CHOICES},
                 {"idx": 2, **COMMON, "task": "vhd", "tgt": [[[1, 2]], [[3, 4]]], "q": "x"}],
    "video_mme": [{"video_id": "1", "duration": "short", "domain": "d", "sub_category": "s", "question_id": "1-1",
                   "task_type": "t", "question": "q", "answer": "A", "videoID": "x", "options": ["A. a"] * 4}]}
PREDICTIONS = [{"idx": 0, **COMMON, "tgt": [1.0, 2.0], "q": "when?", "a": "1 - 2</evi> In 1 - 2.", "shown": [0.0, 19.0],
                "evidence": [{"interval": [1.0, 2.0], "confidence": 0.5, "curve": [0.1, 0.9]}]},
               {"idx": 1, **COMMON, "task": "rar", "q": "what?", "a": "(B)", **CHOICES}]
PAIR = {"chosen": SAMPLE, "rejected": [{"events": EVENTS[:1], "answer": ["at ", 0], "kind": "k", "factor": "which"}]}
FPO = [{"id": "a", **COMMON, "tgt": {"chosen": [1, 2], "a_b_f": [3, 4]},
        "conversations": {"chosen": TURNS, "a_b_f": TURNS}}]
FRAMES = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8)


def holding(name, content):
    """A folder with one JSON file."""
    return lambda folder: (folder / name).write_text(json.dumps(content))


def with_video(folder):
    write_frames(folder / "v.mp4", FRAMES, 2)


def with_features(folder):
    with_video(folder)
    FeatureCache(folder / "cache", "any").get(folder / "v.mp4", lambda frames: frames.float().mean((1, 2)))
    entry = next(folder.rglob("*.features"))
    shutil.copy(entry, folder / "entry")


def read_features(entry):
    """A broken entry is made again."""
    cache = FeatureCache(entry.parent / "cache", "any")
    place = cache.entry(entry.parent / "v.mp4")
    place.unlink()
    if os.path.lexists(entry):  # one of the cases is that there is none
        shutil.move(entry, place)
    features, _ = cache.get(entry.parent / "v.mp4", lambda frames: frames.float().mean((1, 2)))
    assert features.shape == (12, 3) and abs(float(features.mean()) - FRAMES.mean()) < 5


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations(tmp_path, name):
    attack(Target(ADAPTERS[name].read, holding("a.json", ANNOTATIONS[name]), "a.json"), tmp_path)


def test_preference_files(tmp_path):
    attack(Target(lambda path: list(read_preferences(path)), holding("p.jsonl", PAIR), "p.jsonl", "jsonl"), tmp_path)


def test_preference_annotations(tmp_path):
    attack(Target(lambda path: list(fpo_annotations.read(path)), holding("f.json", FPO), "f.json"), tmp_path)


def test_predictions_to_score(tmp_path):
    attack(Target("score etbench {file} --sentence-model none", holding("p.json", PREDICTIONS), "p.json"), tmp_path)


def test_predictions_to_show(tmp_path):
    attack(Target("show {file} --out page.html", holding("p.json", PREDICTIONS), "p.json", leaves=r"page\.html"),
           tmp_path)


@pytest.mark.parametrize("file, kind", [("d2vlm.json", "json"), ("model.safetensors", "bytes"),
                                        ("d2vlm.safetensors", "bytes"), ("adapter_model.safetensors", "bytes"),
                                        ("tokenizer.json", "bytes"), ("tokenizer_config.json", "json")])
def test_checkpoints(tmp_path, file, kind):
    source = ROOT / "data" / "base" / "small"  # of before; the others are of today
    if file in ("d2vlm.safetensors", "adapter_model.safetensors"):
        source = save(load(ROOT / "data" / "tiny-sft"), tmp_path / "today", "data/base/small")

    def prepare(folder):
        shutil.copytree(source, folder, dirs_exist_ok=True)

    attack(Target(lambda path: load(path.parent), prepare, file, kind), tmp_path, 15)


def test_videos(tmp_path):
    attack(Target(lambda path: read_frames(path, 2.0), with_video, "v.mp4", "bytes"), tmp_path, 40)


def test_features(tmp_path):
    attack(Target(read_features, with_features, "entry", "bytes"), tmp_path)
