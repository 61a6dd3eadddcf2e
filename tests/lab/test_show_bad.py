"""Pages of predictions that hold anything at all: they are shown with every text escaped, or named and left out."""

import json
import re

import pytest

from d2vlm_lab.cli import main

GOOD = {"idx": 0, "task": "tvg", "source": "s", "video": "v.mp4", "duration": 20.0, "tgt": [1.0, 2.0], "q": "when?",
        "a": "1.0 - 2.0 </evi> in 1.0 - 2.0", "shown": [0.0, 19.0],
        "evidence": [{"interval": [1.0, 2.0], "confidence": 0.5, "curve": [0.1, 0.9, 0.2]}]}
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"


def page(folder, *records, notes=None):
    """The status of `show` and its page, if there is one."""
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "p.json").write_text(json.dumps(records))
    (folder / "run" / "run.json").write_text(json.dumps(notes or {}))
    (folder / "page.html").unlink(missing_ok=True)
    status = main(["show", str(folder / "run"), "--out", str(folder / "page.html")])
    return status, (folder / "page.html").read_text() if status == 0 else ""


def test_no_text_of_a_prediction_becomes_a_part_of_the_page(tmp_path):
    texts = dict.fromkeys(("q", "a", "video", "error", "task", "source", "sample", "idx"), EVIL)
    choice = {"task": "rar", "o": [EVIL, "b"], "p": 0, "q": "?", "a": EVIL, "A": EVIL, "question_id": EVIL}
    captioned = GOOD | {"task": "dvc", "tgt": [[1.0, 2.0]], "g": [EVIL]}
    mvbench = {"pred": EVIL, "A": f"(A) {EVIL}", "task_type": EVIL}
    status, html = page(tmp_path, GOOD | texts, choice, captioned, mvbench,
                        notes={"benchmark": EVIL, "checkpoint": EVIL, "decoding": {EVIL: EVIL}, "videos": EVIL})
    assert status == 0 and html.count("&lt;script&gt;") > 10
    assert not re.search(r"<(script|img src=x)", html) and "onerror=alert(1)>" not in html


@pytest.mark.parametrize("field", GOOD)
def test_a_prediction_that_cannot_be_shown_is_named_and_the_others_are_shown(tmp_path, capsys, field):
    for value in (None, True, -1, float("nan"), 10**400, "", "x", [], {}, [None], [[]], [[[3]]], {"a": 1}):
        status, html = page(tmp_path, GOOD, GOOD | {field: value})
        out = capsys.readouterr().out
        assert status == 0 and html.count("<article") in (1, 2)
        assert html.count("<article") == 2 or "p.json, record 2" in out


def test_options_and_notes_that_are_wrong_are_one_line(tmp_path, capsys):
    assert page(tmp_path, GOOD)[0] == 0
    run = str(tmp_path / "run")
    predictions = str(tmp_path / "run" / "p.json")
    for source in (predictions, run):
        assert main(["show", source, "--out", predictions]) == 2
        assert "p.json: this is a file that is read" in capsys.readouterr().err
    for words in (["--out", str(tmp_path)], ["--out", "/proc/x.html"], ["--limit", "0"], ["--videos", "/nowhere"],
                  ["--task", EVIL]):
        assert main(["show", run, *words]) == 2
    assert page(tmp_path, 3)[0] == 2 and page(tmp_path)[0] == 2
    for notes in ({"method": {"salience_value": "x"}}, {"videos": 3}, {"decoding": []}):
        assert page(tmp_path, GOOD, notes=notes)[0] == 2
    assert all("\n" not in line.strip() for line in capsys.readouterr().err.splitlines())
