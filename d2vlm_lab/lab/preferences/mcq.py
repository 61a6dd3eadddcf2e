"""Multiple-choice questions made of a chosen answer and its rejected ones: which of them is right?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from ...data.pairs import PreferencePair
from ...data.sample import Sample
from ...ideas.evidence import EVIDENCE, Interval, seconds
from ...ideas.rejected import Rejected

LETTERS = "ABCDE"


def multiple_choice(preference: PreferencePair, seed: int = 0) -> PreferencePair:
    """The question with all answers as options, whose times are evidence tokens; the wrong letters are rejected.

    Answers that read alike are one option; without two there is nothing to choose from, and nothing is rejected.
    """
    sample = preference.chosen
    answers = list(different([sample, *preference.rejected]))[:len(LETTERS)]
    Random(f"{seed} {sample.id}").shuffle(answers)
    correct = next(k for k, answer in enumerate(answers) if answer is sample)
    listed = " ".join(f"({letter}) {_text(answer, lambda _: EVIDENCE)}" for letter, answer in zip(LETTERS, answers))
    intervals = [answer.events[piece].interval for answer in answers for piece in answer.answer
                 if not isinstance(piece, str)]
    choice = replace(sample, id=f"{sample.id}/choice", task="mcq", question=f"{sample.question} {listed}", events=(),
                     answer=(f"({LETTERS[correct]})",), question_intervals=(*sample.question_intervals, *intervals),
                     options=tuple(_text(answer, seconds) for answer in answers), correct=correct)
    wrong_letters = tuple(Rejected((), (f"({letter})",), "choice", answer.factor, answer.strength)
                          for letter, answer in zip(LETTERS, answers) if answer is not sample)
    return PreferencePair(choice, wrong_letters)


def different(answers: list[Sample | Rejected]) -> Iterator[Sample | Rejected]:
    """The answers without those that read like an earlier one: their times differ by less than is shown."""
    seen = set()
    for answer in answers:
        if (text := _text(answer, seconds)) not in seen:
            seen.add(text)
            yield answer


def _text(answer: Sample | Rejected, show: Callable[[Interval], str]) -> str:
    return "".join(piece if isinstance(piece, str) else show(answer.events[piece].interval) for piece in answer.answer)
