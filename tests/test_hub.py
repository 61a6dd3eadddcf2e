"""A hub id is as good as a folder, whatever happens on the way: the real client against a hub on the loopback."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import hub_server
import pytest
import torch
from huggingface_hub import constants
from small import tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT, RunConfig
from d2vlm_lab.errors import LabError
from d2vlm_lab.hub import download, fetched, is_hub_id
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, save


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_server.running() as hub:
        hub_server.use(hub, tmp_path / "cache", monkeypatch)
        yield hub


CONTENT = bytes(range(256)) * 4096


def refused(*arguments, **settings):
    with pytest.raises(LabError) as error:
        fetched(*arguments, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_repository_is_fetched_once_and_only_its_safe_files_are(hub):
    hub.add("org/model", {"model.safetensors": CONTENT, "config.json": b"{}", "language/config.json": b"{}",
                          "pytorch_model.bin": b"pickle", "run.py": b"import os", "onnx/model.safetensors": b"x",
                          "README.md": b"---\nlicense: mit\n---\n"})
    folder = fetched("org/model")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "README.md", "config.json", "language/config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    asked = len(hub.requests)
    assert fetched("org/model") == folder and len(hub.requests) == asked
    download.cache_clear()  # as in another process
    assert fetched("org/model") == folder and hub.downloads("model.safetensors") == [""] and len(hub.requests) > asked


def test_revisions_are_told_apart(hub):
    old = hub.add("org/model", {"config.json": b"1"}, "v1.0").names["v1.0"]
    hub.add("org/model", {"config.json": b"2"})
    read = [(fetched(*each) / "config.json").read_bytes() for each in (
        ("org/model",), ("org/model@v1.0",), ("org/model", "v1.0"), (f"org/model@{old}",))]
    assert read == [b"2", b"1", b"1", b"1"]
    assert refused("org/model@v3") == f"org/model: no revision 'v3' at {hub.url}/org/model"


def test_what_is_missing_private_gated_or_out_of_reach_is_one_line(hub, monkeypatch):
    hub.add("org/private", {"config.json": b"1"}, private=True)
    hub.add("org/gated", {"config.json": b"1"}, gated=True)
    for name in ("org/nothing", "org/private"):
        assert refused(name) == (f"{name}: no such folder here, and no such model at {hub.url}, or a private one (then "
                                 "`hf auth login` first)")
    assert f"accept it at {hub.url}/org/gated" in refused("org/gated")
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    assert (fetched("org/private") / "config.json").exists() and (fetched("org/gated") / "config.json").exists()


def test_without_a_network_what_was_fetched_is_there_and_all_else_is_named(hub, monkeypatch):
    hub.add("org/model", {"config.json": b"1"})
    hub.add("org/other", {"config.json": b"1"})
    folder = fetched("org/model")
    download.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetched("org/model") == folder
    assert refused("org/other") == ("org/other: no such folder here, it was not fetched before, and HF_HUB_OFFLINE is "
                                    "set")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    download.cache_clear()
    assert fetched("org/model") == folder
    assert "it was not fetched before, and http://127.0.0.1:9 cannot be reached" in refused("org/other")


def test_a_connection_that_breaks_off_goes_on_where_it_was(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)  # the client keeps whole pieces; its own have 10 MB
    hub.add("org/model", {"model.safetensors": CONTENT, "config.json": b"{}"})
    hub.breaks["model.safetensors"] = [300_000]
    assert (fetched("org/model") / "model.safetensors").read_bytes() == CONTENT
    first, second = hub.downloads("model.safetensors")
    assert first == "" and second == f"bytes={300_000 // 2**16 * 2**16}-"


def test_after_a_kill_whole_files_are_kept_and_the_rest_is_fetched(hub, tmp_path):
    hub.add("org/model", {"a.safetensors": CONTENT, "b.safetensors": CONTENT[::-1]})
    hub.waits["b.safetensors"] = threading.Event()
    environment = os.environ | hub_server.environment(hub, tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
    code = "import sys; from d2vlm_lab.hub import fetched; print(fetched('org/model'))"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    blobs = tmp_path / "home" / "hub" / "models--org--model" / "blobs"
    while not (hub.downloads("b.safetensors") and any("." not in path.name for path in blobs.glob("*"))):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.waits.pop("b.safetensors").set()
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (Path(ran.stdout.strip()) / "b.safetensors").read_bytes() == CONTENT[::-1]
    assert len(hub.downloads("a.safetensors")) == 1 and len(hub.downloads("b.safetensors")) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_another_checksum_is_refused_and_not_kept(hub, name):
    hub.add("org/model", {"model.safetensors": CONTENT, "config.json": b"{}"})
    hub.damaged.add(name)
    assert refused("org/model").startswith(f"{name}: not the file that the hub has, by its hash")
    hub.damaged.clear()
    assert (fetched("org/model") / "model.safetensors").read_bytes() == CONTENT


def test_a_folder_goes_before_a_hub_id_and_a_path_is_none(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "model").mkdir(parents=True)
    assert fetched("runs/model").samefile(tmp_path / "runs" / "model")
    assert not is_hub_id("runs/modle") and not is_hub_id("data/tiny") and not is_hub_id("a/b/c") and not hub.requests
    assert is_hub_id("org/model") and is_hub_id("org/model@refs/pr/1")


def test_a_branch_that_moves_changes_nothing_in_a_process_and_is_noticed_by_the_next(hub, tmp_path):
    hub.add_folder("org/base", save(tiny_model(), tmp_path / "base"))
    model = prepare(load("org/base"), RunConfig())
    other = tiny_model()
    other.frame_head[1].weight.data += 1
    hub.add_folder("org/base", save(other, tmp_path / "other"))
    folder = save(model, tmp_path / "trained", base="org/base")
    load(folder)
    download.cache_clear()
    with pytest.raises(LabError, match="base: .* is not the base that this checkpoint was trained from"):
        load(folder)


def test_a_checkpoint_loads_by_its_hub_id_as_from_its_folder(hub, tmp_path):
    folder = save(tiny_model(), tmp_path / "model")
    hub.add_folder("org/tiny", folder, "v1")
    again = load("org/tiny@v1").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in load(folder).state_dict().items())


def test_a_command_says_in_one_line_what_is_missing(hub, capsys):
    assert main(["evaluate", "org/nothing", "world", "--data", "data"]) == 2
    assert capsys.readouterr().err == (f"d2vlm-lab evaluate: org/nothing: no such folder here, and no such model at "
                                       f"{hub.url}, or a private one (then `hf auth login` first)\n")
