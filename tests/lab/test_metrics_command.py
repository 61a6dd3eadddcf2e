"""The metrics that a study may compare, on the command line."""

import json

from d2vlm_lab.cli import main
from d2vlm_lab.judging.catalogue import CATALOGUE


def test_every_metric_is_printed_with_its_meaning(capsys):
    assert main(["metrics"]) == 0
    page = capsys.readouterr().out
    assert all(f"{name}\n    " in page for name in CATALOGUE)
    assert main(["metrics", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in entries] == list(CATALOGUE) and all(entry["meaning"] for entry in entries)


def test_a_part_of_a_name_selects_and_a_whole_name_gives_one(capsys):
    assert main(["metrics", "memory", "--json"]) == 0
    assert {"memory_mb", "gpu_memory_mb"} <= {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert main(["metrics", "memory_mb", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == ["memory_mb"]


def test_a_misspelt_metric_is_an_error_that_suggests_what_was_meant(capsys):
    assert main(["metrics", "named_mIou"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'named_mIoU'?" in error and error.count("\n") == 1
