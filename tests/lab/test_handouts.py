"""Slides and handout: every figure is drawn, every formula becomes a picture, and each is one file."""

import re
import shutil

import pytest

from d2vlm_lab.cli import main
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab import lesson
from d2vlm_lab.lab.plots import new_figure
from d2vlm_lab.lab.teaching.command import BROWSERS, SOURCES, printed
from d2vlm_lab.lab.teaching.document import to_html
from d2vlm_lab.lab.teaching.figures import Figures


def blank(name):
    return new_figure(1, 1)[0]


def test_a_formula_is_a_picture_on_the_line_of_its_text_and_keeps_its_source_for_readers_who_cannot_see_it():
    html = to_html("The loss is $-\\log p_g$ here.\n\n$$\nL = \\frac{1}{F} \\sum_t y_t\n$$\n", blank)
    picture = r'<img class="math" alt="([^"]*)" style="height:[\d.]+em;vertical-align:-?[\d.]+em"'
    inline, block = re.findall(picture, html)
    assert (inline, block) == ("-\\log p_g", "L = \\frac{1}{F} \\sum_t y_t")
    assert "$" not in re.sub(r'"[^"]*"', "", html)


def test_a_figure_is_drawn_by_name_and_described_by_its_caption():
    asked = []
    html = to_html("![Curves of <b>three</b> tokens](figure:curves)", lambda name: asked.append(name) or blank(name))
    assert asked == ["curves"]
    assert 'alt="Curves of' in html
    assert 'src="data:image/png;base64,' in html


def test_an_unknown_figure_is_named_together_with_those_that_there_are(tmp_path):
    with pytest.raises(LabError, match="no figure 'curve'; there are curves, evidence"):
        Figures(world=None).draw("curve")


def test_the_command_writes_about_twenty_slides_and_a_handout_that_need_no_other_file(tmp_path, monkeypatch, capsys):
    lesson.setup(tmp_path / "world", videos=10)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["handouts", str(tmp_path / "out"), "--world", str(tmp_path / "world"), "--videos", "10"]) == 0
    slides, handout = ((tmp_path / "out" / f"{name}.html").read_text() for name in ("slides", "handout"))
    assert 18 <= slides.count("<section") <= 24
    assert all(address.startswith("data:") for address in re.findall(r'src="([^"]*)"', slides + handout))
    assert "figure:" not in slides + handout
    assert "open handout.html in a browser and print it" in capsys.readouterr().out


@pytest.mark.parametrize("script, why", [("exit 21", "ended with status 21"), ("exit 0", "ended with status 0"),
                                         (None, "did not do it")])
def test_a_browser_that_fails_is_named_and_both_pages_are_there(tmp_path, monkeypatch, capsys, script, why):
    browser = tmp_path / "chromium"
    browser.write_text(f"#!/bin/sh\n{script}\n" if script else "")  # an empty file is no program
    browser.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(browser))
    monkeypatch.setattr(lesson, "setup", lambda *world: None)
    for name in ("slides", "handout"):
        (tmp_path / f"{name}.md").write_text("# One")
    assert main(["handouts", str(tmp_path / "out"), "--sources", str(tmp_path)]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["handout.html", "slides.html"]
    said = capsys.readouterr().out
    assert said.count(why) == 2 and "open handout.html in a browser and print it into a file" in said


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="needs Chromium or Chrome")
def test_the_handout_fits_on_two_pages_and_each_slide_on_one(tmp_path):
    from d2vlm_lab.lab.teaching import command

    figures = Figures(world=None)
    figures.draw = lambda name: new_figure(9, 5)[0]
    for name, make, pages in (("slides", command.slides, 20), ("handout", command.handout, 2)):
        page = tmp_path / f"{name}.html"
        page.write_text(make((SOURCES / f"{name}.md").read_text(), figures))
        assert len(re.findall(rb"/Type\s*/Page\b", printed(page).read_bytes())) == pages


def test_sources_that_cannot_be_read_are_named_and_nothing_is_made(tmp_path, capsys):
    (tmp_path / "slides.md").write_text("# One")
    for content, message in ((None, "handout.md: no such file"), (b"\xe9", "handout.md: line 1: not UTF-8")):
        if content:
            (tmp_path / "handout.md").write_bytes(content)
        assert main(["handouts", str(tmp_path / "out"), "--sources", str(tmp_path), "--world",
                     str(tmp_path / "world")]) == 2
        assert message in capsys.readouterr().err and not {"out", "world"} & {p.name for p in tmp_path.iterdir()}
    assert main(["handouts", str(tmp_path / "slides.md"), "--world", str(tmp_path / "world")]) == 2
    assert "slides.md is not a folder" in capsys.readouterr().err
