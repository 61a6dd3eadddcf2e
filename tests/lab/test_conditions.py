"""A study under several conditions: every variant under each, compared within it; the map of ideas by conditions."""

import json
import re
from dataclasses import replace

import matplotlib
import pandas as pd
import pytest
from studies import plan_of, small_world, write_study

from d2vlm_lab.cli import main
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.report.map import axis_of, clear, draw_map, has_map, map_conclusion, map_summary, maps, worth
from d2vlm_lab.lab.report.read import read_results
from d2vlm_lab.lab.report.tables import make_tables
from d2vlm_lab.lab.study.study import points_of, read_study
from d2vlm_lab.settings import to_dict

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
    assert quick.variants == ("easy: full",)  # a condition comes after what the profile says, as for variants
    assert quick.shared["sft-easy"] == {"adapter.alpha": 8, "training.steps": 10}


@pytest.mark.parametrize("changes", [
    {"base": {"parts.start": "@sft"}}, {"variants": {"full": {"parts.start": "@sft"}}},
    {"base": {"parts.start": "@other"}, "profiles": {"quick": {"base": {"parts.start": "@sft"}}}},
    {"conditions": {name: {"parts.start": "@sft", "notebook.videos": n} for n, name in enumerate(("few", "many"), 1)}}],
    ids=lambda changes: next(iter(changes)))
def test_a_run_starts_from_the_shared_work_of_its_condition_wherever_the_file_says_so(tmp_path, changes):
    conditions = {"few": {"notebook.videos": 1, "training.steps": 10}, "many": {"notebook.videos": 2}}
    path = write_study(tmp_path, CELL, parameters="videos = 3", **({
        "conditions": conditions, "variants": {"full": {}}, "shared": {"sft": {}, "other": {}},
        "profiles": {"quick": {}}} | changes))
    study, _ = read_study(str(path))
    points = points_of(study, "quick")
    assert [(point.variant, point.needs, point.extras["videos"]) for point in points] == [
        ("few: full", ["sft-few"], 1), ("many: full", ["sft-many"], 2)]


@pytest.mark.parametrize("changes, message", [
    ({"ideas": {"semantics": ["full", "witout"]}}, "ideas.semantics: there is no 'witout'; did you mean 'without'"),
    ({"profiles": {"quick": {"conditions": ["eazy"]}}}, "profiles.quick.conditions: there is no 'eazy'; did you mean"),
    ({"against": {"witout": "full"}}, "against.witout: there is no 'witout'; did you mean 'without'"),
    ({"conditions": {"a: b": {}}}, "no name has a colon and a blank"),
    ({"conditions": {"easy": {"training.step": 3}}}, "training.step: no such setting; did you mean"),
    ({"conditions": {"easy": {}, "alike": {}}}, "are the same run"),
    ({"shared": {"sft": {}}, "base": {"parts.start": "@stf"}}, ": base: parts.start: there is no shared work 'stf'; did"
                                                               " you mean 'sft'?"),
    ({"conditions": {}, "ideas": {}, "base": {"parts.start": "@stf"}}, ": base: parts.start: there is no shared work"),
    ({"shared": {"sft": {}}, "profiles": {"quick": {"shared": {"stf": {}}}}}, "profiles.quick.shared: there is no 'stf'"
                                                                              "; did you mean 'sft'?")])
def test_a_wrong_name_is_an_error_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(LabError, match=re.escape(message)):
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
    figure = draw_map(tables, "f1")
    ax = figure.axes[0]
    hatched = {round(patch.get_x() + 0.5) for patch in ax.patches if patch.get_hatch()}
    assert hatched == {2}
    assert [text.get_text() for text in ax.texts][:2] == ["+.40", "+.10"]
    assert ax.images[0].get_array()[0, 0] == pytest.approx(.4)
    figure.canvas.draw()
    assert isinstance(figure, matplotlib.figure.Figure)


def measured(tables, metric, factor=1.0, conditions=CONDITIONS):
    """The numbers of `f1` under another name, times a factor, and only under some conditions."""
    there = tables.runs.variant.str.split(": ").str[0].isin(conditions)
    return tables.runs[there].assign(metric=metric, value=tables.runs.value * factor)


@pytest.mark.parametrize("metric, factor, says, colour", [
    ("named_F1@0.5", 1.0, "+.40", "#0072b2"), ("training_cpu_seconds", 25.0, "+10.00", "#d55e00"),
    ("spread", 1.0, "+.40", "#009e73")])
def test_a_map_is_blue_where_an_idea_helps_orange_where_it_costs_and_green_for_more_of_what_is_neither(
        tables, metric, factor, says, colour):
    ax = draw_map(replace(tables, runs=measured(tables, metric, factor)), metric).axes[0]
    image = ax.images[0]
    assert image.norm.vmax == pytest.approx(.4 * factor) and ax.texts[0].get_text() == says
    assert matplotlib.colors.to_hex(image.cmap(image.norm(image.get_array()[0, 0]))) == colour


def test_a_map_has_the_conditions_of_its_metric_alone_and_the_first_six_metrics_with_cells_are_drawn(tables):
    names = ["f1", "nowhere", *(f"m{k}" for k in range(6))]
    runs = pd.concat([tables.runs, measured(tables, "nowhere", conditions=()),
                      *(measured(tables, name, conditions=["hard-1", "hard-2"]) for name in names[2:])])
    more = replace(tables, study=tables.study | {"metrics": names}, runs=runs)
    assert maps(more) == ["f1", "m0", "m1", "m2", "m3", "m4"]
    assert maps(replace(more, study=more.study | {"ideas": {}})) == []
    ax = draw_map(more, "m0").axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["hard-1", "hard-2"]
    assert ax.images[0].get_array().shape == (1, 2)


def test_under_a_map_stands_how_many_cells_would_be_clear_by_chance(tables):
    assert map_summary(tables, "f1") == (
        "F1: 2 of 3 cells are clear over 3 seeds; fewer than one would look so by chance alone. "
        "The idea with the most is semantics: 2 of 3.")
    ideas = {f"idea {k}": ("full", "without") for k in range(47)}
    assert "94 of 141 cells are clear over 3 seeds; about 7 would" in map_summary(
        replace(tables, study=tables.study | {"ideas": ideas}), "f1")
    alone = replace(tables, runs=tables.runs[tables.runs.seed == 0])
    assert "F1: one seed, a demonstration" in map_conclusion(alone, "f1") and "- " not in map_conclusion(alone, "f1")


def test_without_a_complete_pair_there_is_no_map(tables):
    assert not has_map(replace(tables, runs=tables.runs[tables.runs.variant.str.endswith("full")]))


def test_one_seed_tells_nothing_and_levels_of_an_axis_stand_together():
    assert not clear({"n": 1, "low": .2, "high": .2}) and clear({"n": 3, "low": -.2, "high": -.1})
    assert [axis_of(name) for name in ("small", "detailed-0.5", "detailed-1")] == ["small", "detailed", "detailed"]


def test_a_plan_has_the_runs_of_all_conditions(tmp_path, small_world_folder):
    path = study_under(tmp_path, base={"data.world": str(small_world_folder)})
    assert len([job for job in plan_of(path) if not job.shared]) == 3 * 3 * 2


def test_the_report_of_such_a_study_has_the_map_and_not_a_figure_for_each_metric(tables, tmp_path):
    assert main(["report", str(tmp_path / "kept"), "--out", str(tmp_path / "out")]) == 0
    out = tmp_path / "out" / "tried"
    assert {path.name for path in (out / "figures").iterdir()} == {"f1.svg"}
    text, page = (out / "README.md").read_text(), (out.parent / "index.html").read_text()
    assert "hatched" in text
    assert text.index("- semantics: easy (+0.400), hard-1 (+0.100)") < text.index("## All numbers")
    assert "2 of 3 cells are clear" in page and "easy" not in page  # the page over all studies has the summary alone
    assert len(pd.read_csv(out / "map.csv")) == 3
