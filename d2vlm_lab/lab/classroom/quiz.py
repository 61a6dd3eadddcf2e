"""`quiz.show("03")`: the questions of a page, as a form that answers at once, or as text to unfold.

The questions are in `notebooks/exercises/quiz/`, one file for each page. Every wrong choice says why it is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml
from ipywidgets import HTML, Layout, RadioButtons, VBox

from ...config import ROOT
from ...errors import LabError
from .marks import marked

FOLDER = ROOT / "notebooks" / "exercises" / "quiz"
RIGHT, WRONG = "#009E73", "#D55E00"


@dataclass(frozen=True)
class Choice:
    text: str
    because: str
    right: bool


@dataclass(frozen=True)
class Question:
    text: str
    choices: tuple[Choice, ...]


def show(page: str) -> Quiz:
    """The quiz of a page, as the last line of a cell."""
    return Quiz(str(page), read(FOLDER / f"{page}.yaml"))


def read(path: Path) -> list[Question]:
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise LabError(f"there is no quiz for page {path.stem!r}; there is one for {known}")
    questions = []
    for n, entry in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")), 1):
        where = f"{path}, question {n}"
        if set(entry) != {"question", "choices"}:
            raise LabError(f"{where}: needs the keys question and choices, but has {', '.join(entry)}")
        choices = [_choice(choice, where) for choice in entry["choices"]]
        Random(entry["question"]).shuffle(choices)  # the right one may stand first in the file
        if sum(choice.right for choice in choices) != 1 or len(choices) < 2:
            raise LabError(f"{where}: needs at least two choices, of which exactly one is right")
        questions.append(Question(entry["question"], tuple(choices)))
    return questions


def _choice(choice: dict, where: str) -> Choice:
    for kind in ("right", "wrong"):
        if set(choice) == {kind, "because"}:
            return Choice(choice[kind], choice["because"], kind == "right")
    raise LabError(f"{where}: a choice has the keys right or wrong, and because; here it has {', '.join(choice)}")


class Quiz:
    """The questions of a page; a notebook shows them as a form."""

    def __init__(self, page: str, questions: list[Question]):
        self.page, self.questions = page, questions
        self.answers: dict[int, bool] = {}  # the first answer to each question counts

    def __repr__(self) -> str:
        return f"{len(self.questions)} questions about page {self.page}"

    def _repr_mimebundle_(self, **_):
        """Both forms at once: a page picks the widget if it can show one."""
        self.form = self.widget()
        return self.form._repr_mimebundle_() | {"text/html": self.html(), "text/plain": repr(self)}

    def widget(self) -> VBox:
        score = HTML()
        forms = [self._form(n, question, score) for n, question in enumerate(self.questions)]
        return VBox([*forms, score], layout=Layout(max_width="50em"))

    def _form(self, n: int, question: Question, score: HTML) -> VBox:
        """One question: its choices, and behind them what is said about the one that was chosen."""
        choices = {choice.text.replace("`", ""): choice for choice in question.choices}
        buttons = RadioButtons(options=list(choices), value=None, layout=Layout(width="100%"))
        said = HTML()

        def choose(change: dict) -> None:
            if (choice := choices.get(change["new"])) is None:
                return
            said.value = _answer(choice)
            self.answers.setdefault(n, choice.right)
            score.value = (f"<b>{sum(self.answers.values())} of {len(self.answers)} right at the first try</b>"
                           + (f", {left} to go" if (left := len(self.questions) - len(self.answers)) else "."))

        buttons.observe(choose, "value")
        return VBox([HTML(f"<b>{n + 1}.</b> {marked(question.text)}"), buttons, said])

    def html(self) -> str:
        """A form that needs no Python: every choice unfolds what is to be said about it."""
        items = "".join(
            f"<li style='margin-bottom: .8em'>{marked(question.text)}" + "".join(
                f"<details style='margin-left: 1em'><summary>{marked(choice.text)}</summary>"
                f"<div style='margin-left: 1.2em'>{_answer(choice)}</div></details>" for choice in question.choices)
            + "</li>" for question in self.questions)
        return f"<ol style='max-width: 50em'>{items}</ol>"


def _answer(choice: Choice) -> str:
    color, word = (RIGHT, "Right.") if choice.right else (WRONG, "No.")
    return f"<b style='color: {color}'>{word}</b> {marked(choice.because)}"
