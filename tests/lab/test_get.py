"""`get`: fetched from a hub on the loopback, checked, put where the other commands look, and what is left is named."""

import hashlib
import json

import hub_server
import pytest
from small import tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.hub import download
from d2vlm_lab.judging.benchmarks import BENCHMARKS, DATA_SETS, TRAINING_SETS, find
from d2vlm_lab.model.checkpoint import load, save

ON_HUB = [name for name, layout in DATA_SETS.items() if layout.hub]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_server.running() as hub:
        hub_server.use(hub, tmp_path / "cache", monkeypatch)
        yield hub


def published(hub, name):
    """The repository of a data set, as its page says that it is laid out."""
    source = DATA_SETS[name].hub
    inside = f"{source.inside}/" if source.inside else ""
    files = {f"{inside}{file}": json.dumps([file]).encode() for file in source.files}
    hub.add(source.repository, files | {"videos/one.tar.gz": b"large"}, kind="datasets")
    return source


@pytest.mark.parametrize("name", ON_HUB)
def test_annotations_land_where_the_other_commands_look(hub, name, tmp_path, capsys):
    source = published(hub, name)
    folder = tmp_path / "data"
    (folder / DATA_SETS[name].videos[0]).mkdir(parents=True)
    assert main(["get", name, str(folder)]) == 0
    assert find(name, folder)[0].name in {file.split("/")[-1] for file in source.files}
    out = capsys.readouterr().out
    for file in source.files:
        content = json.dumps([file]).encode()
        assert (folder / file).read_bytes() == content
        assert f"{folder / file}  0.0 MB  sha256 {hashlib.sha256(content).hexdigest()[:16]}" in out
    assert source.licence in out and "fetched by hand" in out and DATA_SETS[name].steps[-1] in out
    assert not hub.downloads("one.tar.gz")


def test_the_same_again_changes_nothing_and_another_file_is_not_replaced(hub, tmp_path, capsys):
    published(hub, "timelens-charades")
    assert main(["get", "timelens-charades", str(tmp_path)]) == 0
    assert main(["get", "timelens-charades", str(tmp_path)]) == 0
    (tmp_path / "charades-timelens.json").write_text("mine")
    assert main(["get", "timelens-charades", str(tmp_path)]) == 2
    assert "another file than the hub has; move it away" in capsys.readouterr().err
    assert (tmp_path / "charades-timelens.json").read_text() == "mine"
    assert len(hub.downloads("charades-timelens.json")) == 1


def test_what_goes_wrong_is_one_line_and_leaves_nothing(hub, tmp_path, capsys):
    def refused(*words):
        assert main(["get", *words, str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("d2vlm-lab get: ") == 1 and not (tmp_path / "out").exists(), error
        return error.splitlines()[-1]

    assert f"PolyU-ChenLab/ETBench: no such dataset at {hub.url}, or a private one" in refused("etbench")
    hub.add("PolyU-ChenLab/ETBench", {"README.md": b""}, kind="datasets")
    assert "has no annotations/etbench_txt_v1.0.json" in refused("etbench")
    assert "no revision 'v9'" in refused("etbench", "--revision", "v9")
    published(hub, "et_instruct")
    hub.damaged.add("et_instruct_164k_txt.json")
    assert "not the file that the hub has, by its hash" in refused("et_instruct")
    assert "neither a data set nor OWNER/NAME; did you mean 'etbench'" in refused("etbensh")
    assert "leave the folder out" in refused("org/model")


def test_what_the_hub_has_not_is_said_with_its_page(capsys):
    assert main(["get", "qvhighlights"]) == 0
    assert "https://github.com/jayleicn/moment_detr" in capsys.readouterr().out
    assert main(["get"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (BENCHMARKS | TRAINING_SETS) if name != "world") and "cc-by-nc-sa-4.0" in out


def test_a_checkpoint_is_fetched_once_for_all_commands(hub, tmp_path, capsys, monkeypatch):
    hub.add_folder("org/tiny", save(tiny_model(), tmp_path / "model"))
    assert main(["get", "org/tiny"]) == 0
    assert "also without a network" in capsys.readouterr().out
    download.cache_clear()
    monkeypatch.setattr(hub_server.huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    load("org/tiny")
