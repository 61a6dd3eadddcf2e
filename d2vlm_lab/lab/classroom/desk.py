"""What a student touches: `check.NAME(function)`, `hint.NAME()`, `solution.NAME()` and `progress()`."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from IPython.display import HTML

from .exercise import Exercise
from .marks import marked
from .masters import solution_of
from .pages import all_names, find, names_of
from .student import Complaint, NotYet

GRADING = "NBGRADER_EXECUTION"  # nbgrader sets it while it executes a notebook; only an error costs points there
COLORS = {"passed": "#009E73", "wrong": "#D55E00", "empty": "#777777"}
TITLES = {"passed": "Right.", "wrong": "Not yet.", "empty": "Nothing here yet."}

passed: set[str] = set()  # the exercises, in this kernel
begun: set[str] = set()  # the pages
hinted: dict[str, int] = {}


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found; a notebook shows it as a box."""

    name: str
    page: str
    state: str  # passed, wrong or empty
    message: str = ""
    example: str = ""

    @property
    def passed(self) -> bool:
        return self.state == "passed"

    def __repr__(self) -> str:
        example = textwrap.indent(self.example, "    ")
        return "\n".join(filter(None, [f"{TITLES[self.state]} {self.message}".strip(), example, bar(self.page)]))

    def _repr_html_(self) -> str:
        example = f"<pre style='white-space: pre-wrap; margin: .4em 0'>{escape(self.example)}</pre>" if self.example \
            else ""
        return (f"<div style='border-left: 5px solid {COLORS[self.state]}; padding: .3em .8em; max-width: 50em'>"
                f"<b style='color: {COLORS[self.state]}'>{TITLES[self.state]}</b> {marked(self.message)}{example}"
                f"<div style='color: #555; font-size: 90%'>{escape(bar(self.page))}</div></div>")


class NotPassed(Exception):
    """A verdict as an error without a traceback, for nbgrader, which takes points away for errors alone."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class Desk:
    """`desk.NAME` is what this desk does for the exercise of that name."""

    def __init__(self, purpose: str, serve: Callable):
        self._purpose, self._serve = purpose, serve

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        if (exercise := find(name)) is None:
            raise AttributeError(f"there is no exercise {name!r}; the exercises are {', '.join(all_names())}")
        serve = self._serve
        return lambda *args: serve(exercise, *args)

    def __dir__(self) -> list[str]:
        return all_names()

    def __repr__(self) -> str:
        return self._purpose


def check_answer(exercise: Exercise, *answer) -> Verdict:
    verdict = verdict_on(exercise, *answer)
    begun.add(exercise.page)
    passed.discard(exercise.name)
    if verdict.passed:
        passed.add(exercise.name)
    elif os.environ.get(GRADING):
        raise NotPassed(repr(verdict))
    return verdict


def verdict_on(exercise: Exercise, *answer) -> Verdict:
    try:
        if len(answer) != 1:
            raise Complaint(f"Give the check one thing, your function: `check.{exercise.name}({exercise.name})`.")
        exercise.judge(answer[0])
    except NotYet as complaint:
        return Verdict(exercise.name, exercise.page, "empty", f"{complaint.message} {a_hint(exercise)}")
    except Complaint as complaint:
        return Verdict(exercise.name, exercise.page, "wrong", f"{complaint.message} {a_hint(exercise)}",
                       complaint.example)
    except Exception as error:  # one odd answer must not end the check of all later ones
        return Verdict(exercise.name, exercise.page, "wrong", "The check cannot make sense of what your function "
                       f"returns ({type(error).__name__}). Look at its result yourself. {a_hint(exercise)}")
    return Verdict(exercise.name, exercise.page, "passed")


def a_hint(exercise: Exercise) -> str:
    return f"(For a hint: `hint.{exercise.name}()`.)"


def next_hint(exercise: Exercise) -> HTML:
    """One hint more each time; after the last one, all of them again."""
    n, all_of_them = hinted.get(exercise.name, 0) + 1, len(exercise.hints)
    hinted[exercise.name] = min(n, all_of_them)
    shown = exercise.hints[:n]
    more = f"Run this cell again for hint {n + 1} of {all_of_them}." if n < all_of_them else \
        f"That was the last hint. `solution.{exercise.name}()` shows a solution."
    items = "".join(f"<li>{marked(hint)}</li>" for hint in shown)
    return HTML(f"<ol style='max-width: 50em'>{items}</ol><div style='color: #555'>{marked(more)}</div>")


def show_solution(exercise: Exercise) -> HTML:
    """The solution, folded, from the notebook in which it stands."""
    code = solution_of(exercise.name, exercise.page)
    if code is None:
        return HTML("The solutions are not here. Your lecturer has the edition that contains them.")
    from ..plots.notebook import Source  # it brings every figure along

    return HTML(f"<details><summary>Show a solution</summary>{Source(code)._repr_html_()}</details>")


def bar(page: str) -> str:
    """How many of a page's exercises have passed in this kernel."""
    names = names_of(page)
    done = sum(name in passed for name in names)
    return f"Page {page}: {'■' * done}{'□' * (len(names) - done)} {done} of {len(names)} exercises are done."


def progress() -> HTML:
    """The exercises of all pages that were begun, with a tick at each that has passed."""
    lines = [f"<b>{escape(bar(page))}</b><br>" + "<br>".join(
        f"{'✓' if name in passed else '·'} {name}" for name in names_of(page)) for page in sorted(begun)]
    return HTML("<br>".join(lines) or "No exercise has been checked yet.")


check = Desk("check.NAME(function): is this function right, and if not, what is wrong?", check_answer)
hint = Desk("hint.NAME(): the next hint", next_hint)
solution = Desk("solution.NAME(): a solution, folded", show_solution)
