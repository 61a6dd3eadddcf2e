"""A checkpoint for others: saved with all that it needs and a card, merged, and pushed to a hub on the loopback."""

import json
import shutil

import hub_server
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from small import tiny_model
from transformers import AutoModelForCausalLM

from d2vlm_lab import D2VLM
from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT, RunConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab import ask
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.card import note_recipe
from d2vlm_lab.model.checkpoint import checkpoint_id, load, save
from d2vlm_lab.settings import override

pytestmark = [pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # PEFT
              pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]  # the client of the hub
CONFIG = {"adapter.rank": 4, "data.fps": 4.0, "training.steps": 30, "data.world": "/home/someone/world"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_server.running() as hub:
        hub_server.use(hub, tmp_path / "cache", monkeypatch, hub_server.TOKEN)
        yield hub


@pytest.fixture
def trained(tmp_path):
    """A checkpoint beside a base in a folder of this machine, as a run leaves it."""
    base = save(tiny_model(), tmp_path / "base")
    config = override(RunConfig(), CONFIG | {"parts.start": str(base)})
    model = prepare(load(base), config)
    generator = torch.Generator().manual_seed(2)
    for value in model.parameters():
        if value.requires_grad:
            value.data += 0.1 * torch.randn(value.shape, generator=generator)
    model.can_ground = True
    folder = save(model, tmp_path / "run" / "model", base=str(base))
    note_recipe(folder, config, {"f1@0.5": 0.75})
    return folder


def logits(language):
    with torch.no_grad():
        return language.eval()(input_ids=torch.arange(20)[None]).logits


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def score_file(path, checkpoint, benchmark="etbench", **more):
    page = {"card": {"benchmark": benchmark, "checkpoint": checkpoint, "annotations": "a.json", "library": "0.2.0",
                     "annotations_sha256": "12", "prompt_sha256": "34", "decoding": {"temperature": 0}},
            "protocol": "clean", "finished": "2026-01-01T00:00:00Z",
            "scores": {"collected": {"tvg": {"F1": 0.5}}, "merged": {"tvg F1": 0.5}}, **more}
    path.write_text(json.dumps(page))
    return str(path)


def test_a_saved_checkpoint_needs_nothing_of_this_machine(trained, tmp_path):
    model = D2VLM.from_pretrained(trained)
    folder = model.save_pretrained(tmp_path / "shared")
    identity = checkpoint_id(folder)
    shutil.rmtree(tmp_path / "base")
    assert same(load(folder), model) and ask.load(folder).fps == 4.0
    text = "".join(path.read_text() for path in folder.rglob("*") if path.suffix in (".json", ".md"))
    assert str(tmp_path) not in text and "/home/someone" not in text
    again = D2VLM.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert checkpoint_id(again) == identity
    assert (again / "recipe.json").read_bytes() == (folder / "recipe.json").read_bytes()


def test_the_card_says_base_data_recipe_scores_limits_and_licence(trained, tmp_path, capsys):
    scores = score_file(tmp_path / "score.json", checkpoint_id(trained))
    assert main(["export", str(trained), str(tmp_path / "shared"), "--scores", scores]) == 0
    assert "adapter_model.safetensors" in capsys.readouterr().out
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert card.data.license == "other" and card.data.library_name == "peft"
    result = card.data.eval_results[0]
    assert (result.dataset_name, result.metric_value, result.metric_name) == ("etbench", 0.5, "tvg F1 (clean)")
    for words in ("starts from `base`", "the base: not recorded", "synthetic world", "| `training.steps` | `30` |",
                  "| `processes` | `1` |",
                  "| f1@0.5 | 0.75 |", "etbench, protocol `clean`", "greedy, checkpoint", "4 frames a second",
                  'folder = "shared"\nbase = AutoModelForCausalLM.from_pretrained(f"{folder}/language")'):
        assert words in card.text, words


@pytest.mark.parametrize("more, name", [({"own_questions": "et"}, "own questions (et)"), ({}, "world")])
def test_scores_on_own_questions_are_named_by_their_folder_and_are_no_result_on_a_public_data_set(trained, tmp_path,
                                                                                                  more, name):
    scores = score_file(tmp_path / "score.json", checkpoint_id(trained), "world", **more)
    assert main(["export", str(trained), str(tmp_path / "shared"), "--scores", scores]) == 0
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert f"{name}, protocol `clean`:" in card.text and f"{name} a.json 12" in card.text and "tvg F1" in card.text
    assert not card.data.eval_results


def test_the_card_in_the_folder_of_a_run_names_no_folder_of_this_machine(trained, tmp_path):
    shared = D2VLM.from_pretrained(trained).save_pretrained(tmp_path / "shared")  # it has a folder "language"
    further = save(prepare(load(shared), override(RunConfig(), CONFIG)), tmp_path / "further", base=str(shared))
    note_recipe(further, override(RunConfig(), CONFIG | {"parts.start": str(trained)}), {})
    card = (further / "README.md").read_text()
    assert 'base = AutoModelForCausalLM.from_pretrained("shared/language")' in card and str(tmp_path) not in card
    assert json.loads((further / "recipe.json").read_text())["config"]["parts"]["start"] == "run/model"


def test_scores_of_another_checkpoint_are_refused_and_nothing_is_written(trained, tmp_path, capsys):
    file = score_file(tmp_path / "score.json", "0123456789ab")
    assert main(["export", str(trained), str(tmp_path / "shared"), "--scores", file]) == 2
    assert "the scores of the checkpoint 0123456789ab, but this one is" in capsys.readouterr().err
    assert not (tmp_path / "shared").exists()
    assert main(["export", str(trained)]) == 2 and main(["export", str(trained), str(tmp_path)]) == 2


def test_a_base_of_ours_has_our_licence_and_a_base_on_the_hub_its_own(trained, tmp_path, hub):
    shared = D2VLM.from_pretrained(ROOT / "data" / "tiny-sft").save_pretrained(tmp_path / "tiny")
    assert ModelCard.load(shared / "README.md").data.license == "mit"
    head = "---\nlicense: apache-2.0\n---\n"
    hub.add("org/base", {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
                        | {"README.md": head.encode()})
    model = prepare(load("org/base@main"), override(RunConfig(), CONFIG))
    folder = save(model, tmp_path / "beside", base="org/base@main")
    shared = D2VLM.from_pretrained(folder).save_pretrained(tmp_path / "also")
    data = ModelCard.load(shared / "README.md").data
    assert data.license == "apache-2.0" and data.base_model == ["org/base"]
    assert json.loads((shared / "d2vlm.json").read_text())["base"] == "org/base@main"
    adapter = json.loads((shared / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("org/base", "main")
    assert not (shared / "language").exists() and same(load(shared), model)


def test_merged_it_is_a_plain_language_model_with_heads_beside_it(trained, tmp_path):
    assert main(["export", str(trained), str(tmp_path / "merged"), "--merge"]) == 0
    expected = logits(load(trained).language)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), expected,
                               atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(load(tmp_path / "merged").language), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(load(tmp_path / "merged").frame_head[1].weight, load(trained).frame_head[1].weight)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_a_model_that_was_trained_since_does_not_carry_the_old_scores(trained, tmp_path):
    model = prepare(D2VLM.from_pretrained(trained), override(RunConfig(), CONFIG | {"adapter.dropout": 0.05}))
    folder = model.save_pretrained(tmp_path / "further")
    assert not (folder / "recipe.json").exists() and "None are recorded" in (folder / "README.md").read_text()


def test_pushed_and_fetched_it_is_the_same_and_peft_loads_it(trained, hub):
    model = D2VLM.from_pretrained(trained)
    address = model.push_to_hub("tester/model", private=True)
    assert address == f"{hub.url}/tester/model/commit/{hub.repositories['models', 'tester/model'].names['main']}"
    again = D2VLM.from_pretrained("tester/model")
    assert same(again, model) and hub.repositories["models", "tester/model"].private
    folder = again.loaded_from
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "language"), folder)
    assert torch.equal(logits(peft), logits(model.language))
    assert yaml.safe_load((folder / "README.md").read_text().split("---")[1])["model_name"] == "tester/model"
    assert 'folder = snapshot_download("tester/model")' in (folder / "README.md").read_text()


def test_another_push_leaves_nothing_of_the_one_before(trained, hub, capsys):
    D2VLM.from_pretrained(trained).push_to_hub("tester/model")
    assert main(["export", str(trained), "--merge", "--push", "tester/model"]) == 0
    files = hub.files("tester/model")
    assert "model.safetensors" in files and not {"adapter_config.json", "language/model.safetensors"} & set(files)
    load("tester/model")
    assert not hub.repositories["models", "tester/model"].private
    assert main(["export", str(trained), "--push", "tester/secret", "--private"]) == 0
    assert hub.repositories["models", "tester/secret"].private
    assert main(["export", str(trained), "--push", "tester/model", "--revision", "lora"]) == 0
    assert "adapter_config.json" in hub.files("tester/model", "lora") and hub.files("tester/model") == files
    assert "adapter_config.json" in {path.name for path in load("tester/model@lora").loaded_from.iterdir()}


def test_a_push_that_fails_is_one_line(trained, hub, monkeypatch):
    model = D2VLM.from_pretrained(trained)
    for name in ("model", "a/b/c", "a/b@v1"):
        with pytest.raises(LabError, match="it is written as owner/name"):
            model.push_to_hub(name)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(LabError, match=r"tester/model: could not be pushed .*the server says 401.*hf auth login"):
        model.push_to_hub("tester/model")
    assert not hub.repositories
