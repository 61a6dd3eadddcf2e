"""The command line: a table of commands, help for each, one-line errors."""

import json
import re
import subprocess
import sys
import tomllib

import pytest

from d2vlm_lab import __version__
from d2vlm_lab.cli import COMMANDS, main
from d2vlm_lab.config import ROOT


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    _, purpose = COMMANDS[name]
    told = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and purpose[1:30] in told
    assert "(default: None)" not in told and not re.search(r"\(default: [^)]*\) \(default:", told)


def test_a_benchmark_that_writes_nothing_refuses_a_place_for_it(capsys):
    assert main(["bench", "training", "--out", "somewhere"]) == 2
    assert "bench training writes no results" in capsys.readouterr().err


# What takes longest to import, in the order of the time that it takes.
HEAVY = ("transformers", "torch", "peft", "scipy.stats", "matplotlib", "pandas", "scipy.optimize", "seaborn", "IPython",
         "distributed", "tensorboard")
FIGURES = ("matplotlib",)


@pytest.mark.parametrize("words, allowed", [
    ("--help", ()), ("settings training.steps", ()), ("metrics spread", ()), ("report --help", ()),
    ("data etbench", ()), ("data etbench .", ()), ("score etbench --help", ()), ("show --help", ()),
    ("score mvbench {folder} --protocol clean", ()), ("make-world --help", ()), ("demo --help", FIGURES),
    ("gallery --help", FIGURES), ("ablate objective --dry-run --out {folder}", ())])
def test_a_command_imports_only_what_it_needs(words, allowed, tmp_path):
    """How long that takes depends on the machine; which modules are there afterwards does not."""
    script = ("import contextlib, json, sys\nfrom d2vlm_lab.cli import main\n"
              "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n    main(sys.argv[1:])\n"
              "print(json.dumps(list(sys.modules)))")
    assert loaded(script, *words.format(folder=tmp_path).split()) & {*HEAVY} == {*allowed}


@pytest.mark.parametrize("use", ["import d2vlm_lab.lab.run", "from d2vlm_lab import lab; lab.load"])
def test_where_a_model_is_needed_no_page_and_no_figure_is(use):
    there = loaded(f"{use}\nimport json, sys\nprint(json.dumps(list(sys.modules)))")
    by_others = {"pandas"} if "datasets" in there else set()  # transformers imports both where trl brought them
    assert "torch" in there and not there & {"matplotlib", "pandas", "seaborn", "IPython", "scipy.stats",
                                             "distributed"} - by_others


def loaded(script: str, *words: str) -> set[str]:
    """The modules that a new process has imported at its end; the script prints their names."""
    return {*printed(script, *words)}


def printed(script: str, *words: str):
    process = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


def test_an_unknown_command_and_a_mistake_end_with_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["parity"])
    assert stop.value.code == 2 and "invalid choice: 'parity'" in capsys.readouterr().err
    assert main(["train", "tinny"]) == 2
    assert capsys.readouterr().err == "d2vlm-lab train: no preset 'tinny'; did you mean 'tiny'?\n"


def test_an_empty_argument_is_named(capsys):
    assert main(["score", "etbench", "p.json", "--against", ""]) == 2
    assert "score: argument 4 is empty; is a variable of the shell without a value?" in capsys.readouterr().err


def test_the_command_line_knows_its_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"d2vlm-lab {__version__}\n"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_what_nobody_expected_is_one_line_with_a_file_that_has_the_traceback(tmp_path, monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("tensors of\nsizes 3 and 4")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("d2vlm_lab.lab.commands.metrics.run", broken)
    assert main(["metrics"]) == 3
    file, error = *(tmp_path / "d2vlm_lab").iterdir(), capsys.readouterr().err
    what = "unexpected: RuntimeError: tensors of sizes 3 and 4"
    assert error == f"d2vlm-lab metrics: {what} (a bug; details in {file})\n"
    assert "Traceback" in file.read_text() and "in broken" in file.read_text()


def test_the_file_with_the_traceback_goes_elsewhere_where_there_is_no_cache(tmp_path, monkeypatch, capsys):
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("d2vlm_lab.lab.commands.metrics.run", lambda _: 1 / 0)
    assert main(["metrics"]) == 3
    assert str(next(tmp_path.glob("unexpected-metrics-*.txt"))) in capsys.readouterr().err


def test_a_path_that_the_machine_refuses_and_a_name_with_odd_letters_are_one_line(tmp_path, monkeypatch, capsys):
    def open_a_folder(_):
        tmp_path.read_bytes()

    monkeypatch.setattr("d2vlm_lab.lab.commands.metrics.run", open_a_folder)
    assert main(["metrics"]) == 2
    assert capsys.readouterr().err == f"d2vlm-lab metrics: {tmp_path}: Is a directory\n"
    assert main(["train", "a\n\x1b[31mb.yaml"]) == 2
    assert capsys.readouterr().err == "d2vlm-lab train: a\\n\\x1b[31mb.yaml: no such file\n"
