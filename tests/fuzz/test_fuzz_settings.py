"""Settings on the command line, presets and experiment files, broken in every way."""

from pathlib import Path

import pytest
import yaml
from harness import ODD, TIMES, Target, attack
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import small_world, write_study

from d2vlm_lab.config import ROOT, RunConfig, read_config
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.rejected import Recipe
from d2vlm_lab.lab.study.study import points_of, read_study
from d2vlm_lab.learning.pretrain import BaseRecipe
from d2vlm_lab.settings import flatten, override

WORDS = [yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip() for value in ODD]
WORDS += ["nope", "[nope]", "[", "{", "&a [*a]", "*a", "!!binary x", "9" * 5000, "1e999", "0x10", "010", "1:30",
          "[[[]]]", "'", '"', "\x01", "2001-01-01", "on", "~", "---", "a: b: c", "? x"]


@pytest.mark.parametrize("cls", [RunConfig, WorldConfig, Recipe, BaseRecipe])
def test_a_setting_of_any_value_is_taken_or_refused_in_one_line_that_names_it(cls):
    names = sorted(flatten(cls()))

    @settings(max_examples=150 * TIMES, database=None)
    @given(st.sampled_from(names), st.sampled_from(WORDS))
    def case(name, word):
        try:
            override(cls(), [f"{name}={word}"])
        except LabError as error:
            assert name in str(error) and "\n" not in str(error) and len(str(error)) < 600

    case()


def preset(folder: Path) -> None:
    (folder / "run.yaml").write_bytes((ROOT / "experiments" / "presets" / "tiny.yaml").read_bytes())


def study(folder: Path) -> None:
    write_study(folder, shared={"sft": {"overrides": {"training.steps": 3}}}, worlds={"other": {"preset": "small"}},
                against={"without": "full"}, parameters="learn = True\n", notebook="run.ipynb",
                paper=[{"metric": "f1", "variant": "full", "value": 1.5, "source": "Table 1"}],
                profiles={"quick": {"seeds": [0, 1], "variants": ["full"], "minutes": 3, "base": {"training.steps": 2},
                                    "shared": {"sft": {"training.steps": 2}}}})


@pytest.mark.slow
def test_a_preset_is_read_or_refused(tmp_path):
    attack(Target(read_config, preset, "run.yaml", "yaml"), tmp_path, 60)


@pytest.mark.slow
def test_an_experiment_file_is_read_or_refused(tmp_path):
    def read(path):
        found, _ = read_study(str(path))
        assert all(points_of(found, profile) for profile in ("", *found.profiles))

    attack(Target(read, study, "study.yaml", "yaml"), tmp_path, 60)


@pytest.mark.slow
def test_the_notebook_of_an_experiment_is_read_or_refused(tmp_path):
    attack(Target(lambda _: read_study("study.yaml"), study, "run.ipynb"), tmp_path, 30)


@pytest.mark.slow
def test_the_plan_of_an_experiment_is_made_or_refused(tmp_path):
    def prepare(folder):
        study(folder)
        small_world(folder)
        tree = yaml.safe_load((folder / "study.yaml").read_text())
        tree["base"]["data.world"] = "world"
        tree["worlds"] = {}
        (folder / "study.yaml").write_text(yaml.safe_dump(tree))

    attack(Target("ablate {file} --out out --dry-run", prepare, "study.yaml", "yaml"), tmp_path, 10)
