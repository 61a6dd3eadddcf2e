"""Nothing that a file or a text says is run as code, and nothing listens for other machines."""

import ast
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("d2vlm_lab", "experiments", "notebooks") for path in (ROOT / folder).rglob("*.py")]
CODE_FROM_FILES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
SHELL = {("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")}
UNSAFE_YAML = {"load", "load_all", "unsafe_load", "full_load", "UnsafeLoader", "FullLoader", "Loader"}


def calls(path):
    """Every call in a file: the module or value that a name belongs to, the name, and the call."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func
            if isinstance(name, ast.Attribute):
                yield getattr(name.value, "id", "?"), name.attr, node
            elif isinstance(name, ast.Name):
                yield "", name.id, node


def keyword(call, name):
    """The value of a keyword as Python text; None where it is not given."""
    return next((ast.unparse(word.value) for word in call.keywords if word.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_read_as_code_and_no_text_is_run(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names} | {(node.module or "").split(".")[0] for node in ast.walk(tree)
                                            if isinstance(node, ast.ImportFrom) and not node.level}
    assert not imported & CODE_FROM_FILES
    for owner, name, call in calls(path):
        assert owner or name not in RUNS_TEXT, ast.unparse(call)
        assert (owner, name) not in SHELL, ast.unparse(call)
        assert keyword(call, "shell") in (None, "False"), ast.unparse(call)
        assert keyword(call, "allow_pickle") in (None, "False"), ast.unparse(call)
        assert keyword(call, "trust_remote_code") in (None, "False"), "nobody asked for it by name"
        assert owner != "yaml" or name not in UNSAFE_YAML, ast.unparse(call)
        if (owner, name) == ("torch", "load"):
            assert keyword(call, "weights_only") == "True", ast.unparse(call)
        if owner == "subprocess" and name in ("run", "Popen", "check_output", "check_call", "call"):
            assert not isinstance(call.args[0], (ast.Constant, ast.JoinedStr)), "words, not a line for a shell"


def test_every_address_that_the_library_binds_is_that_of_this_machine():
    for path in SOURCES:
        for _, called, call in calls(path):
            for name in ("host", "ip", "dashboard_address", "scheduler_host"):
                assert (keyword(call, name) or "127.0.0.1").startswith(("127.0.0.1", "'127.0.0.1")), ast.unparse(call)
            if (called.endswith("Server") or called == "bind") and call.args and isinstance(call.args[0], ast.Tuple):
                assert ast.unparse(call.args[0].elts[0]) == "'127.0.0.1'", ast.unparse(call)


def test_make_lab_says_that_it_listens_to_this_machine_alone():
    words = lab_command()
    assert "--ServerApp.ip=127.0.0.1" in words and "--ServerApp.allow_remote_access=False" in words
    assert not [word for word in words if re.search("token|password", word)], "the token is Jupyter's own"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_make_lab_listens_on_this_machine_alone_and_asks_for_a_token(tmp_path):
    places = {name: str(tmp_path) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "HOME")}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen([*lab_command(), "--no-browser", "--allow-root"], cwd=ROOT, stdout=log, stderr=log,
                                  env=os.environ | places)
    try:
        while not (found := list(tmp_path.glob("jpserver-*.json"))):
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        about = json.loads(found[0].read_text())
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{about['url']}api/contents")
        refusal.value.close()
        assert refusal.value.code == 403 and len(about["token"]) >= 40
        with urllib.request.urlopen(f"{about['url']}api/contents?token={about['token']}") as answer:
            assert answer.status == 200
        bound = {link.laddr.ip for link in psutil.Process(server.pid).net_connections()
                 if link.status == psutil.CONN_LISTEN}
        assert bound == {"127.0.0.1"}
    finally:
        server.terminate()
        server.wait()


def lab_command() -> list[str]:
    """The words of `make lab`, without running them."""
    told = subprocess.run(["make", "-n", "-o", ".venv/.ready", "lab"], cwd=ROOT, capture_output=True, text=True)
    return next(line for line in told.stdout.splitlines() if "jupyter lab" in line).split()
