"""A full disk, or a limit on the size of files: one clear line, nothing half-written, and it can go on later."""

import json
import os
import resource
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from small import history, tiny_model, weights

from d2vlm_lab.cli import main
from d2vlm_lab.data import splits
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.files import json_lines
from d2vlm_lab.learning.resuming import last_checkpoint
from d2vlm_lab.model.checkpoint import save
from d2vlm_lab.settings import from_dict


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    world = make_world(folder / "world", from_dict(WorldConfig, {"videos": 10, "seed": 5}), workers=1)
    save(tiny_model(), folder / "base")
    config = folder / "run.yaml"
    config.write_text(f"parts: {{start: {folder / 'base'}}}\ndata: {{world: {world}}}\nmethod: {{semantic_layer: 1}}\n"
                      "adapter: {rank: 4}\ntraining: {steps: 8, videos: 2, learning_rate: 1.0e-3, log_every: 1, "
                      "eval_every: 4, save_every: 4}\nevaluation: {samples: 2, max_new_tokens: 6}\n")
    assert main(["train", str(config), "--out", str(folder / "whole")]) == 0
    return SimpleNamespace(folder=folder, world=world, config=config, whole=folder / "whole")


@pytest.fixture
def limit():
    """Sets how large the files may become that this process writes; without a limit again at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def visible(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
                  and "tfevents" not in path.name)


def same_end(folder, whole):
    a, b = (weights(each / "model") for each in (folder, whole))
    assert a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())
    a, b = ([(line["step"], line["loss"]) for line in history(each) if "loss" in line] for each in (folder, whole))
    assert a == b


# The history, the weights of a checkpoint, and the state of its optimizer are the files that grow beyond these sizes.
@pytest.mark.parametrize("size, reason", [
    (3_000, "a file would become larger than this process may write"),
    pytest.param(50_000, "a file would become larger than this process may write", marks=pytest.mark.slow),
    (150_000, "a file could not be written to its end, which mostly means that the disk is full")])
def test_training_under_a_limit_on_files_is_one_line_and_goes_on_later(place, tmp_path, limit, capfd, size, reason):
    words = ["train", str(place.config), "--out", str(tmp_path / "run")]
    limit(size)
    assert main(words) == 2
    limit(resource.RLIM_INFINITY)
    error = capfd.readouterr().err.strip()
    assert error.startswith(f"d2vlm-lab train: {reason}; make room for {tmp_path / 'run'}") and "\n" not in error
    assert not {"metrics.json", "model/d2vlm.safetensors"} & set(visible(tmp_path / "run"))
    assert not any(".partial" in name or "checkpoint" in name for name in visible(tmp_path / "run"))
    assert main(words) == 0
    same_end(tmp_path / "run", place.whole)


def test_evaluating_under_a_limit_on_files_ends_with_one_line_and_goes_on_later(place, tmp_path, limit, capfd):
    words = ["evaluate", str(place.whole / "model"), "world", "--data", str(place.world), "--max-new-tokens", "6",
             "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    capfd.readouterr()
    limit((tmp_path / "whole" / "answers_0_of_1.jsonl").stat().st_size // 2)
    assert main([*words, str(tmp_path / "cut")]) == 2
    limit(resource.RLIM_INFINITY)
    error = capfd.readouterr().err.strip()
    assert "a file would become larger" in error and "the answers that are there are kept" in error
    assert "\n" not in error and not (tmp_path / "cut" / "score_clean.json").exists()
    file = tmp_path / "cut" / "answers_0_of_1.jsonl"
    assert 0 < len(json_lines(file)) < len(json_lines(tmp_path / "whole" / file.name))
    before = json_lines(file)
    assert main([*words, str(tmp_path / "cut")]) == 0
    assert json_lines(file)[:len(before)] == before
    assert json_lines(file) == json_lines(tmp_path / "whole" / file.name)


def test_features_under_a_limit_on_files_end_with_one_line_and_go_on_later(place, tmp_path, limit, capfd, monkeypatch):
    monkeypatch.setattr(splits, "CACHE", str(tmp_path / "cache"))
    limit(2_000)
    assert main(["features", str(place.config)]) == 2
    limit(resource.RLIM_INFINITY)
    error = capfd.readouterr().err.strip()
    assert "File too large" in error and "make room" in error and str(tmp_path / "cache") in error
    assert not list(tmp_path.rglob("*.features")) and not list(tmp_path.rglob(".*.partial"))
    assert main(["features", str(place.config)]) == 0 and list(tmp_path.rglob("*.features"))


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes, checkpoints", [(300, 0), (420, 1)])
def test_training_on_a_disk_that_is_full_keeps_the_last_whole_checkpoint(place, tmp_path, kilobytes, checkpoints):
    """A small disk of its own; room is made by enlarging it."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no disk of its own can be made here")
    command = f"{sys.executable} -m d2vlm_lab.cli train {place.config} --out disk/run"
    script = (f"mount -t tmpfs -o size={kilobytes}k tmpfs disk && {command} > first.log; echo $?; cp -r disk/run full; "
              f"mount -o remount,size=20m disk; {command} > second.log; echo $?; cp -r disk/run run")
    (tmp_path / "disk").mkdir()
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())})
    assert done.stdout.split() == ["2", "0"], done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("d2vlm-lab train: "), done.stderr
    whole = [path.name for path in (tmp_path / "full").glob("checkpoints/*")]
    assert len(whole) == checkpoints and not any(".partial" in name for name in visible(tmp_path / "full"))
    if checkpoints:
        assert last_checkpoint(tmp_path / "full" / "checkpoints").endswith(f"checkpoint-{4 * checkpoints}")
    same_end(tmp_path / "run", place.whole)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["checkpoint"]
