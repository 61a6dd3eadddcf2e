"""What cannot be used is counted once, and too much of it stops a run."""

import json

import pytest

from d2vlm_lab.data.datasets.formats import ADAPTERS
from d2vlm_lab.data.skips import Skip, SkippedSamples, Skips


def test_two_samples_of_one_number_are_two_and_a_sample_that_fails_again_is_one(tmp_path):
    path = tmp_path / "skipped.jsonl"
    skips = Skips(path, 100, 0.5)
    for video in ("a.mp4", "b.mp4", "a.mp4"):  # training and validation number their records from 0 each
        skips.add(Skip("12", video, "video", "broken"))
    assert dict(skips.reasons) == {"video": 2} and len(path.read_text().splitlines()) == 2
    assert dict(Skips(path, 100, 0.5).reasons) == {"video": 2}


def test_files_of_one_name_have_bad_records_of_their_own(tmp_path):
    places = []
    for folder in ("train", "val"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.json").write_text(json.dumps([{}]))
        ADAPTERS["et_instruct"].read(tmp_path / folder / "a.json", on_bad=lambda place, why: places.append(place))
    assert len(set(places)) == 2


def test_as_many_samples_may_be_skipped_as_the_share_says():
    skips = Skips(None, 100, 0.29)
    for number in range(29):
        skips.add(Skip(str(number), "a.mp4", "video", "broken"))
    with pytest.raises(SkippedSamples, match="30 of 100"):
        skips.add(Skip("29", "a.mp4", "video", "broken"))
