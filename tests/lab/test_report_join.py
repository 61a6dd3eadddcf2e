"""Parts of one study, run in different places, make the report that the whole makes; what differs is refused."""

import json
from pathlib import Path

import pytest
from finished import F1, study, write

from d2vlm_lab.cli import main
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.report import read_results, write_report
from d2vlm_lab.lab.report.join import read_joined


def part(folder: Path, keep, **changes) -> Path:
    """The study of `finished` as a command for a part of the grid leaves it: seed by seed."""
    index = json.loads((study(folder) / "study.json").read_text())
    runs = sorted(filter(keep, index["runs"]), key=lambda run: run["seed"])
    write(folder, "study.json", index | {"runs": runs} | changes)
    return folder


def tables(page: Path) -> dict[str, bytes]:
    names = ("runs.csv", "means.csv", "differences.csv", "study.json", f"figures/{F1}.svg")
    return {name: (page.parent / name).read_bytes() for name in names}


@pytest.mark.parametrize("kept_first", [True, False])
def test_seeds_from_two_places_make_the_report_of_the_whole_study(tmp_path, kept_first):
    """One part as runs, the other as the results that were kept of it."""
    none = tmp_path / "none"
    whole = tables(write_report(part(tmp_path / "s", lambda run: True), tmp_path / "whole", none))
    early = part(tmp_path / "a" / "s", lambda run: run["seed"] < 2)
    late = part(tmp_path / "b" / "s", lambda run: run["seed"] == 2)
    if kept_first:
        early = write_report(early, tmp_path / "kept", none).parent
    else:
        late = write_report(late, tmp_path / "kept", none).parent
    page = write_report(early, tmp_path / "joined", none, [late])
    assert tables(page) == whole
    assert "Mean over the seeds 0, 1, 2" in page.read_text()
    again = write_report(page.parent, tmp_path / "again", none)  # what was joined can be kept like any other
    assert tables(again) == whole
    assert "Made with python 3.11, commit abc." in (again.parent / "README.md").read_text()


def test_variants_from_two_places_are_one_study_in_the_order_of_its_file(tmp_path):
    first = part(tmp_path / "a" / "s", lambda run: run["variant"] == "without",
                 variants={"without": {"method.semantics": "off"}})
    second = part(tmp_path / "b" / "s", lambda run: run["variant"] == "full")
    joined = read_joined([first, second])
    assert list(joined.study["variants"]) == ["full", "without"]
    assert [(run.seed, run.variant) for run in joined.runs] == [
        (seed, variant) for seed in range(3) for variant in ("without", "full")]
    assert [entry["id"] for entry in joined.study["runs"]] == [run.id for run in joined.runs]


def test_a_variant_that_came_later_brings_what_it_is_compared_with(tmp_path):
    first = part(tmp_path / "a" / "s", lambda run: run["variant"] != "full",
                 variants={name: {"method.semantics": "off"} for name in ("without", "half")})
    second = part(tmp_path / "b" / "s", lambda run: run["variant"] == "full", against={"full": "half"})
    assert read_joined([first, second]).study["against"] == {"full": "half"}


def test_a_condition_that_came_later_brings_its_variants_and_shared_work(tmp_path):
    shared = {"sft-easy": {"overrides": {"seed": 1}, "preset": ""}}
    before = part(tmp_path / "a" / "s", lambda run: run["seed"] < 2, shared=shared, conditions={"easy": {}})
    more = {"sft-hard": {"overrides": {"seed": 2}, "preset": ""}}, {"hard": {"data.limit": 5}}
    later = part(tmp_path / "b" / "s", lambda run: run["seed"] == 2, shared=shared | more[0],
                 conditions={"easy": {}} | more[1])
    for folders in ([before, later], [later, before]):
        joined = read_joined(folders).study
        assert joined["shared"] == shared | more[0] and joined["conditions"] == {"easy": {}} | more[1]
    other = part(tmp_path / "c" / "s", lambda run: run["seed"] == 2,
                 shared={"sft-easy": {"overrides": {"seed": 3}, "preset": ""}})
    with pytest.raises(LabError, match="shared.sft-easy is"):
        read_joined([before, other])


def test_an_idea_that_came_later_is_joined_and_two_of_one_name_must_be_the_same(tmp_path):
    before = part(tmp_path / "a" / "s", lambda run: run["seed"] < 2, ideas={"a": ["full", "without"]})
    both = {"a": ["full", "without"], "b": ["without", "full"]}
    later = part(tmp_path / "b" / "s", lambda run: run["seed"] == 2, ideas=both, metrics=[F1, "named_mIoU"])
    for folders in ([before, later], [later, before]):
        joined = read_joined(folders).study
        assert {idea: [*pair] for idea, pair in joined["ideas"].items()} == both
        assert set(joined["metrics"]) >= {F1, "named_mIoU"}
    other = part(tmp_path / "c" / "s", lambda run: run["seed"] == 2, ideas={"a": ["without", "full"]})
    with pytest.raises(LabError, match="ideas.a is"):
        read_joined([before, other])


def test_a_joined_report_names_all_commits_that_its_runs_were_made_with(tmp_path):
    parts = [part(tmp_path / name / "s", lambda run, seed=seed: run["seed"] == seed) for seed, name in enumerate("ab")]
    for path in parts[1].glob("*/environment.json"):
        path.write_text(json.dumps({"python": "3.12", "commit": "def"}))
    page = write_report(parts[0], tmp_path / "out", tmp_path / "none", parts[1:])
    for folder in (page.parent, write_report(page.parent, tmp_path / "again", tmp_path / "none").parent):
        text = (folder / "README.md").read_text()
        assert "Made with python 3.11, commit abc." in text and "Made with python 3.12, commit def." in text


def test_of_two_runs_for_one_point_the_one_that_is_done_counts(tmp_path):
    broken, done = study(tmp_path / "a" / "s", failed=[("full", 1)]), study(tmp_path / "b" / "s")
    for folders in ([broken, done], [done, broken]):
        joined = read_joined(folders)
        assert len(joined.runs) == len(joined.done) == 6


@pytest.mark.parametrize("changes, where", [
    ({"name": "t"}, "name"), ({"profile": "full"}, "profile"), ({"preset": "tiny-full"}, "preset"),
    ({"base": {"training.steps": 4}}, "base"), ({"profiles": {"quick": {"base": {"seed": 1}}}}, "profile.base"),
    ({"variants": {"full": {"method.semantics": "on"}, "without": {"method.semantics": "off"}}}, "variants.full"),
    ({"against": {"full": "other"}}, "against.full"),
])
def test_folders_of_different_studies_are_refused_by_name(tmp_path, changes, where):
    first = part(tmp_path / "a" / "s", lambda run: run["seed"] < 2)
    other = part(tmp_path / "b" / "s", lambda run: run["seed"] == 2, **changes)
    with pytest.raises(LabError, match=rf"b/s/study\.json: {where} is .*a/s/study\.json"):
        write_report(first, tmp_path / "out", tmp_path / "none", [other])
    assert not (tmp_path / "out").exists()


def test_two_finished_runs_of_one_point_are_refused_since_something_under_them_changed(tmp_path):
    first, other = study(tmp_path / "a" / "s"), study(tmp_path / "b" / "s")
    index = json.loads((other / "study.json").read_text())
    index["runs"][2]["id"] = "anotherid000"
    write(other, "study.json", index)
    with pytest.raises(LabError, match="full with seed 2 is the run anotherid000, and in .*full2xxxxxxx"):
        read_joined([first, other])
    assert len(read_joined([first, first]).runs) == 6


def test_the_command_joins_folders_and_never_writes_into_one_of_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    part(tmp_path / "runs" / "ablations" / "s", lambda run: run["seed"] == 2)
    part(tmp_path / "a" / "s", lambda run: run["seed"] < 2)
    assert main(["report", "s", "--with", "a/s", "--out", "pages"]) == 0
    assert len(read_results(tmp_path / "pages" / "s").done) == 6
    assert "from runs/ablations/s, a/s" in capsys.readouterr().out
    assert main(["report", "s", "--with", "a/s", "--out", "a"]) == 2
    assert "would replace the files that it is made from" in capsys.readouterr().err
    assert main(["report", "--with", "a/s"]) == 2
    assert "name that study before it" in capsys.readouterr().err
