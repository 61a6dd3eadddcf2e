"""What `pip install` of a wheel brings: the library, its presets and what they start from, far from any checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PREDICTIONS = [{"version": 1.0, "idx": 0, "task": "tvg", "source": "own", "video": "a.mp4", "duration": 9.0, "src": [],
                "tgt": [1.0, 3.0], "q": "when?", "a": "It happens in 1.0 - 3.0."}]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that runs a command of the wheel in an empty folder."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "there", wheel], check=True)
    (folder / "away").mkdir()

    def run(*words):
        return subprocess.run([sys.executable, "-m", "d2vlm_lab.cli", *words], cwd=folder / "away", text=True,
                              capture_output=True, env=os.environ | {"PYTHONPATH": str(folder / "there")})

    run.away = folder / "away"
    return run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_trains_explains_scores_and_asks_far_from_any_checkout(installed):
    assert "Changed by presets" in installed("settings", "training.steps").stdout
    assert "checkpoint" in installed("app", "--help").stdout
    world = installed("make-world", "--out", "data/world-small", "--videos", "10")
    assert world.returncode == 0, world.stderr
    dry = installed("train", "tiny", "--dry-run")
    assert dry.returncode == 0 and "parameters trained" in dry.stdout, dry.stderr
    (installed.away / "answers.json").write_text(json.dumps(PREDICTIONS))
    score = installed("score", "etbench", "answers.json")
    assert score.returncode == 0 and "100.0" in score.stdout, score.stderr
    trained = installed("train", "tiny", "training.steps=2", "training.videos=2", "evaluation.samples=2", "--out=run")
    assert trained.returncode == 0 and (installed.away / "run" / "model" / "d2vlm.json").is_file(), trained.stderr
    assert {path.name for path in installed.away.iterdir()} == {"answers.json", "data", "run"}


@pytest.mark.slow
def test_what_a_wheel_does_not_bring_is_named(installed):
    for words in (["ablate", "evidence"], ["classroom", "student", "mine"], ["handouts", "mine"], ["bench", "speed"]):
        ended = installed(*words)
        assert ended.returncode == 2 and "comes with a checkout of the project" in ended.stderr, ended.stderr
    assert "no preset 'tini'" in installed("train", "tini").stderr
    assert not (installed.away / "mine").exists()
