"""Which option an answer names: a letter, the option's own words, or, failing both, the most similar option."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .reading import split_answer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PREAMBLE = re.compile(r"\s*(?:the\s+)?(?:(?:best|correct|right)\s+)?(?:option|answer|choice)\b(?:\s+is\b)?[\s:]*", re.I)
LEADING = re.compile(r"\(?\s*([a-z])\s*(?:[).,:]|$)", re.I)
SPACED = re.compile(r"([a-z])\s", re.I)
IN_BRACKETS = re.compile(r"\(([a-z])\)", re.I)


@dataclass(frozen=True)
class Choice:
    """Letters in the order in which they are found, None for one that is no option; `rest` is what can be compared.

    `formed`: something that looks like a letter was found, whether an option or not.
    """

    letters: tuple[int | None, ...] = ()
    rest: str = ""
    formed: bool = False


def read_choice(text: str, options: Sequence[str]) -> Choice:
    """At most one letter, the one the answer is about, or of the one option whose words it says.

    "A man walks" is no letter.
    """
    answer = split_answer(text)[1]
    preamble = PREAMBLE.match(answer)
    rest = answer[preamble.end() if preamble else 0:].strip()
    letter = _letter(rest, [_plain(option) for option in options])
    index = LETTERS.find(letter.lower()) if letter else -1
    return Choice((index,), rest, True) if 0 <= index < len(options) else Choice((), rest)


def option_texts(options: Sequence) -> list[str]:
    """Options as answers are compared with them; an interval is written "start - end"."""
    return [option if isinstance(option, str) else f"{option[0]} - {option[1]}" for option in options]


def decide(choice: Choice, right: int, second_chance: bool = False) -> bool | None:
    """Whether the letters are right; None where none of them settles it and similarity has to."""
    for letter in choice.letters:
        if letter == right:
            return True
        if letter is not None and not second_chance:
            return False
    return None


def _letter(text: str, options: list[str]) -> str | None:
    if match := LEADING.match(text):
        return match[1]
    if match := IN_BRACKETS.search(text):
        return match[1]
    said = [i for i, option in enumerate(options) if option and f" {option} " in f" {_plain(text)} "]
    if len(said) == 1:
        return LETTERS[said[0]]
    match = SPACED.match(text)
    return match[1] if match and match[1].lower() != "a" else None


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
