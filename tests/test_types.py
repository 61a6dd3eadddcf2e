"""The floors that other projects build on say what they take and give, and a type checker agrees."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy, which `make test-all` installs")
def test_a_type_checker_finds_nothing_wrong_in_the_ideas_and_the_data(tmp_path):
    checked = subprocess.run([sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)], cwd=ROOT, text=True,
                             capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
