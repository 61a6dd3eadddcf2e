"""Answers stream to disk, a killed evaluation goes on, shards add up, and a score carries its protocol."""

import json
from types import SimpleNamespace

import pytest
from test_checkpoint import tiny_model

from d2vlm_lab import evaluate as e
from d2vlm_lab.checkpoint import save
from d2vlm_lab.cli import main
from d2vlm_lab.config import Data
from d2vlm_lab.errors import LabError
from d2vlm_lab.generate import Decoding
from d2vlm_lab.settings import from_dict
from d2vlm_lab.world.config import WorldConfig
from d2vlm_lab.world.make import make_world

QUICK = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 20, "seed": 1}), workers=1)
    save(tiny_model(), folder / "model")
    return SimpleNamespace(model=str(folder / "model"), world=folder / "world",
                           annotations=folder / "world" / "etbench.json", videos=folder / "world" / "videos")


def answer(place, out, **more):
    return e.evaluate(place.model, place.annotations, place.videos, out, QUICK, Data(fps=2.0), say=str, **more)


def test_every_sample_is_answered_once_in_the_public_format(place, tmp_path):
    records = json.loads(place.annotations.read_text())
    answered = answer(place, tmp_path)
    assert [r["idx"] for r in answered] == [r["idx"] for r in records]
    assert all(r.items() <= a.items() and isinstance(a["a"], str) for r, a in zip(records, answered))


def test_a_cut_off_evaluation_goes_on_and_ends_like_a_whole_one(place, tmp_path):
    whole = answer(place, tmp_path / "whole")
    file = tmp_path / "whole" / "answers_0_of_1.jsonl"
    lines = file.read_text().splitlines(True)
    file.write_text("".join(lines[:5]) + lines[5][:40])  # killed in the middle of writing the sixth
    before = file.stat().st_size
    assert answer(place, tmp_path / "whole") == whole
    assert file.read_text().splitlines(True)[:5] == lines[:5] and file.stat().st_size > before
    seen = []
    e.evaluate(place.model, place.annotations, place.videos, tmp_path / "whole", QUICK, Data(fps=2.0), say=seen.append)
    assert seen == [f"{len(whole)} of {len(whole)} samples are answered"]


def test_shards_answer_everything_between_them(place, tmp_path):
    whole = {r["idx"]: r["a"] for r in answer(place, tmp_path / "whole")}
    for index in range(3):
        parts = answer(place, tmp_path / "parts", shard=(index, 3))
    assert {r["idx"]: r["a"] for r in parts} == whole


def test_answers_under_other_settings_are_never_mixed(place, tmp_path):
    answer(place, tmp_path, limit=2)
    with pytest.raises(LabError, match="another decoding"):
        e.evaluate(place.model, place.annotations, place.videos, tmp_path, Decoding(7), Data(fps=2.0), say=str)


def test_a_video_that_cannot_be_read_is_reported_and_fails(place, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for file in place.videos.glob("test_*"):
        (videos / file.name).write_bytes(file.read_bytes() if file.name != "test_00000.mp4" else b"")
    answered = e.evaluate(place.model, place.annotations, videos, tmp_path / "out", QUICK, Data(fps=2.0), say=str)
    bad = [r for r in answered if "error" in r]
    assert bad and all(r["video"] == "test_00000.mp4" and r["a"] == "" for r in bad) and len(bad) < len(answered)


def test_the_command_scores_and_leaves_the_protocol_beside_the_number(place, tmp_path, capsys):
    words = ["evaluate", place.model, "world", "--data", str(place.world), "--out", str(tmp_path / "out"),
             "--max-new-tokens", "6"]
    assert main(words) == 0
    page = json.loads((tmp_path / "out" / "score_clean.json").read_text())
    assert {"checkpoint", "annotations_sha256", "prompt_sha256", "decoding", "library"} <= set(page["card"])
    assert page["protocol"] == "clean" and page["scores"]["collected"]
    assert "every video was read" in capsys.readouterr().out


@pytest.mark.parametrize("words, message", [
    (["--data", "nowhere"], "is missing; a world folder holds etbench.json"),
    (["--data", "WORLD", "--shard", "4/4"], "write it as I/N")])
def test_a_wrong_call_is_one_line(place, words, message, capsys):
    words = [str(place.world) if word == "WORLD" else word for word in words]
    assert main(["evaluate", place.model, "world", *words]) == 2
    assert message in capsys.readouterr().err
