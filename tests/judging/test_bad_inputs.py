"""Numbers out of range, long answers and damaged worlds are one line; no regular expression takes long over them."""

import json
import os

import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.data.world import load
from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.answers import drop_half_line
from d2vlm_lab.judging.metrics.published_reading import plain_intervals, split_events
from d2vlm_lab.judging.metrics.reading import read_events
from d2vlm_lab.judging.metrics.records import ANSWER, etbench_problem
from d2vlm_lab.processes import parse_shard


@pytest.mark.parametrize("option", ["--limit=-1", "--limit=0", "--fps=nan", "--fps=0", "--max-frames=0",
                                    "--max-new-tokens=-3", "--max-new-tokens=16385", "--max-frames=100001",
                                    "--fps=1e308"])
def test_an_option_of_evaluate_that_is_out_of_range_is_named(tmp_path, capsys, option):
    assert main(["evaluate", "data/tiny-sft", "world", "--data", str(tmp_path), option]) == 2
    assert f"{option.split('=')[0]} is" in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["x", "1/1", "²/3", "٠/١", "0/" + "9" * 5000, "-1/2"])
def test_a_shard_is_two_plain_numbers(shard):
    with pytest.raises(LabError, match="--shard is .*; write it as I/N") as error:
        parse_shard(shard)
    assert len(str(error.value)) < 300


def test_several_processes_do_not_all_do_the_work_of_one_shard(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LabError, match="2 processes were started together, and each would do the work of --shard 0/1"):
        parse_shard("0/1")


def test_a_pipe_or_a_folder_in_the_place_of_answers_is_named(tmp_path):
    os.mkfifo(tmp_path / "answers_0_of_1.jsonl")
    (tmp_path / "folder").mkdir()
    for name, found in (("answers_0_of_1.jsonl", "a pipe"), ("folder", "a folder")):
        with pytest.raises(LabError, match=f"{name}: expected a file, found {found}"):
            drop_half_line(tmp_path / name)


def test_answers_of_the_longest_length_are_read_at_once():
    for text in ("9" * ANSWER, "1" + " " * ANSWER, "1 - 2 s, " * (ANSWER // 9), "1.2." * (ANSWER // 4)):
        read_events(text)
        plain_intervals(text)
        split_events("</evi>" + text)
    record = {"task": "tvg", "source": "s", "idx": 0, "tgt": [1, 2], "a": "x" * (ANSWER + 1)}
    assert "it may have at most 50,000" in etbench_problem(record)


@pytest.mark.parametrize("card", ["", "[]", "{", '{"config": 3, "annotations": "a", "videos": "v"}',
                                  '{"config": {"videos": "x"}, "annotations": "a", "videos": "v"}',
                                  json.dumps({"config": {}, "annotations": None, "videos": []})])
def test_a_damaged_world_is_named(tmp_path, card):
    (tmp_path / "world.json").write_text(card)
    with pytest.raises(LabError, match="world.json is damaged .*; make the world again"):
        load(tmp_path)
