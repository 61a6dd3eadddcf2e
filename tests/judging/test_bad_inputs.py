"""Numbers out of range, long answers and damaged worlds are one line; no regular expression takes long over them."""

import json

import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.data.world import load
from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.metrics.published_reading import plain_intervals, split_events
from d2vlm_lab.judging.metrics.reading import read_events
from d2vlm_lab.judging.metrics.records import ANSWER, etbench_problem


@pytest.mark.parametrize("option", ["--limit=-1", "--limit=0", "--fps=nan", "--fps=0", "--max-frames=0",
                                    "--max-new-tokens=-3"])
def test_an_option_of_evaluate_that_is_out_of_range_is_named(tmp_path, capsys, option):
    assert main(["evaluate", "data/tiny-sft", "world", "--data", str(tmp_path), option]) == 2
    assert f"{option.split('=')[0]} is" in capsys.readouterr().err


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
