"""Preference pairs in the form that TRL reads."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT
from d2vlm_lab.data.pairs import PreferencePair, write_preferences
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.ideas.rejected import Rejected
from d2vlm_lab.lab.preferences.trl import rows, write_trl

EVENTS = (Event(1, 3, "a dog runs"), Event(6, 9, "a cat sits"))
SAMPLE = Sample("s1", "a.mp4", 20.0, "dvc", "here", "what happens after <evi>?", EVENTS,
                (0, ", a dog runs. ", 1, ", a cat sits."), question_intervals=((0.0, 1.0),))
WRONG = Rejected((Event(2, 4, "a dog runs"), EVENTS[1]), SAMPLE.answer, "shift", "when")
ALIKE = Rejected(EVENTS + (Event(12, 14),), SAMPLE.answer, "add", "which")  # the answer does not refer to the third
PAIR = PreferencePair(SAMPLE, (WRONG, ALIKE))


def test_a_row_is_a_conversation_with_times_as_numbers_and_the_path_of_its_video():
    left_out = []
    row, = rows(PAIR, Path("clips"), lambda name, why: left_out.append(why))
    assert row["prompt"] == [{"role": "user", "content": "what happens after 0.0 - 1.0?"}]
    assert row["chosen"] == [{"role": "assistant", "content": "1.0 - 3.0, a dog runs. 6.0 - 9.0, a cat sits."}]
    assert row["rejected"] == [{"role": "assistant", "content": "2.0 - 4.0, a dog runs. 6.0 - 9.0, a cat sits."}]
    assert row["videos"] == ["clips/a.mp4"] and (row["kind"], row["factor"]) == ("shift", "when")
    assert len(left_out) == 1 and "(add) reads as the chosen one" in left_out[0]


def test_no_empty_file_takes_the_place_of_an_older_one(tmp_path):
    (tmp_path / "old.jsonl").write_text("old")
    with pytest.raises(LabError, match="reads as the chosen one"):
        write_trl(tmp_path / "old.jsonl", [PreferencePair(SAMPLE, (ALIKE,))], None, lambda *what: None)
    assert (tmp_path / "old.jsonl").read_text() == "old"


def test_the_command_writes_rows_of_samples_and_of_a_preference_file(tmp_path, capsys):
    write_preferences(tmp_path / "pairs.jsonl", [PAIR])
    assert main(["make-preferences", str(tmp_path / "pairs.jsonl"), "--format", "trl",
                 "--out", str(tmp_path / "trl.jsonl")]) == 0
    row, = map(json.loads, (tmp_path / "trl.jsonl").read_text().splitlines())
    assert row["videos"] == ["a.mp4"] and row["rejected"][0]["content"].startswith("2.0 - 4.0")
    captured = capsys.readouterr()
    assert "1 left out" in captured.out and "reads as the chosen one" in captured.err


def test_a_row_has_the_path_at_which_its_video_is_found(tmp_path):
    (tmp_path / "a.mp4").touch()
    nested = replace(PAIR, chosen=replace(PAIR.chosen, video="shard1/a.mp4"))
    assert {path for row in rows(nested, tmp_path, print) for path in row["videos"]} == {str(tmp_path / "a.mp4")}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
def test_trl_loads_the_rows_and_trains_on_them(tmp_path):
    sample = {"video": "a.mp4", "duration": 20.0, "task": "tvg", "source": "x", "question": "when is it red?",
              "events": [{"start": 2.0, "end": 5.0}], "answer": ["It is red in ", 0, "."]}
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps({**sample, "id": f"s{i}"}) + "\n" for i in range(4)))
    assert main(["make-preferences", str(tmp_path / "samples.jsonl"), "--format", "trl",
                 "--out", str(tmp_path / "trl.jsonl")]) == 0
    steps = [sys.executable, str(Path(__file__).with_name("trl_steps.py")), str(tmp_path / "trl.jsonl"), str(tmp_path)]
    done = subprocess.run(steps, cwd=ROOT, text=True, capture_output=True, timeout=300,
                          env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["conversational"] and seen["rows"] == len((tmp_path / "trl.jsonl").read_text().splitlines())
    assert {"prompt", "chosen", "rejected", "videos"} <= set(seen["columns"])
    assert "when is it red" in seen["prompt"] and "It is red in" in seen["chosen"] != seen["rejected"]
    assert len(seen["losses"]) == 2 and seen["losses"][0] == pytest.approx(0.6931, abs=1e-3)  # both models are equal
