"""The exercises, tested as a teacher would: solutions pass, stubs are told so, and every mistake is told what it is."""

import math
from fractions import Fraction
from functools import partial

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from classroom_mistakes import EYE, FIRST, MISTAKES, THREE

from d2vlm_lab.lab.classroom import check, desk, hint, progress, solution
from d2vlm_lab.lab.classroom.desk import verdict_on
from d2vlm_lab.lab.classroom.editions import student
from d2vlm_lab.lab.classroom.masters import CHECK, cells, grade_id, masters, role, source
from d2vlm_lab.lab.classroom.pages import all_names, find

NOTEBOOKS = list(masters())
EXERCISES = {name: find(name) for name in all_names()}


def namespace(cells):
    """What the code of a notebook defines, without its checks and its demonstrations."""
    names = {}
    for cell in cells:
        shows = "demonstration" in cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and not role(cell)[0] and not shows:
            exec(compile(source(cell).replace("%matplotlib inline", ""), "notebook", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def a_fresh_desk():
    desk.passed.clear()
    desk.begun.clear()
    desk.hinted.clear()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_solution_passes_its_check(path):
    names = namespace(cells(path))
    for name in [name for name, exercise in EXERCISES.items() if exercise.page == path.name[:2]]:
        verdict = verdict_on(EXERCISES[name], names[name])
        assert verdict.passed, repr(verdict)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stub_that_was_left_alone_is_told_so_kindly(path):
    names = namespace(student(nbformat.read(path, as_version=4)).cells)
    for name in [name for name, exercise in EXERCISES.items() if exercise.page == path.name[:2]]:
        verdict = verdict_on(EXERCISES[name], names[name])
        assert verdict.state == "empty" and "nothing to check yet" in verdict.message


@pytest.mark.parametrize("name", EXERCISES)
def test_typical_mistakes_are_caught_each_with_its_own_message(name):
    said = []
    for answer, telling in MISTAKES[name]:
        verdict = verdict_on(EXERCISES[name], answer)
        assert verdict.state == "wrong" and telling in verdict.message, f"{telling!r} is missing in: {verdict!r}"
        said.append(verdict.message)
    assert len(set(said)) == len(said) >= 3


@pytest.mark.parametrize("weight, passed", [(0.03, False), (0.034, False), (0.035, True), (10 / 288, True),
                                            (0.04, False)])
def test_a_small_number_is_checked_to_three_digits(weight, passed):
    guess = {"1 event, width 96": 96, "3 events, width 96": 288, "3 events, width 4096": 12288}
    assert verdict_on(find("sum_or_mean"), lambda: guess | {"weight of the sum": weight}).passed == passed


@pytest.mark.parametrize("name, right", [
    ("first_step", {key: int(value) for key, value in FIRST.items()}),
    ("first_step", {key: np.bool_(value) for key, value in FIRST.items()}),
    ("first_step", {key: torch.tensor(value) for key, value in FIRST.items()}),
    ("three_answers", {key: np.float32(round(value, 2)) for key, value in THREE.items()}),
    ("three_answers", {key: torch.tensor(value) for key, value in THREE.items()}),
    ("three_answers", THREE | {"three times, free, 0.5": Fraction(2, 3)}),
    ("by_eye", EYE | {"A": np.array([2, 4]), "B": torch.tensor([4, 5])})])
def test_a_right_prediction_passes_in_whatever_form_it_was_computed(name, right):
    assert verdict_on(find(name), lambda: right).passed


def test_true_is_as_good_as_one_where_a_number_is_wanted():
    def iou(a, b):
        shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
        together = a[1] - a[0] + b[1] - b[0] - shared
        return shared / together if together else a == b
    assert check.iou(iou).passed


@pytest.mark.parametrize("logarithm", [
    lambda p: (p + 1e-8).log(), lambda p: (p + 1e-12).log(), lambda p: p.clamp_min(1e-7).log(),
    lambda p: p.log().clamp_min(-100)])
def test_a_loss_that_is_cut_off_is_told_so_however_it_is_cut(logarithm):
    def loss(z, y, m):
        p = z.sigmoid()
        each = -(y * logarithm(p) + (1 - y) * logarithm(1 - p))
        return each.masked_fill(~m, 0).sum(-1) / m.sum(-1)
    assert "your logarithm is cut off" in verdict_on(find("grounding_loss"), loss).message


def test_a_stuttering_answer_is_a_mistake_of_how():
    assert check.my_mistake(lambda e, c, d: ("how", e, [(k, "the " + words) for k, words in c])).passed


@pytest.mark.parametrize("name", EXERCISES)
def test_no_message_contains_the_solution(name):
    lines = [line.strip() for line in solution_lines(name)]
    for answer, _ in MISTAKES[name]:
        verdict = verdict_on(EXERCISES[name], answer)
        assert not [line for line in lines if line and line in verdict.message + verdict.example]


def solution_lines(name):
    text = next(source(cell) for path in NOTEBOOKS for cell in cells(path) if grade_id(cell) == name)
    return text.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0].splitlines()


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_to_be_written_is_at_most_fifteen_lines(name):
    assert len([line for line in solution_lines(name) if line.strip()]) <= 15


def raises(*_):
    return [][0]


def is_interrupted(*_):
    raise KeyboardInterrupt


def changes_its_input(intervals, n_frames, base):
    intervals += 1
    return intervals


@pytest.mark.parametrize("answer, telling", [
    (raises, "this error: IndexError: list index out of range"),
    (lambda intervals, n_frames, base: None, "returns None"),
    (lambda intervals, n_frames, base: [[1.0]], "It should return a tensor"),
    (lambda intervals, n_frames, base: torch.ones(n_frames), "the shape (3,), but for this input it should be (1, 3)"),
    (lambda intervals, n_frames, base: torch.ones(1, n_frames, dtype=torch.bool), "holds True and False"),
    (lambda intervals, n_frames, base: torch.ones(1, n_frames, dtype=torch.long), "whole numbers only"),
    (lambda intervals, n_frames, base: torch.full((1, n_frames), torch.nan), "contains `nan`"),
    (lambda intervals, n_frames, base: np.ones((1, n_frames)), "a NumPy array"),
    (lambda intervals: torch.ones(1, 3), "is called with intervals, n_frames, base in its brackets"),
    (is_interrupted, "a loop that never ends"), (lambda *_: exit(1), "ends Python"),
    (changes_its_input, "changes its argument `intervals`"),
    (torch.ones(1, 3), "your function itself, without brackets"),
    (lambda intervals, n_frames, base: torch.nn.Parameter(torch.zeros(1, n_frames)), "not the right result"),
])
def test_whatever_is_wrong_with_a_function_is_said_without_a_traceback(answer, telling):
    verdict = check.frame_targets(answer)
    assert not verdict.passed and telling in verdict.message
    assert "Traceback" not in repr(verdict) and "classroom" not in repr(verdict)


def test_a_result_that_needs_a_gradient_is_as_good_as_one_that_does_not():
    def with_weights(intervals, n_frames, base):
        right = EXERCISES["frame_targets"].right(intervals, n_frames, base)
        return right * torch.nn.Parameter(torch.ones(()))
    assert check.frame_targets(with_weights).passed


def test_the_smallest_input_that_shows_the_mistake_is_shown():
    verdict = check.salient_interval(lambda curve: (0, len(curve) - 1))
    assert "curve = [0.1, 0.9, 0.8, 0.1]\nyour result: (0, 3)" in verdict.example


def test_a_check_without_a_function_and_an_exercise_that_does_not_exist():
    assert "Give the check one thing" in check.iou().message
    with pytest.raises(AttributeError, match="there is no exercise 'ious'; the exercises are event_seconds, iou"):
        check.ious(None)
    assert "iou" in dir(check)


def test_hints_come_one_by_one_and_the_solution_is_folded():
    first, second = hint.iou().data, hint.iou().data
    assert first.count("<li>") == 1 and second.count("<li>") == 2 and "hint 2 of 3" in first
    assert "solution.iou()" in hint.iou().data
    folded = solution.iou().data
    assert folded.startswith("<details>") and "BEGIN SOLUTION" not in folded and "max" in folded


def test_without_the_masters_a_solution_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr("d2vlm_lab.lab.classroom.masters.MASTERS", tmp_path)
    assert "Your lecturer" in solution.iou().data


def test_progress_counts_what_has_passed_and_forgets_what_was_broken():
    assert "No exercise" in progress().data
    check.iou(raises)
    assert "□□□□□ 0 of 5" in progress().data and "· iou" in progress().data
    right = EXERCISES["iou"].right
    assert "■□□□□ 1 of 5" in repr(check.iou(right)) and "✓ iou" in progress().data
    assert "□□□□□ 0 of 5" in repr(check.iou(lambda a, b: 0.0))


def test_a_verdict_is_safe_to_show_whatever_the_student_returns():
    verdict = check.mentions(lambda text: "<script>alert(1)</script>")
    assert "<script>" not in verdict._repr_html_()


def test_for_nbgrader_a_failed_check_is_an_error_without_a_traceback(monkeypatch):
    monkeypatch.setenv(desk.GRADING, "autograde")
    assert check.iou(EXERCISES["iou"].right).passed
    with pytest.raises(desk.NotPassed) as error:
        check.iou(lambda a, b: 1.0)
    assert error.value._render_traceback_()[0].startswith("Not yet.")


def test_every_exercise_states_its_kind_its_difficulty_its_minutes_and_its_points():
    stated, minutes = [], {"": 0, "core": 0}
    for path in NOTEBOOKS:
        read = cells(path)
        for k, cell in enumerate(read):
            if role(cell) == (False, True):
                before = [source(each) for each in read[:k] if each["cell_type"] == "markdown"][-1]
                kind, difficulty, time_needed, worth, *core = before.splitlines()[2].strip("*").split(" · ")
                stated.append((grade_id(cell), kind))
                assert difficulty.count("●") + difficulty.count("○") == 3
                assert worth.split()[0] == str(read[k + 1]["metadata"]["nbgrader"]["points"])
                minutes["".join(core)] += int(time_needed.split()[0])
    assert {name for name, _ in stated} == set(EXERCISES) and len(stated) >= 36
    assert sum(kind == "Open" for _, kind in stated) == 3
    assert {kind for _, kind in stated} == {"Implement", "Predict before you run", "Break it and explain",
                                            "Read the curve", "Open"}
    assert 2.5 * 60 < minutes["core"] < 3.5 * 60 and sum(minutes.values()) < 8 * 60


def test_every_notebook_has_three_exercises_or_more_and_one_check_for_each():
    for path in NOTEBOOKS:
        read = cells(path)
        names = [grade_id(cell) for cell in read if role(cell) == (False, True)]
        assert len(names) >= 3
        checks = [cell for cell in read if role(cell) == (True, False)]
        assert [grade_id(cell) for cell in checks] == [CHECK + name for name in names]
        assert [source(cell) for cell in checks] == [f"check.{name}({name})" for name in names]
        manual = [cell for cell in read if role(cell) == (True, True)]
        assert all(cell["cell_type"] == "markdown" and cell["metadata"]["nbgrader"]["points"] for cell in manual)
    assert len(NOTEBOOKS) == 10


@pytest.mark.parametrize("small", [1e-4, 1e-6, 1e-7])
def test_a_small_number_that_keeps_a_logarithm_finite_is_named(small):
    """Whether it is added or bounds the probability, which are both frequent."""
    for pair in (lambda c, r, beta: -(torch.sigmoid(beta * (c - r)) + small).log(),
                 lambda c, r, beta: -torch.sigmoid(beta * (c - r)).clamp_min(small).log()):
        assert "also flat" in verdict_on(EXERCISES["fpo_loss"], pair).message
    verdict = verdict_on(EXERCISES["grounding_loss"], lambda z, y, m: (F.binary_cross_entropy(
        z.sigmoid().clamp(small, 1 - small), y, reduction="none") * m).sum(-1) / m.sum(-1))
    assert "your logarithm is cut off" in verdict.message


CYCLE: list = []
CYCLE.append(CYCLE)


class Unprintable:
    def __repr__(self):
        raise ValueError


ODD = [None, 7, -1.5, math.nan, True, "text", "", [], (), {}, [[]], [None, None], (None, None), ("when", None, None),
       {"A": 1}, [1, 2, 3], [(0, 1)], [((0, 1), (2, 3))], torch.tensor(1.0), torch.zeros(0), torch.zeros(2, 3, 4),
       torch.eye(2).bool(), torch.tensor([torch.nan]), torch.tensor([1j]), np.array(["a"], dtype=object), np.zeros(3),
       CYCLE, [(math.nan, math.nan)], ((torch.full((3, 4), math.nan),) * 2,) * 2, Unprintable(), object,
       (torch.zeros(1), torch.zeros(1)), range(3), {1, 2}, iter([1])]


@pytest.mark.parametrize("name", EXERCISES)
def test_whatever_a_function_returns_the_check_answers_with_a_sentence(name):
    for value in ODD:
        verdict = verdict_on(EXERCISES[name], lambda *_, value=value: value)
        assert verdict.state == "wrong" and verdict.message and "Traceback" not in repr(verdict)
        assert verdict._repr_html_().startswith("<div")
    nameless = verdict_on(EXERCISES[name], partial(lambda first: first, 0))
    assert nameless.state == "wrong" and nameless.message
