"""A study under several conditions: every variant under each, compared within it; the map of ideas by conditions."""

import json
import re
from dataclasses import replace

import matplotlib
import pandas as pd
import pytest
from studies import plan_of, small_world, write_study

from d2vlm_lab.cli import main
from d2vlm_lab.lab.report.map import axis_of, clear, draw_map, has_map, map_conclusion, worth
from d2vlm_lab.lab.report.read import read_results
from d2vlm_lab.lab.report.tables import make_tables
from d2vlm_lab.lab.study.study import read_study
from d2vlm_lab.settings import ConfigError, to_dict

# A run's score follows from its settings: semantics are worth .4 after 10 steps, .1 after 20, and with 30 it depends.
CELL = """import json, pathlib
steps, off = settings['training.steps'], settings['method.semantics'] == 'off'
worth = {10: .4, 20: .1, 30: .3 * (-1) ** settings['seed']}[steps]
score = .5 - off * worth + .01 * settings['seed']
pathlib.Path(out, 'metrics.json').write_text(json.dumps({'f1': score}))"""
CONDITIONS = {"easy": {"training.steps": 10}, "hard-1": {"training.steps": 20}, "hard-2": {"training.steps": 30}}


def study_under(folder, **changes):
    return write_study(folder, CELL, **({"conditions": CONDITIONS, "seeds": [0, 1, 2],
                                         "ideas": {"semantics": ["full", "without"]}} | changes))


def test_every_variant_is_made_under_each_condition_and_compared_within_it(tmp_path):
    study, _ = read_study(str(study_under(
        tmp_path, shared={"sft": {"overrides": {"adapter.rank": 4}}},
        variants={"full": {}, "without": {"method.semantics": "off"}, "more": {"parts.start": "@sft"}},
        against={"more": "without"},
        profiles={"quick": {"conditions": ["easy"], "variants": ["full"], "shared": {"sft": {"adapter.alpha": 8}}}})))
    assert list(study.variants) == [f"{c}: {v}" for c in CONDITIONS for v in ("full", "without", "more")]
    assert study.reference == "easy: full"
    assert study.against["hard-1: more"] == "hard-1: without" and study.against["hard-2: without"] == "hard-2: full"
    assert study.variants["hard-2: more"] == {"training.steps": 30, "parts.start": "@sft-hard-2"}
    assert study.shared["sft-hard-1"].overrides == {"adapter.rank": 4, "training.steps": 20}
    quick = study.profiles["quick"]
    assert quick.variants == ("easy: full",) and quick.shared["sft-easy"] == {"adapter.alpha": 8}


@pytest.mark.parametrize("changes, message", [
    ({"ideas": {"semantics": ["full", "witout"]}}, "ideas.semantics: there is no 'witout'; did you mean 'without'"),
    ({"profiles": {"quick": {"conditions": ["eazy"]}}}, "profiles.quick.conditions: there is no 'eazy'; did you mean"),
    ({"conditions": {"a: b": {}}}, "no name has a colon and a blank"),
    ({"conditions": {"easy": {"training.step": 3}}}, "training.step: no such setting; did you mean"),
    ({"conditions": {"easy": {}, "alike": {}}}, "are the same run")])
def test_a_wrong_name_is_an_error_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_study(str(study_under(tmp_path, **changes)))


def test_an_axis_is_run_as_a_slice_and_the_rest_later(tmp_path, small_world_folder, monkeypatch, capsys):
    path = study_under(tmp_path, base={"data.world": str(small_world_folder)}, seeds=[0])
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", str(path), "--only", "hard*", "--dry-run"]) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if "seed 0" in line]
    assert [line[0] for line in lines] == ["later"] * 2 + ["to"] * 4
    assert main(["ablate", str(path), "--only", "hrad*", "--dry-run"]) == 2
    assert "--only hrad*: no such variant" in capsys.readouterr().err


@pytest.fixture(scope="module")
def small_world_folder(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("worlds"))


@pytest.fixture
def tables(tmp_path):
    """As `report` reads them from a folder of kept results: the numbers that CELL would write."""
    path = study_under(tmp_path)
    study, _ = read_study(str(path))
    runs, rows = [], []
    for seed in (0, 1, 2):
        for name in study.variants:
            if name == "hard-2: without" and seed == 2:
                continue  # has not run yet
            condition, variant = name.split(": ")
            gain = {"easy": .4, "hard-1": .1, "hard-2": .3 * (-1) ** seed}[condition]
            value = .5 - (variant == "without") * gain + .01 * seed
            runs.append({"id": f"r{len(runs)}", "variant": name, "seed": seed, "folder": f"r{len(runs)}"})
            rows.append({"study": "tried", "profile": "", "variant": name, "seed": seed, "run": runs[-1]["id"],
                         "metric": "f1", "value": value})
    kept = tmp_path / "kept"
    kept.mkdir()
    pd.DataFrame(rows).to_csv(kept / "runs.csv", index=False)
    (kept / "study.json").write_text(json.dumps(to_dict(study) | {"runs": runs, "shared_runs": [], "profile": ""}))
    return make_tables(read_results(kept))


def test_a_cell_is_the_paired_difference_with_its_interval_and_its_runs(tables):
    cells = worth(tables, "f1").set_index("condition")
    assert has_map(tables) and list(cells.index) == list(CONDITIONS)
    assert cells.loc["easy", "mean"] == pytest.approx(.4) and cells.loc["hard-1", "n"] == 3
    assert cells.loc["hard-2", "seeds"] == "0 1" and cells.loc["hard-2", "mean"] == pytest.approx(0, abs=1e-9)
    assert len(cells.loc["easy", "runs with"].split()) == len(cells.loc["easy", "runs without"].split()) == 3
    told = map_conclusion(tables, "f1")
    assert "semantics: easy (+0.400" in told and "hard-1 (+0.100" in told and "hard-2 (" not in told


def test_the_map_hatches_what_cannot_be_told_from_zero(tables):
    figure = draw_map(tables, ["f1"])
    ax = figure.axes[0]
    hatched = {round(patch.get_x() + 0.5) for patch in ax.patches if patch.get_hatch()}
    assert hatched == {2}
    assert [text.get_text() for text in ax.texts][:2] == ["+.40", "+.10"]
    assert ax.images[0].get_array()[0, 0] == pytest.approx(.4)
    figure.canvas.draw()
    assert isinstance(figure, matplotlib.figure.Figure)


def test_each_metric_of_the_map_has_colours_of_its_own_and_numbers_are_whole(tables):
    """What took 10 seconds more says +10.00, is orange, and leaves the colours of the other metric alone."""
    seconds = tables.runs.assign(metric="training_cpu_seconds", value=tables.runs.value * 25)
    both = replace(tables, runs=pd.concat([tables.runs, seconds]))
    figure = draw_map(both, ["f1", "training_cpu_seconds"])
    f1, cost = (ax for ax in figure.axes if ax.texts)
    assert f1.images[0].norm.vmax == pytest.approx(.4) and cost.images[0].norm.vmax == pytest.approx(10)
    assert cost.texts[0].get_text() == "+10.00"
    blue, orange = (ax.images[0].cmap(ax.images[0].norm(ax.images[0].get_array()[0, 0])) for ax in (f1, cost))
    assert blue[2] > blue[0] and orange[0] > orange[2]


def test_without_a_complete_pair_there_is_no_map(tables):
    assert not has_map(replace(tables, runs=tables.runs[tables.runs.variant.str.endswith("full")]))


def test_one_seed_tells_nothing_and_levels_of_an_axis_stand_together():
    assert not clear({"n": 1, "low": .2, "high": .2}) and clear({"n": 3, "low": -.2, "high": -.1})
    assert [axis_of(name) for name in ("small", "told-0.5", "told-1")] == ["small", "told", "told"]


def test_a_plan_has_the_runs_of_all_conditions(tmp_path, small_world_folder):
    path = study_under(tmp_path, base={"data.world": str(small_world_folder)})
    assert len([job for job in plan_of(path) if not job.shared]) == 3 * 3 * 2


def test_the_report_of_such_a_study_has_the_map_and_not_a_figure_for_each_metric(tables, tmp_path):
    assert main(["report", str(tmp_path / "kept"), "--out", str(tmp_path / "out")]) == 0
    out = tmp_path / "out" / "tried"
    assert {path.name for path in (out / "figures").iterdir()} == {"map.svg"}
    assert "hatched" in (out / "README.md").read_text() and "easy (+0.400" in (out / "README.md").read_text()
    assert len(pd.read_csv(out / "map.csv")) == 3
