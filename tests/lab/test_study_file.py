import pytest
from studies import plan_of, small_world, write_study

from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.study.study import read_study


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("data"))


def refused(path) -> str:
    with pytest.raises(LabError) as error:
        read_study(str(path))
    assert path.name in str(error.value)
    return str(error.value)


def test_a_misspelt_parameter_stops_the_grid_before_anything_runs(tmp_path):
    message = refused(write_study(tmp_path, variants={"full": {}, "b": {"method.semantic": "off"}}))
    assert "variants.b: method.semantic: no such setting; did you mean 'method.semantics'?" in message
    assert "base: training.stepz" in refused(write_study(tmp_path, base={"training.stepz": 3}))
    assert "profiles.quick.base: seeed" in refused(write_study(tmp_path, profiles={"quick": {"base": {"seeed": 1}}}))
    assert "refrence: no such setting; did you mean 'reference'?" in refused(write_study(tmp_path, refrence="full"))


def test_a_variant_that_changes_nothing_is_an_error_and_an_empty_one_is_the_base(tmp_path):
    assert "variants.b changes nothing" in refused(
        write_study(tmp_path, variants={"full": {}, "b": {"method.semantics": "layer"}}))
    study, _ = read_study(str(write_study(tmp_path)))
    assert study.variants["full"] == {}


def test_two_variants_that_are_the_same_run_are_an_error(tmp_path):
    twice = {"full": {}, "a": {"method.semantics": False}, "b": {"method.semantics": "off"}}
    assert "variants.a and variants.b are the same run" in refused(write_study(tmp_path, variants=twice))
    assert "variants.full and variants.b" in refused(write_study(tmp_path, variants={"full": {}, "b": {}}))


def test_variants_that_a_profile_makes_equal_are_an_error(tmp_path):
    message = refused(write_study(tmp_path, variants={"full": {}, "b": {"training.steps": 5}},
                                  profiles={"quick": {"base": {"training.steps": 5}}}))
    assert "variants.b (profile quick) changes nothing" in message


@pytest.mark.parametrize("changes, part", [
    ({"reference": "fulll"}, "reference: there is no 'fulll'; did you mean 'full'?"),
    ({"against": {"without": "ful"}}, "against.without: there is no 'ful'; did you mean 'full'?"),
    ({"against": {"witout": "full"}}, "against: there is no 'witout'; did you mean 'without'?"),
    ({"notebook": "nowhere.ipynb"}, "notebook: there is no nowhere.ipynb"),
    ({"variants": {"full": {}, "b": {"notebook.speed": 1}}}, "has no such parameter"),
    ({"variants": {"full": {}, "b": {"notebook.settings": 1}}}, "has no such parameter"),
    ({"variants": {"full": {}, "b": {"parts.start": "@sft"}}}, "there is no shared work 'sft'"),
    ({"variants": {"full": {}, "b": {"parts.start": "nowhere"}}}, "parts.start: there is no checkpoint nowhere"),
    ({"variants": {"full": {}, False: {"method.end_marker": False}}}, "names that are text"),
    ({"variants": {"full": {}, "b": {"preference.recipe": ["shift=far"]}}}, "preference.recipe: shift: expected"),
    ({"variants": {"full": {}, "b": {"method.target_base": 1.0}}}, "variants.b: method.target_base: expected"),
    ({"paper": [{"metric": "f1", "variant": "none", "value": 1.0, "source": "Table 1"}]}, "paper[0].variant"),
    ({"profiles": {"quick": {"variants": ["none"]}}}, "profiles.quick.variants: there is no 'none'"),
    ({"shared": {"sft": {"overrides": {"parts.start": "@sft"}}}}, "cannot start from other shared work"),
    ({"metrics": []}, "name at least one of each"),
    ({"metrics": ["f1", "named_mIou"]}, "metrics: 'named_mIou' is neither in the catalogue"),
    ({"metrics": ["named_mIou"]}, "did you mean 'named_mIoU'"), ({"metrics": ["f"]}, "nor in quotes in"),
    ({"name": "shared"}, "plain folder name"),
    ({"preset": "tinny"}, "did you mean 'tiny'?"), ({"preset": "x" * 300}, "no preset"),
    ({"seeds": [0, 1, 0]}, "seeds: 0 stands there twice"),
    ({"seeds": [-1]}, "seeds[0]: expected a whole number from 0"),
    ({"profiles": {"quick": {"seeds": [3, 3]}}}, "profiles.quick.seeds: 3 stands there twice"),
    ({"variants": {"full": {}, "b": {"seed": 3}}}, "variants.b: seed: the seeds of runs come from `seeds`"),
    ({"base": {"seed": 3}}, "base: seed: the seeds of runs"),
    ({"name": "../../x"}, "name: '../../x' has to be a plain folder name of letters, digits, blanks and _ . -"),
    ({"shared": {"../../x": {}}}, "shared: '../../x' has to be a plain folder name"),
    ({"name": "a\nb"}, "name: 'a\\nb'"), ({"metrics": ["f1", "f1"]}, "metrics: f1 stands there twice"),
    ({"metrics": ["../x"]}, "metrics: '../x' has to be"), ({"metrics": [["f1"]]}, "metrics[0]: expected text"),
    ({"metrics": {"f1": 1}}, "metrics: expected a list"), ({"variants": {"@sft": {}}}, "variants: '@sft' has to be"),
    ({"variants": {"full": []}}, "variants.full: expected"), ({"notebook": "README.md"}, "not a notebook"),
    ({"notebook": 3}, "notebook: expected text"), ({"notebook": "x" * 300}, "File name too long"),
    ({"profiles": {"quick": {"minutes": -1}}}, "minutes: expected"),
])
def test_what_cannot_be_right_is_named(tmp_path, changes, part):
    assert part in refused(write_study(tmp_path, **changes))


def test_a_notebook_without_the_given_parameters_is_an_error(tmp_path):
    path = write_study(tmp_path)
    notebook = tmp_path / "run.ipynb"
    notebook.write_text(notebook.read_text().replace("out = ''", "folder = ''"))
    assert "has no parameter 'out'" in refused(path)


def test_own_annotations_need_some_to_be_examined_with_where_the_notebook_examines(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text("")
    changes = {"base": {"data.format": "samples", "data.train": str(own), "data.videos": str(tmp_path)}}
    message = refused(write_study(tmp_path, "exam = examine(model, config, 3)", **changes))
    assert "variants.full: data.val is empty, so that there is nothing to examine" in message
    read_study(str(write_study(tmp_path, **changes)))
    changes["base"]["data.val"] = str(own)
    read_study(str(write_study(tmp_path, "exam = examine(model, config, 3)", **changes)))


def test_a_study_that_is_not_there_is_named_with_the_nearest_one():
    with pytest.raises(LabError, match="no study 'nowhere'"):
        read_study("nowhere")


def test_settings_are_laid_over_each_other_from_preset_to_variant(tmp_path, world):
    path = write_study(tmp_path, world=world, parameters="videos = 3", base={"training.steps": 7, "notebook.videos": 2},
                       profiles={"quick": {"seeds": [5], "variants": ["full", "b"],
                                           "base": {"training.steps": 3, "training.texts": 2}}},
                       variants={"full": {}, "b": {"training.texts": 1, "notebook.videos": 9},
                                 "c": {"training.texts": 3}})
    full, b = plan_of(path, "quick")
    settings = [job.order(tmp_path)["parameters"] for job in (full, b)]
    assert [s["settings"]["training.steps"] for s in settings] == [3, 3]
    assert [s["settings"]["training.texts"] for s in settings] == [2, 1]
    assert [s["videos"] for s in settings] == [2, 9] and full.point.seed == 5
    assert full.record["settings"]["method.semantic_layer"] == 1, "the preset's"
    assert len(plan_of(path)) == 3 and len(plan_of(path, "quick", seeds=[1, 2])) == 4


def test_shared_work_is_one_training_run_for_all_variants_that_start_from_it(tmp_path, world):
    path = write_study(tmp_path, world=world, seeds=[0, 1], base={"parts.start": "@sft"},
                       shared={"sft": {"overrides": {"training.steps": 4, "data.world": str(world)}}},
                       profiles={"quick": {"shared": {"sft": {"training.steps": 2}}}})
    plan = plan_of(path)
    assert [job.title for job in plan if job.shared] == ["@sft, seed 0", "@sft, seed 1"] and len(plan) == 6
    start = plan[2].order(tmp_path)["parameters"]["settings"]["parts.start"]
    assert start == f"out/shared/sft-{plan[0].record['id']}/model" and plan[2].needs == [plan[0]]
    assert plan[2].record["hashes"]["shared"] == {"sft": plan[0].record["id"]}
    quick = plan_of(path, "quick")
    assert quick[0].record["settings"]["training.steps"] == 2 and quick[2].record["id"] != plan[2].record["id"]


def test_shared_work_with_a_seed_of_its_own_is_made_once_for_all_seeds(tmp_path, world):
    path = write_study(tmp_path, world=world, seeds=[0, 1], base={"parts.start": "@sft"},
                       shared={"sft": {"overrides": {"seed": 3, "data.world": str(world)}}})
    assert [job.title for job in plan_of(path) if job.shared] == ["@sft, seed 3"]
