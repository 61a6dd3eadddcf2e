"""Strict settings: errors name what is wrong and suggest what was meant; every setting has a meaning to print."""

import json
import math
import re
import typing
from dataclasses import dataclass, is_dataclass

import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.config import REWARDS, ROOT, RunConfig, Training, from_flat, presets, read_config, recorded_config
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.rejected import Recipe
from d2vlm_lab.lab.commands.settings import all_settings
from d2vlm_lab.learning.pretrain import BaseRecipe
from d2vlm_lab.settings import flatten, meanings, override, to_dict
from d2vlm_lab.shapes import words


def test_every_preset_can_be_read_and_survives_its_flat_view():
    assert "tiny" in presets()
    for name in presets():
        config = read_config(name)
        assert from_flat(flatten(config)) == config


@pytest.mark.parametrize("change, message", [
    ("training.report_to=[wandb, wandb]", "training.report_to is .* name each only once"),
    ("training.step=3", "did you mean 'training.steps'"),
    ("trainig.steps=3", "did you mean 'training.steps'"),
    ("training.steps=many", "expected a whole number, found 'many'"),
    ("training.steps", "write a setting as key=value"),
    ("method.style=intreleaved", "did you mean 'interleaved'"),
    ("method.target_base=0.5", "method.target_base: expected a number above 1 .*, found 0.5"),
    ("data.tasks=tvg", "expected a list"),
    ("parts.language=gpt2", "give exactly one"),
    ("method.style=[", "not readable as YAML"),
])
def test_a_wrong_setting_is_one_clear_line(change, message):
    with pytest.raises(LabError, match=message) as error:
        override(RunConfig(), [change])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [
    "training.learning_rate=-1", "training.learning_rate=.nan", "training.clip=.nan", "training.clip=.inf",
    "training.clip=nan", "training.eval_every=0", "training.workers=1000000", "training.weight_decay=-1",
    "training.steps=0", "training.videos=1e3", "data.bad_share=-1", "data.bad_share=1.5", "data.fps=.nan", "data.fps=0",
    "data.keep_frames=1", "data.limit=0", "data.tasks=[tvg, tvg]", "adapter.dropout=1.5", "adapter.rank=0", "seed=-1",
    "seed=99999999999999999999", "seed=010", "evaluation.batch=-1", "evaluation.samples=-1", "preference.beta=0",
    "parts.frame_tokens=3", "method.salience_value=2", "training.steps={a: 1}", "training.steps=[1]",
    "training.steps=null", "parts.start=3", "data.tasks={}", "data.min_seconds=2e9", "method.style=[1]"])
def test_every_number_has_a_range_and_the_error_names_the_setting(change):
    with pytest.raises(LabError, match=re.escape(change.partition("=")[0])) as error:
        override(RunConfig(), [change])
    assert "\n" not in str(error.value)


def numbers(cls, name=""):
    """The settings of a dataclass that are numbers, with their shapes."""
    for field, hint in typing.get_type_hints(cls, include_extras=True).items():
        if is_dataclass(hint):
            yield from numbers(hint, f"{name}{field}.")
        elif "number" in words(hint):
            yield f"{name}{field}", words(hint)


@pytest.mark.parametrize("cls", [RunConfig, WorldConfig, Recipe, BaseRecipe])
def test_no_number_is_without_a_range(cls):
    assert [name for name, text in numbers(cls) if not re.search(r"from .* to|at most|above", text)] == []


def test_a_range_holds_also_for_settings_that_were_made_directly():
    with pytest.raises(LabError, match="training.clip: expected a finite number, found nan"):
        RunConfig(training=Training(clip=math.nan))
    with pytest.raises(LabError, match="clutter: expected a whole number from 0 to 100, found -1"):
        WorldConfig(clutter=-1)


def test_a_setting_that_is_given_twice_is_an_error():
    with pytest.raises(LabError, match="^seed is given twice$"):
        override(RunConfig(), ["seed=1", "training.steps=3", "seed=2"])


@pytest.mark.parametrize("changes, message", [
    ({"parts.dtype": "float16", "training.bfloat16": True}, "training.bfloat16 computes in bfloat16, but parts.dtype"),
    ({"method.frame_block": 4, "method.bidirectional_frames": False}, "so there are no blocks"),
    ({"method.formulation": "cite", "method.style": "digits"}, "reads times off `<evi>` tokens"),
    ({"method.formulation": "bins", "method.style": "interleaved"}, "so set the weight to 0"),
    ({"method.salience": "peak_share", "method.salience_value": 2}, "for peak_share it must be a share"),
    ({"method.salience": "smoothed", "method.salience_value": 4}, "for smoothed it must be an odd number"),
    ({"method.salience": "top_frames", "method.salience_value": 1.5}, "for top_frames it must be a whole number"),
    ({"adapter.targets": "none", "adapter.embeddings": "evidence"}, "adapter.targets=none has no adapter"),
    ({"training.warmup": 0.6, "training.decay": 0.6}, "add up to at most 1"),
    ({"evaluation.keep_frames": 8}, "evaluation.keep_frames: frames that look at all later frames"),
    ({"data.keep_frames": 8, "data.cache": "off"}, "which data.cache=off does not keep"),
    ({"data.nothing_share": 1}, "it must be a share below 1"),
    ({"data.min_seconds": 9, "data.max_seconds": 3}, "data.min_seconds is 9.*, above data.max_seconds"),
    ({"data.world": ""}, "give one, a world or an annotation file"),
    ({"data.world": "", "data.train": "x.jsonl"}, "data.videos: name the folder"),
    ({"preference.form": "fpo", "preference.factors": []}, "preference.factors: name at least one"),
    ({"preference.form": "fpo", "method.style": "digits"}, "needs evidence tokens to score"),
    ({"preference.form": "fpo", "method.formulation": "cite"}, "by the sigmoid of each frame"),
    ({"reward.form": "iou_loss", "reward.file": "x.jsonl"}, "reward.form=iou_loss draws none")])
def test_settings_that_cannot_go_together_are_refused(changes, message):
    with pytest.raises(LabError, match=message):
        override(RunConfig(), changes)


def test_impossible_combinations_are_refused():
    with pytest.raises(LabError, match="end_marker"):
        override(RunConfig(), ["method.style=factorized", "method.end_marker=false"])
    with pytest.raises(LabError, match="vision tower"):
        override(RunConfig(), ["parts.start=", "parts.language=gpt2"])
    for embeddings in ("evidence", "frozen"):
        with pytest.raises(LabError, match=f"targets=all .* adapter.embeddings=all .found {embeddings}"):
            override(RunConfig(), ["adapter.targets=all", f"adapter.embeddings={embeddings}"])
    for name in ("val", "videos"):
        with pytest.raises(LabError, match="data.val and data.videos belong to data.train, which is empty"):
            override(RunConfig(), [f"data.{name}=somewhere"])


def test_words_that_yaml_reads_as_truths_are_the_choices_of_a_setting():
    assert override(RunConfig(), ["method.evidence_from=true"]).method.evidence_from == "true"
    assert override(RunConfig(), ["method.semantics=off"]).method.semantics == "off"
    with pytest.raises(LabError, match="method.evidence_from: 'off' is not one of true, predicted"):
        override(RunConfig(), ["method.evidence_from=false"])


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
    ("preset: tinny\n", "preset 'tinny'; did you mean 'tiny'"),
    ("preset: 3\n", "expected the name of a preset, found 3"),
    ("preset: [a]\n", "expected the name of a preset"),
    ("training: 3\n", "training: expected `key: value` lines, found 3"),
    ("seed: 1\nseed: 2\n", "line 2: .*the key 'seed' stands there twice"), ("3: 1\n", "3: no such setting"),
    ("training: {clip: .nan}\n", "training.clip: expected a finite number"), ("training: {3: 1}\n", "no such setting"),
    ("a: &a [*a]\n", "values, as anchors repeat them"), ("seed: 2001-01-01\n", "seed: expected a whole number"),
])
def test_a_bad_file_is_named(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(LabError, match=message):
        read_config(path)


def test_a_file_builds_on_a_preset_and_changes_come_last(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("preset: tiny\ntraining:\n  steps: 7\n  texts: 2\n")
    config = read_config(path, ["training.texts=3"])
    assert (config.training.steps, config.training.texts) == (7, 3)
    assert config.method == read_config("tiny").method
    assert to_dict(config)["training"]["steps"] == 7


def test_a_file_that_starts_from_itself_is_an_error(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"preset: {tmp_path}/{other}.yaml\n")
    with pytest.raises(LabError, match="it starts from itself"):
        read_config(tmp_path / "a.yaml")


def test_a_missing_file_and_an_unknown_preset_are_errors():
    with pytest.raises(LabError, match="no such file"):
        read_config("nowhere.yaml")
    with pytest.raises(LabError, match="no preset 'tin'"):
        read_config("tin")


def test_a_recorded_config_is_read_without_settings_that_have_been_removed(tmp_path):
    config = read_config("tiny", ["training.steps=7"])
    recorded = to_dict(config)
    recorded["training"]["group_by_length"] = False
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    assert recorded_config(tmp_path / "config.json") == config
    with pytest.raises(LabError, match="training.group_by_length: no such setting"):
        from_flat(flatten(config) | {"training.group_by_length": False})


@dataclass(frozen=True)
class Explained:
    a: int = 1  # behind it
    b: str = "# no comment"
    # above it,
    # in two lines
    c: int = 2
    d: tuple[int, ...] = (1,
                          2)  # behind its last line


def test_the_meaning_of_a_setting_is_the_comment_behind_it_or_above_it():
    expected = {"a": "behind it", "b": "", "c": "above it, in two lines", "d": "behind its last line"}
    assert meanings(Explained) == expected


def test_every_setting_has_a_meaning_and_none_is_left_out():
    settings = {setting.name: setting for setting in all_settings()}
    assert [name for name, setting in settings.items() if len(setting.meaning.split()) < 2] == []
    assert set(flatten(RunConfig())) <= set(settings) and "world.jitter" in settings
    assert settings["training.steps"].presets["tiny"] == read_config("tiny").training.steps
    assert "smollm2" not in settings["training.warmup"].presets and settings["training.warmup"].default == 0.03


def test_every_setting_is_read_somewhere():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "d2vlm_lab").rglob("*.py")
               if path.name != "config.py"]
    # `target_base` is read as Method.base, the weights of rewards as Reward.weights.
    fields = {name.split(".")[-1] for name in flatten(RunConfig())} - {"target_base"} - {*REWARDS}
    assert [field for field in fields if not any(re.search(rf"\.{field}\b", source) for source in sources)] == []


def test_the_command_prints_a_setting_a_section_or_what_holds_a_part_of_the_name(capsys):
    def names(*words):
        assert main(["settings", *words, "--json"]) == 0
        return [setting["name"] for setting in json.loads(capsys.readouterr().out)]

    assert names("training.steps") == ["training.steps"]
    assert "training.clip" in names("training") and not any("data." in name for name in names("training"))
    assert names("weight_decay") == ["training.weight_decay"] and len(names()) > len(flatten(RunConfig()))
    assert main(["settings", "method.style"]) == 0
    page = capsys.readouterr().out
    assert "method.style = interleaved" in page and "factorized: first" in page
    assert "one of interleaved, factorized, coupled, digits" in page
    assert main(["settings", "training.warmup"]) == 0
    assert "Value: a number from 0 to 1" in capsys.readouterr().out


@pytest.mark.parametrize("name, hint", [("training.stepz", "did you mean 'training.steps'"),
                                        ("learning_rat3", "did you mean 'training.learning_rate'"),
                                        ("trianing", "did you mean 'training'"),
                                        ("xyz", "`d2vlm-lab settings` prints all of them")])
def test_a_misspelt_setting_is_an_error_that_suggests_what_was_meant(name, hint, capsys):
    assert main(["settings", name]) == 2
    error = capsys.readouterr().err
    assert hint in error and error.count("\n") == 1
