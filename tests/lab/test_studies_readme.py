"""experiments/README.md is true: its study is one that can be planned, and it explains every key."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from d2vlm_lab.lab.study import form
from d2vlm_lab.lab.study import study as files

README = (Path(__file__).parents[2] / "experiments" / "README.md").read_text(encoding="utf-8")


def test_the_study_written_from_scratch_has_twelve_lines_and_is_valid(tmp_path):
    text = re.search(r"```yaml\n(name: .*?)```", README, re.DOTALL)[1]
    assert len(text.splitlines()) == 12
    path = tmp_path / "rank.yaml"
    path.write_text(text)
    study, _ = files.read_study(str(path))
    assert [(point.variant, point.seed) for point in files.points_of(study, "")] == [
        (variant, seed) for seed in (0, 1, 2) for variant in ("rank-4", "rank-16")]


@pytest.mark.parametrize("part", [form.Study, form.Shared, form.World, form.Profile, form.Reported],
                         ids=lambda part: part.__name__)
def test_every_key_is_explained(part):
    assert [field.name for field in fields(part) if f"`{field.name}`" not in README] == []
