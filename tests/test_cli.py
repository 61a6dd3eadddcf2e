"""The command line: a table of commands, help for each, one-line errors."""

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
    assert stop.value.code == 0 and purpose[1:30] in " ".join(capsys.readouterr().out.split())


def test_a_command_is_imported_only_when_it_is_called():
    check = ("import contextlib, sys\nfrom d2vlm_lab.cli import main\n"
             "with contextlib.suppress(SystemExit):\n    main(sys.argv[1:])\n"
             "sys.exit('torch' in sys.modules)")
    for words in (["--help"], ["settings", "training.steps"], ["metrics", "spread"]):
        assert subprocess.run([sys.executable, "-c", check, *words], capture_output=True).returncode == 0, words


def test_an_unknown_command_and_a_mistake_end_with_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["parity"])
    assert stop.value.code == 2 and "invalid choice: 'parity'" in capsys.readouterr().err
    assert main(["train", "tinny"]) == 2
    assert capsys.readouterr().err == "d2vlm-lab train: no preset 'tinny'; did you mean 'tiny'?\n"


def test_the_command_line_knows_its_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"d2vlm-lab {__version__}\n"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
