"""What every page begins with: a world that is made once, and trainings that are run once."""

import json

import pytest

from d2vlm_lab.errors import LabError
from d2vlm_lab.lab import lesson

TINY = {"training": {"steps": 2, "videos": 2}, "evaluation": {"samples": 1, "max_new_tokens": 4}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return lesson.setup(tmp_path_factory.mktemp("lesson") / "world", videos=10)


def test_a_world_is_made_where_it_is_missing_with_the_settings_that_are_asked_for(tmp_path):
    world = lesson.setup(tmp_path / "world", videos=10, seed=3, jitter=0.5)
    assert (world.config.videos, world.config.seed, world.config.jitter) == (10, 3, 0.5)


def test_a_checkpoint_comes_with_what_reads_this_world_for_it(world):
    model, read = lesson.checkpoint("data/tiny-sft", world)
    assert len(read(world.samples("val")[0]).timestamps) == world.config.frames
    assert model.can_ground


def test_a_training_is_judged_and_saved_once_unless_it_is_asked_to_do_so_more_often(world):
    once = lesson.recipe(world, training={"steps": 40})
    assert (once.training.log_every, once.training.eval_every, once.training.save_every) == (4, 40, 40)
    assert lesson.recipe(world, training={"steps": 40, "eval_every": 10}).training.eval_every == 10
    assert once.data.world == str(world.folder)


def test_a_setting_that_does_not_exist_is_refused_by_name(world):
    with pytest.raises(LabError, match="method.consistency"):
        lesson.recipe(world, method={"consistency": 1.0})


def test_the_same_training_is_found_and_another_one_gets_its_own_folder(world, tmp_path):
    run = lesson.train_once("page", world, tmp_path, **TINY)
    written = (run / "model" / "d2vlm.safetensors").stat().st_mtime_ns
    assert "validation" in json.loads((run / "metrics.json").read_text())
    assert lesson.train_once("page", world, tmp_path, **TINY) == run
    assert (run / "model" / "d2vlm.safetensors").stat().st_mtime_ns == written
    assert lesson.train_once("page", world, tmp_path, seed=1, **TINY) != run
