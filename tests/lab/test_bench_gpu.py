"""The benchmark for GPUs, tried on a CPU at tiny sizes."""

import json

import pytest
import torch

from d2vlm_lab.cli import main
from experiments.benchmarks import gpu

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it measures the full sizes for minutes")


def test_all_parts_run_and_leave_numbers_and_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", {name: part for name, part in gpu.PARTS.items() if name != "preset tiny"})
    assert main(["bench", "gpu", "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["notes"] == {} and result == json.loads((tmp_path / "gpu.json").read_text())
    assert {"one pass: one pass", "shared prefix: 4 rejected, shared frames", "generation: 2 videos at once",
            "grounding share: forward", "frames: 16 frames"} <= set(result["seconds"])
    assert result["counts"]["kernels: operators"] > 100 and result["counts"]["kernels: 10^9 operations"] > 0
    assert result["ratios"]["matrix rate: smollm2, of the speed of one large product"] > 0
    assert result["counts"]["grounding share: grounding, ms a token"] > 0
    table = (tmp_path / "gpu.md").read_text()
    assert "| grounding share: of the forward |" in table and f"torch {torch.__version__}" in table


def test_a_part_that_fails_is_noted_and_the_next_one_follows(tmp_path, monkeypatch):
    def fails(bench):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(gpu, "PARTS", {"large": fails, "grounding share": gpu.grounding_share})
    result = gpu.run(tmp_path)
    assert result["notes"] == {"large": "failed: OutOfMemoryError: too large"}
    assert "grounding share: forward" in result["seconds"]


def test_no_part_begins_after_the_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "BUDGET", -1)
    result = gpu.run(tmp_path)
    assert set(result["notes"]) == set(gpu.PARTS) and set(result["notes"].values()) == {"left out: the time was up"}
