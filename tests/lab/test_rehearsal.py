"""Rehearsals: every preset lives through a whole run at small size, and what goes wrong is named."""

import json

import pytest
import torch
from safetensors import safe_open

from d2vlm_lab.cli import main
from d2vlm_lab.config import presets, read_config
from d2vlm_lab.data.datasets.formats import TRAINING
from d2vlm_lab.data.splits import splits
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.rehearsal import command
from d2vlm_lab.lab.rehearsal.computing import compare_precisions
from d2vlm_lab.lab.rehearsal.data import write_data
from d2vlm_lab.lab.rehearsal.miniature import write_parts
from d2vlm_lab.model.start import start
from d2vlm_lab.settings import from_dict, override

QUICK = ("dry run", "train", "save and load", "merge", "preferences", "rewards", "evaluate", "score",
         "ask")  # without the kill


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    results = command.rehearse("tiny", ["training.steps=2", "training.eval_every=9"], keep=folder,
                               report=lambda done: None, only=QUICK)
    return folder, results


def test_the_tiny_preset_is_rehearsed(rehearsed):
    folder, results = rehearsed
    assert [done.note for done in results if not done.ok] == []
    assert [done.stage for done in results] == ["prepare", *QUICK]
    assert all(done.seconds > 0 and done.peak_mb > 0 for done in results)
    history = (folder / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["step"] == 2  # what the user has set is kept


@pytest.mark.slow
@pytest.mark.parametrize("preset", presets())
def test_every_preset_is_rehearsed(preset, capsys):
    assert main(["rehearse", preset, "--json"]) == 0
    stages = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [stage["stage"] for stage in stages] == ["prepare", *command.STAGES]


def test_an_error_is_the_result_of_its_stage_and_ends_the_rehearsal_where_the_rest_needs_it(capsys):
    assert main(["rehearse", "tiny", "method.semantic_layer=9"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "dry run          ERROR" in lines[1] and "(it is 9)" in lines[1]


def test_unknown_presets_and_models_are_errors(tmp_path, capsys):
    assert main(["rehearse", "tinny"]) == 2
    assert main(["rehearse", "qwen", "parts.language=some/model"]) == 1
    assert "some/model is neither a folder with config.json nor one of" in capsys.readouterr().out


def test_the_paper_starts_from_the_layout_of_stage_2(tmp_path):
    config = read_config("paper")
    folder = write_parts(config, tmp_path, ["when does the red disc spin?"])["parts.start"]
    index = json.loads((tmp_path / "stage-2" / "model.safetensors.index.json").read_text())
    names = set(index["weight_map"])
    assert len(set(index["weight_map"].values())) > 1
    assert not any(name.startswith(("frm_head", "evi_head", "vid_head")) for name in names)
    assert {"lm_head.weight", "model.qformer_query", "model.vision_tower.vision_tower.blocks.0.attn.q_bias",
            "model.qformer_bert.bert.embeddings.position_ids"} <= names
    with safe_open(tmp_path / "stage-2" / index["weight_map"]["lm_head.weight"], "pt") as file:
        assert file.get_tensor("lm_head.weight").dtype == torch.bfloat16
    settings = json.loads((tmp_path / "stage-2" / "config.json").read_text())
    assert not {"use_evidence", "evidence_token_id", "arch_module"} & set(settings)
    assert "<evi>" not in (tmp_path / "stage-2" / "tokenizer.json").read_text()
    model = start(override(config, {"parts.start": folder}))
    assert len(model.added) == 4 and model.language.config.model_type == "phi3"


@pytest.mark.parametrize("form", TRAINING)
def test_annotations_are_written_in_the_format_that_a_preset_reads(tmp_path, form):
    tasks = {"evaluation.tasks": ["tal"]} if form == "qvhighlights" else {}
    config = override(read_config("paper"), {"data.format": form, **tasks})
    world, settings = write_data(config.data, tmp_path)
    train, val = splits(override(config, settings))
    assert len(train.samples) > 3 and len(val.samples) > 0
    assert all((train.videos / sample.video).exists() for sample in train.samples)
    assert train.bad == val.bad == ()
    asked = {(sample.video, sample.events) for sample in world.samples("train")}
    assert {(sample.video, sample.events) for sample in train.samples} <= asked


def test_a_precision_that_changes_the_loss_is_an_error(rehearsed, monkeypatch):
    folder, _ = rehearsed
    monkeypatch.chdir(folder)
    config = override(read_config("tiny"), {"adapter.rank": 4, "data.world": str(folder / "world")})
    assert "tokens a second" in compare_precisions(folder / "run" / "model", config)
    monkeypatch.setattr("d2vlm_lab.lab.rehearsal.computing.SAME_LOSS", 1e-9)
    with pytest.raises(LabError, match="in float32 and .* in bfloat16"):
        compare_precisions(folder / "run" / "model", config)


@pytest.mark.parametrize("named, used", [("there", "there"), ("missing", "rehearsal/world")])
def test_a_world_that_is_named_is_used_where_it_is_there_and_else_left_to_the_real_run(named, used, tmp_path):
    make_world(tmp_path / "there", from_dict(WorldConfig, {"videos": 10}), workers=1)
    config = override(read_config("tiny"), {"data.world": str(tmp_path / named)})
    small = command.miniature(config, tmp_path / "rehearsal", {"data.world"}, full=False)
    train, _ = splits(small.config)
    assert train.videos == tmp_path / used / "videos" and len(train.samples) > 0
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("named, used", [(("train", "videos"), "mine"), (("videos",), "rehearsal")])
def test_annotations_go_with_their_own_videos(named, used, tmp_path):
    _, files = write_data(read_config("paper").data, tmp_path / "mine")
    config = override(read_config("paper"), files | {"data.val": ""})
    small = command.miniature(config, tmp_path / "rehearsal", {f"data.{name}" for name in named}, full=False)
    train, val = splits(small.config)
    assert train.videos == tmp_path / used / "world" / "videos" and bool(val.samples) == (used == "rehearsal")


def test_files_may_be_named_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(read_config("paper").data, tmp_path / "mine")
    changes = ["data.train=mine/train.json", "data.val=mine/val.json", "data.videos=mine/world/videos"]
    prepared, looked = command.rehearse("tiny", changes, report=lambda done: None, only=("dry run",))
    assert prepared.ok and looked.ok, (prepared, looked)
