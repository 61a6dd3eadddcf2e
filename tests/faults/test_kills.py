"""`train` and `evaluate` are killed again and again, at moments drawn from a seed, and end as if nothing was."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from small import history, tiny_model, weights

from d2vlm_lab.cli import main
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.files import json_lines
from d2vlm_lab.judging import answers, portions
from d2vlm_lab.model.checkpoint import save
from d2vlm_lab.settings import from_dict

# Children start from a process that has imported everything once and has done nothing yet.
START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["d2vlm_lab.lab.run", "d2vlm_lab.judging.evaluate", "transformers"])
PATIENCE = 400  # seconds for anything here; the machine may be busy


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small world, one video of it damaged, and a random base beside it."""
    folder = tmp_path_factory.mktemp("kills")
    world = make_world(folder / "world", from_dict(WorldConfig, {"videos": 90, "seed": 5}), workers=1)
    for name in ("train_00003", "test_00002"):
        (world / "videos" / f"{name}.mp4").write_bytes(b"no video")
    save(tiny_model(), folder / "base")
    (folder / "run.yaml").write_text(
        f"parts: {{start: {folder / 'base'}}}\ndata: {{world: {world}, bad_share: 0.5, limit: 10}}\n"
        "method: {semantic_layer: 1}\nadapter: {rank: 4, dropout: 0.1}\npreference: {form: fpo, reference: true}\n"
        "training: {steps: 60, videos: 2, texts: 2, learning_rate: 1.0e-3, log_every: 1, eval_every: 15, "
        "save_every: 3}\nevaluation: {samples: 2, max_new_tokens: 6}\n")
    return SimpleNamespace(folder=folder, world=world, config=folder / "run.yaml")


def command(log, *words, at_once=portions.AT_ONCE):
    """What a child does: one command, its lines in a file."""
    portions.AT_ONCE = at_once
    with open(log, "a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        code = main([str(word) for word in words])
    os._exit(code)


def start(log, *words, **more):
    child = START.Process(target=command, args=(log, *words), kwargs=more)
    child.start()
    return child


def finish(child, log):
    child.join(PATIENCE)
    assert child.exitcode == 0, log.read_text()


def kill_when(child, lines, grown, seconds):
    """Kill it some time after its file has grown by so many lines; whether it was still alive then."""
    begin, end = lines(), time.monotonic() + PATIENCE
    while child.is_alive() and lines() < begin + grown and time.monotonic() < end:
        begin = min(begin, lines())  # a run that goes on shortens its history first
        time.sleep(0.005)
    time.sleep(seconds)
    child.kill()
    child.join(PATIENCE)
    return child.exitcode == -signal.SIGKILL


def sorted_lists(value):
    """Scores name the answers that could not be understood in the order of the files."""
    if isinstance(value, dict):
        return {key: sorted_lists(each) for key, each in value.items()}
    return sorted(value) if isinstance(value, list) else value


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.name.endswith((".partial", ".old", ".lock"))]


@pytest.mark.slow
def test_training_that_is_killed_ten_times_ends_with_the_weights_of_an_uninterrupted_run(place, tmp_path):
    rng, whole, killed, log = random.Random(0), tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    finish(start(log, "train", place.config, "--out", whole), log)
    for k in range(10):
        child = start(log, "train", place.config, "--out", killed)
        grown = rng.choice((0, 1, 2, 4, 6))
        assert kill_when(child, lambda: len(json_lines(killed / "history.jsonl")), grown,
                         rng.uniform(0, 0.1 if grown else 1.5)), f"kill {k} came too late"
    assert not (killed / "metrics.json").exists()
    finish(start(log, "train", place.config, "--out", killed), log)

    a, b = (weights(folder / "model") for folder in (whole, killed))
    assert a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())
    a, b = ([{name: value for name, value in line.items() if "second" not in name and "runtime" not in name}
             for line in history(folder) if "train_runtime" not in line] for folder in (whole, killed))
    assert a == b and len(a) >= 60
    a, b = (json.loads((folder / "metrics.json").read_text()) for folder in (whole, killed))
    assert a | {"seconds": 0} == b | {"seconds": 0} and a["skipped"]["video"] > 0
    assert (whole / "skipped.jsonl").read_bytes() == (killed / "skipped.jsonl").read_bytes()
    assert leftovers(killed) == []


@pytest.mark.slow
def test_three_shards_at_once_that_are_killed_twelve_times_give_the_answers_of_one_evaluation(place, tmp_path):
    rng, log = random.Random(1), tmp_path / "log"
    # Long answers and early kills: after four kills, no shard of three videos has come to its end.
    words = ["evaluate", place.folder / "base", "world", "--data", place.world, "--max-new-tokens", "48", "--out"]

    def shard(index):
        return start(log, *words, tmp_path / "shards", "--shard", f"{index}/3", at_once=1)

    def lines(index):
        return len(json_lines(tmp_path / "shards" / f"answers_{index}_of_3.jsonl"))

    def kill_shard(index, child, grown, seconds):
        return kill_when(child, lambda: lines(index), grown, seconds)

    finish(start(log, *words, tmp_path / "whole"), log)
    for k in range(4):
        children = [shard(index) for index in range(3)]
        with ThreadPoolExecutor(3) as pool:
            killed = pool.map(kill_shard, range(3), children, [rng.choice((0, 1, 2)) for _ in children],
                              [rng.uniform(0, 0.03) for _ in children])
            assert all(killed), f"a kill of round {k} came too late"
    assert len(answers.all_answers(tmp_path / "shards")) < len(answers.all_answers(tmp_path / "whole"))
    children = [shard(index) for index in range(3)]
    for child in children:
        finish(child, log)
    whole, shards = (answers.all_answers(tmp_path / name) for name in ("whole", "shards"))
    assert len(shards) == len(whole) and {str(a) for a in shards} == {str(a) for a in whole}
    assert [len(json_lines(file)) for file in (tmp_path / "shards").glob("answers_*")] == [
        len(file.read_text().splitlines()) for file in (tmp_path / "shards").glob("answers_*")], "no half lines"
    a, b = (json.loads((tmp_path / name / "score_clean.json").read_text()) for name in ("whole", "shards"))
    assert sorted_lists(a["scores"]) == sorted_lists(b["scores"]) and leftovers(tmp_path / "shards") == []
