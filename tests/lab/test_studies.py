"""Every study says what it asks, can be planned, and varies what it says it varies."""

import json
from pathlib import Path

import pytest

from d2vlm_lab.lab.report import label
from d2vlm_lab.lab.study.shared import missing_worlds
from d2vlm_lab.lab.study.study import make_shared, points_of, read_study, seeds_of, variants_of
from d2vlm_lab.settings import flatten

ROOT = Path(__file__).parents[2]
# The study of the eye needs files that are made first; tests/test_natural.py makes and runs it.
STUDIES = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml") if path.stem != "eye")
TWELVE = {"objective", "evidence", "preference", "losses", "saliency", "noise", "length", "budget", "overlap", "domain",
          "formulation", "lora"}


def test_there_are_the_twelve_studies():
    assert set(STUDIES) >= TWELVE


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_can_be_planned_in_every_profile(name):
    study, path = read_study(name)
    assert study.name == path.stem and study.question.endswith("?")
    assert {"quick", "full"} <= set(study.profiles)
    for profile in study.profiles:
        points = points_of(study, profile)
        assert len({json.dumps([flatten(p.config), p.extras], sort_keys=True) for p in points}) == len(points)
        missing_worlds(study, points)  # settings of a world are read even where it is still to be made
    assert len(seeds_of(study, "full")) >= 3 and seeds_of(study, "quick") == (0,)
    assert variants_of(study, "full") == list(study.variants)


@pytest.mark.parametrize("name", STUDIES)
def test_what_a_study_says_of_a_variant_reaches_its_run(name):
    study, _ = read_study(name)
    points = {p.variant: p for p in points_of(study, "full", (0,))}
    for variant, changes in study.variants.items():
        expected = {key: value for key, value in {**study.base, **changes}.items() if not key.startswith("notebook.")}
        config = flatten(points[variant].config)
        assert all(config[key] == value or (value is False and config[key] == "off") for key, value in expected.items())


@pytest.mark.parametrize("name", STUDIES)
def test_every_metric_of_a_study_has_a_label_with_its_unit(name):
    study, _ = read_study(name)
    assert not [metric for metric in study.metrics if label(metric) == metric]


def test_the_two_studies_of_the_quick_start_share_their_supervised_checkpoint():
    objective, evidence = (make_shared(read_study(name)[0], "quick", "sft", 0).config for name in
                           ("objective", "evidence"))
    assert objective == evidence
