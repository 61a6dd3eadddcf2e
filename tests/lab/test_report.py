"""The report: arithmetic worked by hand, links that lead somewhere, failures that are told, nothing that is run."""

import json
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from finished import F1, SCORES, T2, line, study, write
from matplotlib.figure import Figure

from d2vlm_lab.cli import main
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.lab.report import (
    Tables,
    conclusion,
    conclusions,
    draw_comparison,
    draw_differences,
    draw_side_by_side,
    find_tables,
    make_tables,
    read_results,
    variants_table,
    write_report,
)
from d2vlm_lab.lab.report.examples import examples
from d2vlm_lab.lab.report.read import KEPT
from d2vlm_lab.lab.report.tables import write_tables
from d2vlm_lab.lab.report.text import against, numbers


def tables_of(folder: Path) -> Tables:
    return make_tables(read_results(folder))


def test_means_and_their_intervals_are_those_worked_by_hand(tmp_path):
    means = tables_of(study(tmp_path / "s")).means.set_index("variant")
    half = T2 * 0.1 / np.sqrt(3)  # the standard deviation of .5, .6, .7 is .1
    assert means.loc["full", ["n", "mean"]].tolist() == [3, pytest.approx(0.6)]
    assert means.loc["full", ["low", "high"]].tolist() == pytest.approx([0.6 - half, 0.6 + half])
    assert means.loc["without", ["low", "high"]].tolist() == pytest.approx([0.4, 0.4])
    assert means.loc["full", "seeds"] == "0 1 2"


def test_refusals_stand_in_the_table_of_every_study_whose_runs_have_them(tmp_path):
    folder = study(tmp_path / "s")
    assert tables_of(folder).metrics == [F1]
    for path in folder.glob("*/metrics.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"refusal_F1": 0.25, "refused": 0.5}))
    tables = tables_of(folder)
    assert tables.metrics == [F1, "refused", "refusal_F1"] and tables.mean("refused", "full")["mean"] == 0.5


def test_variants_with_fewer_seeds_than_others_are_said_to_have_them(tmp_path):
    scores = {"full": [.5, .6, .7, .8], "without": [.4, .4, .5, .5], "half": [.3, .2, .3]}
    folder = study(tmp_path / "s", scores)
    text = (write_report(folder, kept=tmp_path / "none").parent / "README.md").read_text()
    assert "3 to 4 paired seeds" in text and "Some variants have fewer seeds" in text
    folder = study(tmp_path / "t", {name: values[:3] for name, values in scores.items()})
    text = (write_report(folder, kept=tmp_path / "none").parent / "README.md").read_text()
    assert " 3 paired seeds" in text and "fewer seeds" not in text
    for k, path in enumerate(sorted(folder.glob("*/metrics.json"))):
        refused = {"refusal_F1": 0.5, "refused": 0.5, "refused_wrongly": 0.5 if k else float("nan")}
        path.write_text(json.dumps(json.loads(path.read_text()) | refused))
    text = (write_report(folder, kept=tmp_path / "none").parent / "README.md").read_text()
    assert "Some numbers have fewer seeds" in text and "Some variants" not in text


def test_a_metric_that_no_run_has_is_named(tmp_path):
    folder = study(tmp_path / "s")
    text = (write_report(folder, tmp_path / "all", tmp_path / "none").parent / "README.md").read_text()
    assert "No run has a value" not in text
    plan = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(plan | {"metrics": [*plan["metrics"], "live_delay"]}))
    text = (write_report(folder, tmp_path / "more", tmp_path / "none").parent / "README.md").read_text()
    assert "No run has a value of `live_delay`." in text


def test_differences_are_taken_on_the_same_seed(tmp_path):
    difference = tables_of(study(tmp_path / "s", failed=[("without", 1)])).differences.iloc[0]
    half = 12.706204736432095 * np.std([0.1, 0.3], ddof=1) / np.sqrt(2)
    assert (difference.variant, difference.reference, difference.n, difference.seeds) == ("full", "without", 2, "0 2")
    assert [difference["mean"], difference.low, difference.high] == pytest.approx([0.2, 0.2 - half, 0.2 + half])


def test_a_variant_with_a_partner_of_its_own_is_compared_with_that_and_the_report_says_so(tmp_path):
    scores = {"full": [0.8, 0.9], "without": [0.4, 0.4], "half": [0.6, 0.8]}
    tables = tables_of(study(tmp_path / "s", scores, against={"half": "full"}))
    assert tables.differences.set_index("variant")["mean"].to_dict() == pytest.approx({"full": 0.45, "half": -0.15})
    sentence = conclusion(tables, F1)
    assert "half against full (-0.150; " in sentence and "clearly higher: full" not in sentence
    page = write_report(tmp_path / "s", tmp_path / "out", tmp_path / "none")
    ax, = draw_differences(tables, [F1]).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["full", "half against full"]
    assert [round(line.get_xdata()[0], 3) for line in ax.lines if line.get_marker() == "D"] == [0.45, -0.15]
    assert "| half against full | -0.150" in (page.parent / "README.md").read_text()
    assert "half against full" in page.read_text()


def test_the_texts_of_a_large_study_take_seconds():
    """800 means and as many differences: to search the table of all runs for each took ten CPU seconds."""
    variants, metrics = [f"v{k}" for k in range(80)], [f"m{k}" for k in range(10)]
    rows = [{"variant": variant, "seed": seed, "run": f"{variant}-{seed}", "metric": metric, "value": seed / 7}
            for variant in variants for metric in metrics for seed in range(3)]
    begin = time.process_time()
    tables = Tables({"variants": variants, "metrics": metrics, "reference": "v0"}, pd.DataFrame(rows))
    assert numbers(tables).count("0.143 ± ") == 800 and against(tables).count("+0.000, ") == 790
    assert time.process_time() - begin < 4  # usually half a second


def test_the_training_time_of_a_run_includes_that_of_the_shared_work_that_it_starts_from(tmp_path):
    """One variant only scores what the shared training made, another one trains it further for ten seconds."""
    folder = study(tmp_path / "s", {"full": [0.5], "without": [0.4], "more": [0.6]},
                   shared={"sft": {"preset": "", "overrides": {}}},
                   shared_runs=[{"id": "work", "variant": "@sft", "seed": 0, "folder": "../shared/work"}])
    work = tmp_path / "shared" / "work"
    write(work, "state.json", {"status": "done", "seconds": 120.0})
    write(work, "metrics.json", {"seconds": 120.0})
    write(work, "history.jsonl", [{"step": 9, "loss_answer": 1.0}, {"step": 9, "seconds": 100.0, "cpu_seconds": 90.0}])
    hashes = {"notebook": "", "settings": "", "library": {}, "data": {}}
    for name, took, shared in (("full", None, "work"), ("without", 95.0, ""), ("more", 10.0, "work")):
        place = folder / f"{name}0".ljust(12, "x")
        write(place, "point.json", {"id": place.name, "kind": "point", "study": "s", "variant": name, "seed": 0,
                                    "profile": "quick", "settings": {}, "extras": {},
                                    "hashes": hashes | {"shared": {"sft": shared} if shared else {}}})
        write(place, "metrics.json", {F1: 0.5} | ({"training_cpu_seconds": took} if took else {}))
    tree = json.loads((folder / "study.json").read_text())
    write(folder, "study.json", tree | {"metrics": [F1, "training_cpu_seconds"]})
    tables = tables_of(folder)
    assert [tables.mean("training_cpu_seconds", name)["mean"] for name in ("full", "without", "more")] == [90, 95, 100]
    page = write_report(folder, tmp_path / "out", tmp_path / "none")
    text = page.with_name("README.md").read_text()
    assert "| @sft | 1 | 120 | 100 | 90 | 120 |" in text and "includes that of the shared work" in text
    assert tables_of(page.parent).mean("training_cpu_seconds", "more")["mean"] == 100  # not added a second time
    shutil.rmtree(work)
    tables = tables_of(folder)
    known = [tables.mean("training_cpu_seconds", name) for name in ("full", "without", "more")]
    assert known[0] is known[2] is None and known[1]["mean"] == 95, "a part of the time is not the time"
    text = write_report(folder, tmp_path / "out", tmp_path / "none").with_name("README.md").read_text()
    assert "**@sft**, seed 0: `its folder is gone, so that the training time" in text and "not run yet" not in text


def test_of_many_variants_without_a_clear_difference_only_the_names_and_the_range_are_said(tmp_path):
    scores = {"without": [0.4, 0.5]} | {f"v{k}": [0.4 + k / 100, 0.5 - k / 50] for k in range(1, 10)}
    sentence = conclusion(tables_of(study(tmp_path / "s", scores)), F1)
    assert sentence.endswith("no clear difference: v1, v2, v3, v4, v5, v6, v7, v8, v9 (-0.045 to -0.005).")


@pytest.mark.parametrize(("scores", "said"), [
    ({"full": [0.5, 0.51, 0.52], "without": [0.4, 0.4, 0.4]}, "clearly higher: full (+0.110; +0.085 to +0.135)"),
    ({"full": [0.3, 0.31, 0.32], "without": [0.4, 0.4, 0.4]}, "clearly lower: full (-0.090; -0.115 to -0.065)"),
    (SCORES, "no clear difference: full (+0.200; -0.048 to +0.448)"),
    ({"full": [0.9], "without": [0.1]}, "full +0.800. This is one seed: a demonstration"),
    ({"full": [0.9]}, "without has no number to compare with")])
def test_the_sentence_says_what_the_interval_says(tmp_path, scores, said):
    assert said in conclusion(tables_of(study(tmp_path / "s", scores)), F1)


def test_one_seed_has_no_interval_and_is_called_a_demonstration(tmp_path):
    page = write_report(study(tmp_path / "s", {"full": [0.5], "without": [0.4]}), kept=tmp_path / "none")
    means = pd.read_csv(page.parent / "means.csv")
    assert means.low.isna().all() and set(means.interval) == {"one seed: a demonstration"}
    assert "One seed: a demonstration" in page.read_text() and "±" not in page.read_text()


def test_every_number_leads_to_the_notebook_that_made_it(tmp_path):
    page = write_report(study(tmp_path / "s"), kept=tmp_path / "none")
    text = page.read_text()
    cells = re.findall(r'<a href="(runs/[^"]+)">([^<]+)</a>', text)
    assert {number for _, number in cells} >= {"0.500", "0.600", "0.700", "0.400", "+0.100", "+0.200", "+0.300"}
    for target, number in cells:
        seen = (page.parent / target).read_text()
        variant, seed = re.fullmatch(r"runs/(\w+)-seed(\d)-.*", target).groups()
        assert f"{variant} {seed}" in seen  # what its cell had printed
        if number.startswith("0."):
            assert SCORES[variant][int(seed)] == pytest.approx(float(number))


def test_a_page_needs_no_other_file_and_quotes_what_it_is_given(tmp_path):
    text = write_report(study(tmp_path / "s"), kept=tmp_path / "none").read_text()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text) and "<script" not in text
    assert "Does &lt;it&gt; work?" in text and "when &lt;does&gt; it spin?" in text


def test_failed_points_are_listed_with_their_error_and_the_others_counted(tmp_path):
    page = write_report(study(tmp_path / "s", failed=[("full", 2)]), kept=tmp_path / "none")
    text = page.read_text()
    assert "cell 3: &lt;no&gt; disk" in text and "runs/full-seed2-full2xxxxxxx.html" in text
    assert pd.read_csv(page.parent / "means.csv").set_index("variant").loc["full", "n"] == 2
    assert "5 of 6 runs finished" in (page.parents[1] / "index.html").read_text()


def test_a_study_of_which_nothing_has_finished_still_has_a_page(tmp_path):
    folder = study(tmp_path / "s", {"full": [0.1], "without": [0.1]}, failed=[("full", 0), ("without", 0)])
    assert "No run has finished yet." in write_report(folder, kept=tmp_path / "none").read_text()


def test_the_tidy_table_is_the_same_in_both_formats_and_read_back(tmp_path):
    folder = study(tmp_path / "s")
    out = write_report(folder, tmp_path / "out", tmp_path / "none").parent
    csv, parquet = pd.read_csv(out / "runs.csv", dtype={"run": str}), pd.read_parquet(out / "runs.parquet")
    pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)
    assert len(csv) == 6 * 3  # three numbers of each run; what is not a number is left out
    again = tables_of(out)
    pd.testing.assert_frame_equal(again.differences, tables_of(folder).differences)
    pd.testing.assert_frame_equal(again.means, tables_of(folder).means)


def test_the_same_files_give_the_same_report(tmp_path):
    first, second = (write_report(study(tmp_path / "s"), tmp_path / out, tmp_path / "none") for out in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_pages_of_runs_that_no_longer_count_are_removed(tmp_path):
    write_report(study(tmp_path / "s"), tmp_path / "out", tmp_path / "none")
    page = write_report(study(tmp_path / "s", {"full": [0.5], "without": [0.4]}), tmp_path / "out", tmp_path / "none")
    assert sorted(path.name for path in (page.parent / "runs").iterdir()) == [
        "full-seed0-full0xxxxxxx.html", "without-seed0-without0xxxx.html"]


def test_a_demonstration_is_shown_beside_what_was_found_with_more_seeds(tmp_path):
    write_report(study(tmp_path / "s"), tmp_path / "kept", tmp_path / "none")
    quick = write_report(study(tmp_path / "s", {"full": [0.9], "without": [0.9]}), kept=tmp_path / "kept")
    text = quick.read_text()
    assert "Found before, with 3 seeds" in text and "0.600 ± 0.248" in text
    where = re.search(r'<a href="([^"]+)">the report that is kept', text).group(1)
    assert (quick.parent / where).resolve() == (tmp_path / "kept" / "s" / "README.md").resolve()


def test_a_readme_beside_the_page_has_the_same_numbers_the_runs_and_figures_that_are_there(tmp_path):
    folder = write_report(study(tmp_path / "s"), tmp_path / "out", tmp_path / "none").parent
    text = (folder / "README.md").read_text()
    assert "| full | 0.600 ± 0.248 |" in text and "| full | +0.200, -0.048 to +0.448 |" in text
    assert "`without2xxxx`" in text and "Does <it> work?" in text
    figures = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert figures and all((folder / name).is_file() for name in figures)


def test_the_paper_has_an_axis_of_its_own_and_only_where_it_says_something(tmp_path):
    tables = tables_of(study(tmp_path / "s"))
    ours, theirs = draw_comparison(tables, F1).axes
    assert theirs.lines[0].get_xdata().tolist() == [39.5] and ours.get_xlim()[1] < 1
    assert ours.get_xlabel() == "named events: F1 at overlap 0.5" and theirs.get_xlabel() == "G-F1, %"
    tables.study["paper"] = []
    assert isinstance(alone := draw_comparison(tables, F1), Figure) and len(alone.axes) == 1


def test_a_page_without_results_says_so_and_one_with_them_draws_what_is_there(tmp_path):
    assert "There are no results of `s` yet" in conclusions(None, [F1], "s")
    assert "`d2vlm-lab ablate s`" in conclusions(None, [], "s")
    assert draw_side_by_side(None, [F1]).data.startswith("*No results yet")
    assert draw_comparison(None, F1).data.startswith("*No results yet")
    assert draw_differences(None, [F1]).data.startswith("*No results yet")
    tables = tables_of(study(tmp_path / "s"))
    assert conclusions(tables, [F1, "missing"], "s") == conclusion(tables, F1)
    assert len(draw_side_by_side(tables, [F1, "missing"]).axes) == 1


def test_a_page_reads_the_first_folder_that_has_the_study_and_shows_every_setting_in_full(tmp_path):
    write_report(study(tmp_path / "s"), tmp_path / "second", tmp_path / "none")
    assert find_tables("s", [tmp_path / "first"]) is None
    assert find_tables("s", [tmp_path / "first", tmp_path / "second"]).seeds == [0, 1, 2]
    write_report(study(tmp_path / "s", {"full": [0.5], "without": [0.4]}), tmp_path / "first", tmp_path / "none")
    assert find_tables("s", [tmp_path / "first", tmp_path / "second"]).seeds == [0]
    table = variants_table({"base": {}, "long": {"method.style": "digits", "training.steps": 123456}})
    assert table.endswith("| base | as it is |\n| long | `method.style=digits`, `training.steps=123456` |")
    assert variants_table({"asked": {"parts.start": "@sft"}}).endswith("a checkpoint that several variants start from.")


def test_examples_are_the_questions_on_which_variants_differ_most(tmp_path):
    card, = examples(read_results(study(tmp_path / "s")), {"full0xxxxxxx": "runs/full.html"})
    assert card.id == "other" and card.truth == (Event(2.0, 4.0),) and card.right == "It happens in [..]."
    assert {answer.name: answer.score for answer in card.answers} == {"full": 0.5, "without": 0.4}
    assert {answer.link for answer in card.answers} == {"runs/full.html", ""}


def test_the_command_finds_a_folder_and_refuses_what_is_none(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = study(tmp_path / "runs" / "ablations" / "s")
    assert main(["report", str(folder), "--out", "pages"]) == 0
    assert main(["report", "s"]) == 0 and main(["report"]) == 0
    assert (tmp_path / "pages" / "index.html").is_file() and "report: " in capsys.readouterr().out
    assert main(["report", "nothing"]) == 2
    assert "d2vlm-lab ablate nothing" in capsys.readouterr().err


def test_kept_results_make_the_page_of_the_runs_that_they_came_from(tmp_path):
    """A kept report has no run folders: nothing is red, the numbers and figures are all there, no file changes."""
    fresh = write_report(study(tmp_path / "s", failed=[("full", 2)]), tmp_path / "kept", tmp_path / "none").parent
    shutil.rmtree(fresh / "runs")
    again = write_report(fresh, tmp_path / "again", tmp_path / "none").parent
    for name in ("runs.csv", "means.csv", "differences.csv", "study.json", f"figures/{F1}.svg", "figures/training.svg"):
        assert (fresh / name).read_bytes() == (again / name).read_bytes()
    page = (again / "index.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 2 and "+0.100 +0.200" in page and "runs/" not in page
    assert re.findall(r"<strong>(\w+)</strong>, seed (\d): <code>([^<]+)", page) == [
        ("full", "2", "its numbers were not kept")]


def test_a_report_never_replaces_the_files_that_it_is_made_from(tmp_path):
    """Kept results know less than the runs they came from, and a folder of runs with tables in it counts as kept."""
    kept = write_report(study(tmp_path / "s"), tmp_path / "kept", tmp_path / "none").parent
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for folder in (kept, tmp_path / "s"):
        with pytest.raises(LabError, match="would replace the files that it is made from"):
            write_report(folder, folder.parent, tmp_path / "none")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", sorted(path.parent.name for path in KEPT.glob("*/study.json")))
def test_the_tables_of_the_kept_results_are_made_again_to_the_last_byte(name, tmp_path):
    write_tables(make_tables(read_results(KEPT / name)), tmp_path)
    for file in ("runs.csv", "means.csv", "differences.csv", "study.json"):
        assert (tmp_path / file).read_bytes() == (KEPT / name / file).read_bytes()
    assert not [run for run in read_results(KEPT / name).runs if run.problem]


def test_own_runs_come_before_kept_results_and_only_once_one_has_finished(tmp_path):
    write_report(study(tmp_path / "s"), tmp_path / "kept", tmp_path / "none")
    study(tmp_path / "runs" / "s", {"full": [0.5]}, failed=[("full", 0)])
    assert find_tables("s", [tmp_path / "runs", tmp_path / "kept"]).seeds == [0, 1, 2]
    study(tmp_path / "runs" / "s", {"full": [0.5], "without": [0.4]}, failed=[("without", 0)])
    assert find_tables("s", [tmp_path / "runs", tmp_path / "kept"]).runs.value.tolist()[:1] == [0.5]


def test_what_could_run_in_a_notebook_is_shown_as_text_and_its_tables_and_pictures_stay(tmp_path):
    html = "<table><tr><td onclick='x()'>7.25</td></tr></table><script>alert(1)</script><a href='javascript:x()'>y</a>"
    outputs = [nbformat.v4.new_output("display_data", data={"text/html": html}),
               nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo="})]
    folder = study(tmp_path / "s")
    cells = [nbformat.v4.new_markdown_cell("`<evi>` <script>alert(2)</script>"),
             nbformat.v4.new_code_cell("1 < 2", outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "full0xxxxxxx" / "notebook.ipynb")
    page = write_report(folder, kept=tmp_path / "none").parent / "runs" / "full-seed0-full0xxxxxxx.html"
    text = page.read_text()
    assert "<script" not in text and "&lt;script&gt;alert(2)" in text and "onclick" not in text
    assert "javascript:" not in text and "<td>7.25</td>" in text and "data:image/png;base64,iVBORw0KGgo=" in text
    assert "<code>&lt;evi&gt;</code>" in text


EVIL = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)><script>x()</script></svg>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>", "<a href=' java\tscript:alert(1)'>x</a>",
        "<iframe src='javascript:alert(1)'></iframe>", "<style>@import url(http://evil/x.css)</style>",
        "<div style='background:url(http://evil/z)'>x</div>", "<form action=http://evil><input name=a></form>",
        "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>", "<base href='http://evil/'>", "<object data='x'>",
        "<meta http-equiv=refresh content='0;url=http://evil'>", "<img src='http://evil/pixel.png'>",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">", "<details open ontoggle=alert(1)>",
        "<img src='data:text/html,<script>alert(1)</script>'>", "<sty<style></style>le>@import 'http://evil'</style>"]


class Tags(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_a_notebook_page_runs_and_loads_nothing_whatever_its_cells_and_outputs_hold(tmp_path):
    new = nbformat.v4.new_output
    outputs = [new("display_data", data={kind: text}) for text in EVIL for kind in ("text/html", "text/markdown")]
    svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(3)</script></svg>"
    outputs += [new("display_data", data={"image/svg+xml": svg}), new("stream", text="\x1b[31m<script>x()</script>"),
                new("display_data", data={"application/javascript": "alert(4)"}),
                new("display_data", data={"text/latex": "$\\href{javascript:x()}{x}$ <script>x()</script>"}),
                new("display_data", data={"image/png": '" onerror="alert(6)'}),
                new("error", ename="<script>", evalue="<b>", traceback=["<script>alert(9)</script>"])]
    links = "[x](javascript:x()) ![x](http://evil/a.png) [y]( data:text/html;base64,xxx)"
    cells = [nbformat.v4.new_markdown_cell("\n\n".join([*EVIL, links])), nbformat.v4.new_raw_cell(EVIL[0]),
             nbformat.v4.new_code_cell("'<script>x()</script>'", outputs=outputs)]
    folder = study(tmp_path / "s")
    title = {"title": "</title><script>alert(11)</script>"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=title), folder / "full0xxxxxxx" / "notebook.ipynb")
    text = (write_report(folder, kept=tmp_path / "none").parent / "runs" / "full-seed0-full0xxxxxxx.html").read_text()
    tags = Tags(text).found
    assert not {tag for tag, _ in tags} & {"script", "iframe", "object", "base", "form", "input", "svg", "math", "link"}
    assert [tag for tag, _ in tags].count("style") == 1 and "@import 'http" not in text.partition("<body>")[0]
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert "url(" not in attributes.get("style", "")
        # A picture that is part of the page runs nothing, also where it is an SVG with a script.
        assert "src" not in attributes or tag == "img" and attributes["src"].startswith("data:image/")
        assert attributes.get("href", "../index.html").startswith(("http://evil", "../index.html")), (tag, attributes)
    assert "Content-Security-Policy" in text and "default-src &#x27;none&#x27;" in text


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"cells": [3], "nbformat": 4, "nbformat_minor": 5}'])
def test_a_notebook_that_is_damaged_takes_no_number_from_the_report(tmp_path, content):
    folder = study(tmp_path / "s")
    (folder / "full0xxxxxxx" / "notebook.ipynb").write_text(content)
    page = write_report(folder, kept=tmp_path / "none").parent
    assert "This notebook cannot be shown" in (page / "runs" / "full-seed0-full0xxxxxxx.html").read_text()
    assert "0.500" in (page / "index.html").read_text()


def test_no_text_of_a_study_or_of_its_answers_becomes_a_tag(tmp_path):
    evil = "<script>x()</script><img src=x onerror=x()>"
    folder = study(tmp_path / "s", question=evil, hypothesis=evil, base={evil: evil},
                   paper=[{"metric": F1, "variant": "without", "value": 1, "source": evil}])
    for place in folder.glob("*/"):
        told = dict.fromkeys(("sample", "task", "video", "question", "truth", "answer"), evil)
        write(place, "predictions.jsonl", [line("s", 1.0, [2.0, 4.0]) | told | {"mIoU": float("full" in place.name)}])
        write(place, "environment.json", dict.fromkeys(("python", "host", "commit"), evil))
    tree = json.loads((folder / "study.json").read_text())
    tree["variants"][f"a {evil}"] = tree["variants"].pop("full")
    tree["runs"] = [run | {"variant": run["variant"].replace("full", f"a {evil}")} for run in tree["runs"]]
    write(folder, "study.json", tree)
    text = write_report(folder, kept=tmp_path / "none").read_text()
    assert "Where variants disagree" in text and "&lt;script&gt;" in text
    assert not [tag for tag, attributes in Tags(text).found if tag == "script" or "onerror" in attributes]


def test_a_question_with_markdown_or_html_in_it_stays_text(tmp_path):
    question = "<img src=x onerror=alert(1)> [x](javascript:alert(2)) ![elsewhere](../s/study.json)?"
    folder = study(tmp_path / "s", question=question)
    text = write_report(folder, kept=tmp_path / "none").read_text()
    assert "&lt;img src=x onerror" in text and 'href="javascript' not in text and "<img src=x" not in text
    assert " elsewhere?" in text and text.count("<img ") == text.count('src="data:image/svg+xml;base64,')


@pytest.mark.parametrize("name, content", [
    ("metrics.json", "{"), ("metrics.json", "[]"), ("metrics.json", "{}"), ("metrics.json", None),
    ("state.json", "[1]"), ("state.json", "")])
def test_a_run_that_is_damaged_is_a_run_without_numbers_and_its_file_is_named(tmp_path, name, content):
    file = study(tmp_path / "s") / "full0xxxxxxx" / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    text = write_report(tmp_path / "s", kept=tmp_path / "none").with_name("README.md").read_text()
    assert f"**full**, seed 0: `{name}" in text or f"without {name}" in text
    assert len(read_results(tmp_path / "s").done) == 5


def test_lines_and_files_that_only_explain_are_left_out_where_they_are_damaged(tmp_path):
    place = study(tmp_path / "s") / "full0xxxxxxx"
    (place / "environment.json").write_text("[1]")
    (place / "history.jsonl").write_text(
        '{"step": 1, "loss_answer": 1}\n{"step": 2, "loss_answer": NaN, "x": [1]}\n{"st\n[]')
    (place / "predictions.jsonl").write_text(json.dumps(line("same", 1.0, None)) + "\n3\n" + json.dumps(
        line("same", 0.5, [2.0, 4.0])))
    run = read_results(tmp_path / "s").runs[0]
    assert run.environment == {} and run.history == [{"step": 1, "loss_answer": 1}, {"step": 2}]
    assert len(run.predictions) == 1 and write_report(tmp_path / "s", kept=tmp_path / "none").is_file()


@pytest.mark.parametrize("changes, words", [
    ({"name": "../../x"}, "name: '../../x' has to be a plain folder name"),
    ({"metrics": ["../../x"]}, "metrics[0]: '../../x' has to be a name"),
    ({"runs": [{"id": "a/../b", "variant": "full", "seed": 0, "folder": "a"}]}, "runs[0].id"),
    ({"runs": [{"id": "a", "variant": "full", "seed": 0, "folder": "../../a"}]}, "runs[0].folder: '../../a' leads"),
    ({"runs": [{"id": "a", "variant": "full", "seed": "0", "folder": "a"}]}, "runs[0].seed: expected a whole number"),
    ({"runs": None}, "runs: expected a list"), ({"variants": []}, "variants: expected an object"),
    ({"paper": [{}]}, "paper[0].metric: the field is missing")])
def test_a_study_that_leads_elsewhere_or_has_another_shape_is_refused_and_nothing_is_written(tmp_path, changes, words):
    folder = study(tmp_path / "runs" / "s", **changes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LabError, match=re.escape(words)):
        write_report(folder, kept=tmp_path / "none")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_folder_that_is_a_link_to_itself_is_a_run_that_is_missing(tmp_path):
    place = study(tmp_path / "s") / "full0xxxxxxx"
    shutil.rmtree(place)
    place.symlink_to(place)
    assert write_report(tmp_path / "s", kept=tmp_path / "none").is_file()


def test_a_page_that_cannot_be_written_leaves_nothing_beside_it(tmp_path):
    folder = study(tmp_path / "s")
    (tmp_path / "out" / "s" / "index.html").mkdir(parents=True)
    with pytest.raises(LabError, match=r"index\.html: a folder stands where"):
        write_report(folder, tmp_path / "out", tmp_path / "none")
    assert not list(tmp_path.rglob("*.partial"))


def test_a_damaged_table_is_named(tmp_path):
    kept = write_report(study(tmp_path / "t"), tmp_path / "kept", tmp_path / "none").parent
    (kept / "runs.csv").write_text("not a table")
    with pytest.raises(LabError, match=r"runs\.csv is damaged .*d2vlm-lab report"):
        read_results(kept)
