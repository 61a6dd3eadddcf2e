"""The quizzes: every wrong choice is explained, and both forms of a quiz say the same."""

import pytest

from d2vlm_lab.config import ROOT
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.classroom import quiz
from d2vlm_lab.lab.classroom.marks import marked

PAGES = sorted(path.stem for path in quiz.FOLDER.glob("*.yaml"))


def test_there_are_forty_questions_or_more_and_four_for_each_page():
    assert sorted(path.name.split("_")[0] for path in (ROOT / "notebooks/walkthrough").glob("*.ipynb")) == PAGES
    questions = [question for page in PAGES for question in quiz.show(page).questions]
    assert len(questions) >= 40 and all(len(quiz.show(page).questions) >= 4 for page in PAGES)
    assert len({question.text for question in questions}) == len(questions)
    for question in questions:
        texts = [choice.because for choice in question.choices]
        assert len(set(texts)) == len(texts) >= 3 and all(len(text) > 15 for text in texts)


def test_the_right_choice_is_not_always_at_the_same_place():
    places = [[choice.right for choice in question.choices].index(True)
              for page in PAGES for question in quiz.show(page).questions]
    assert all(places.count(place) >= 8 for place in (0, 1, 2))
    assert quiz.show("03").html() == quiz.show("03").html()


def test_the_form_explains_a_choice_and_counts_the_first_try():
    shown = quiz.show("04")
    form = shown.widget()
    first, score = form.children[0], form.children[-1]
    _, buttons, said = first.children
    question = shown.questions[0]
    wrong = next(choice for choice in question.choices if not choice.right)
    right = next(choice for choice in question.choices if choice.right)
    assert buttons.value is None and said.value == ""
    buttons.value = wrong.text
    assert "No." in said.value and wrong.because in said.value
    buttons.value = right.text
    assert "Right." in said.value and "0 of 1 right at the first try" in score.value and "3 to go" in score.value


def test_a_page_without_python_gets_every_choice_to_unfold():
    bundle = quiz.show("06")._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"} <= set(bundle)
    page = bundle["text/html"]
    assert page.count("<details") == sum(len(question.choices) for question in quiz.show("06").questions)
    assert "<code>&lt;evi&gt;</code>" in page and "<evi>" not in page


def test_a_page_without_a_quiz(tmp_path):
    with pytest.raises(LabError, match="no quiz for page '12'; there is one for 00, 01"):
        quiz.show("12")


@pytest.mark.parametrize("text, telling", [
    ("- question: Why", "question 1: needs the keys question and choices"),
    ("- {question: Why, choices: [{wrong: a, because: b}, {wrong: c, because: d}]}", "exactly one is right"),
    ("- {question: Why, choices: [{right: a}]}", "a choice has the keys right or wrong, and because"),
])
def test_a_mistake_in_a_file_of_questions_is_named(text, telling, tmp_path):
    (tmp_path / "00.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match=telling):
        quiz.read(tmp_path / "00.yaml")


def test_sentences_may_hold_code_and_stress():
    assert marked("the *last* `<evi>` of 2 * 3 * 4") == "the <em>last</em> <code>&lt;evi&gt;</code> of 2 * 3 * 4"
    assert marked("`a * b * c`") == "<code>a * b * c</code>"
