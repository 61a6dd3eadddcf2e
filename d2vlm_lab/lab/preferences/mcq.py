"""Multiple-choice questions made of a chosen answer and its rejected ones: pick the right one among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from ...data.pairs import PreferencePair
from ...ideas.evidence import EVIDENCE, Interval, seconds
from ...ideas.rejected import Rejected

LETTERS = "ABCDE"


def multiple_choice(preference: PreferencePair, seed: int = 0) -> PreferencePair:
    """The question with all answers as options, times as evidence of the question; wrong letters are rejected."""
    sample, rng = preference.chosen, Random(f"{seed} {preference.chosen.id}")
    wrong = preference.rejected[:len(LETTERS) - 1]
    answers = [(sample.events, sample.answer, None), *((r.events, r.answer, r) for r in wrong)]
    rng.shuffle(answers)
    correct = next(k for k, (_, _, rejected) in enumerate(answers) if rejected is None)
    told = [_option(events, pieces) for events, pieces, _ in answers]
    listed = " ".join(f"({letter}) {text}" for letter, (text, _) in zip(LETTERS, told))
    question = f"{sample.question} {listed}"
    asked = (*sample.question_intervals, *(span for _, spans in told for span in spans))
    options = tuple(_plain(text, spans) for text, spans in told)
    choice = replace(sample, id=f"{sample.id}/choice", task="mcq", question=question, events=(),
                     answer=(f"({LETTERS[correct]})",), question_intervals=asked, options=options, correct=correct)
    rejected = tuple(Rejected((), (f"({letter})",), "choice", r.factor, r.strength)
                     for letter, (_, _, r) in zip(LETTERS, answers) if r is not None)
    return PreferencePair(choice, rejected)


def _option(events: Sequence, pieces: Sequence[str | int]) -> tuple[str, list[Interval]]:
    spans = [events[piece].interval for piece in pieces if not isinstance(piece, str)]
    return "".join(piece if isinstance(piece, str) else EVIDENCE for piece in pieces), spans


def _plain(text: str, spans: Sequence[Interval]) -> str:
    for span in spans:
        text = text.replace(EVIDENCE, seconds(span), 1)
    return text
