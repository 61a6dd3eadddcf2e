"""Strict settings: what is wrong is said, with the word that was meant."""

import pytest

from d2vlm_lab.config import PRESETS, RunConfig, from_flat, read_config
from d2vlm_lab.settings import ConfigError, flatten, override, to_dict


def test_every_preset_can_be_read_and_survives_its_flat_view():
    for path in PRESETS.glob("*.yaml"):
        if not path.stem.startswith("base-"):
            config = read_config(path.stem)
            assert from_flat(flatten(config)) == config


@pytest.mark.parametrize("change, message", [
    ("training.step=3", "did you mean 'training.steps'"),
    ("trainig.steps=3", "did you mean 'training.steps'"),
    ("training.steps=many", "expected int, found 'many'"),
    ("training.steps", "write a setting as key=value"),
    ("method.style=intreleaved", "did you mean 'interleaved'"),
    ("method.target_base=0.5", "must be above 1"),
    ("data.tasks=tvg", "expected a list"),
    ("parts.language=gpt2", "give exactly one"),
    ("method.style=[", "not readable as YAML"),
])
def test_a_wrong_setting_is_one_clear_line(change, message):
    with pytest.raises(ConfigError, match=message) as error:
        override(RunConfig(), [change])
    assert "\n" not in str(error.value)


def test_impossible_combinations_are_refused():
    with pytest.raises(ConfigError, match="end_marker"):
        override(RunConfig(), ["method.style=factorized", "method.end_marker=false"])
    with pytest.raises(ConfigError, match="vision tower"):
        override(RunConfig(), ["parts.start=", "parts.language=gpt2"])


def test_values_keep_their_types():
    config = override(RunConfig(), ["training.learning_rate=1e-3", "training.clip=1", "data.limit=null",
                                    "data.tasks=[tvg, dvc]", "method.semantics=off"])
    assert config.training.learning_rate == 1e-3 and isinstance(config.training.clip, float)
    assert config.data.limit is None and config.data.tasks == ("tvg", "dvc") and config.method.semantics == "off"


@pytest.mark.parametrize("text, message", [
    ("training:\n  stepz: 3\n", "training.stepz: no such setting; did you mean 'training.steps'"),
    ("trainning:\n  steps: 3\n", "no such setting; did you mean 'training'"),
    ("- a\n- b\n", "expected `key: value` lines"),
    ("a: [", "not readable as YAML"),
    ("preset: tinny\n", "did you mean 'tiny'"),
])
def test_a_bad_file_is_named(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_file_builds_on_a_preset_and_changes_come_last(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("preset: tiny\ntraining:\n  steps: 7\n  texts: 2\n")
    config = read_config(path, ["training.texts=3"])
    assert (config.training.steps, config.training.texts) == (7, 3)
    assert config.method == read_config("tiny").method
    assert to_dict(config)["training"]["steps"] == 7


def test_a_missing_file_and_an_unknown_preset_are_errors():
    with pytest.raises(ConfigError, match="no such file"):
        read_config("nowhere.yaml")
    with pytest.raises(ConfigError, match="no preset 'tin'"):
        read_config("tin")
