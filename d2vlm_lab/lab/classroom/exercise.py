"""What an exercise is: the cases that an answer is tried on, and what to say about a wrong one.

A `Comparison` knows the right function and typical wrong ones. If a wrong one gives the same results as the student's
function, its message says which thought went wrong. A `Judgement` looks at the answer itself: something that the
student was asked to build.
Cases go from small to large, so that the first one that fails is the smallest input that shows the mistake.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from .compare import same
from .show import shown, shown_inputs
from .student import Complaint, call, described

NONE = "Your function returns None. Is the last line a `return`?"
FAILED = object()  # stands for the result of a function that stopped with an error
FORMS = ((bool, "True or False"), (Real, "a number"), ((list, tuple), "a pair of numbers"), (str, "a text"))


@dataclass(frozen=True)
class Mistake:
    """A typical mistake, as a function, and what to say to somebody who made it."""

    says: str
    wrong: Callable


@dataclass(frozen=True)
class Exercise:
    name: str
    page: str  # two digits
    inputs: str  # the names of the arguments, with blanks between them
    hints: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return self.inputs.split()

    def judge(self, answer) -> None:
        """Nothing for a right answer; a Complaint for any other."""
        raise NotImplementedError


@dataclass(frozen=True)
class Comparison(Exercise):
    """The answer must give what `right` gives, on every case."""

    returns: str  # what the function returns, in words, with its shape
    right: Callable
    cases: Sequence[tuple]
    mistakes: tuple[Mistake, ...]
    learns: tuple[int, ...] = ()  # the arguments that must receive a gradient

    def judge(self, answer) -> None:
        for args in self.cases:
            result, wanted = call(answer, args, self.names), self.right(*args)
            if not same(result, wanted):
                example = f"{shown_inputs(self.names, args)}\nyour result: {shown(result)}"
                raise Complaint(self.explain(answer, args, result, wanted), example)
        for place in self.learns:
            self.check_gradient(answer, place)

    def explain(self, answer, args: tuple, result, wanted) -> str:
        """The message of the mistake that gives the same results, or else what the result itself shows."""
        if result is None:
            return NONE
        fitting = [mistake for mistake in self.mistakes if same(result, _result(mistake.wrong, args))]
        everywhere = [mistake for mistake in fitting if self.is_like(answer, mistake)]
        for mistake in everywhere:
            return mistake.says
        for mistake in fitting:  # the same numbers by chance, or one mistake of several
            return f"Perhaps it is this: {mistake.says}"
        return kind_of(result, wanted, self.returns) or (
            "This is not the right result. Do the example below by hand, step by step, and compare.")

    def is_like(self, answer, mistake: Mistake) -> bool:
        """Whether the answer makes this mistake in every case."""
        def given(args):
            try:
                return call(answer, args, self.names)
            except Complaint:
                return FAILED
        pairs = ((given(args), _result(mistake.wrong, args)) for args in self.cases)
        return all(one is other or same(one, other) for one, other in pairs)

    def check_gradient(self, answer, place: int) -> None:
        args = [each.detach().clone() if isinstance(each, Tensor) else each for each in self.cases[0]]
        args[place].requires_grad_()
        result = call(answer, args, self.names)
        if not (isinstance(result, Tensor) and result.requires_grad):
            raise Complaint(f"The numbers are right, but no gradient reaches `{self.names[place]}`: a model could not "
                            "learn from this. Leave out `.detach()`, `.item()`, `.numpy()` and the like.")


@dataclass(frozen=True)
class Judgement(Exercise):
    """The answer is called with each case, and `look(result, *args)` returns what is wrong with its result, or None."""

    look: Callable[..., str | None]
    cases: Sequence[tuple] = ((),)

    def judge(self, answer) -> None:
        for args in self.cases:
            result = call(answer, args, self.names)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    says = NONE if result is None else self.look(result, *args)
            except Exception as error:  # the result has a form that nobody thought of
                says = (f"Your function returns {described(result)}, which does not have the form that is asked for "
                        f"({type(error).__name__}). Please read once more what it has to return.")
            if says:
                example = f"{shown_inputs(self.names, args)}\nyour result: {shown(result)}".strip()
                raise Complaint(says, example)


def prediction(name: str, page: str, hints: tuple[str, ...], truth: Callable[[], dict], explains: dict[str, str],
               tolerance: float | dict[str, float] = 0.0) -> Judgement:
    """The student returns a dictionary with a guess for each key; `explains` helps where one is wrong.

    The tolerance may be another one for each key.
    """
    def is_right(key: str, guess, right) -> bool:
        allowed = tolerance[key] if isinstance(tolerance, dict) else tolerance
        if allowed and isinstance(guess, Real):
            return abs(guess - right) <= allowed
        return same(guess, right)

    def advice(key: str, guess, right) -> str:
        if form_of(guess) != form_of(right):
            return f"Your prediction for {key!r} is {described(guess)}. It should be {form_of(right)}."
        if isinstance(right, float) and 0 < right <= 1 and is_right(key, guess / 100, right):
            return f"Your prediction for {key!r} is in percent. Give it as a part of 1, such as 0.5 for 50 %."
        return f"Think again about {key!r}: {explains[key]}"

    def look(guess) -> str | None:
        right = truth()
        if not isinstance(guess, dict) or guess.keys() != right.keys():
            return f"Please return a dictionary with exactly these keys: {', '.join(map(repr, right))}."
        if empty := [key for key in right if guess[key] is None or guess[key] is ...]:
            return f"There is no prediction for {empty[0]!r} yet."
        guess = {key: plain(guess[key], right[key]) for key in right}
        wrong = [key for key in right if not is_right(key, guess[key], right[key])]
        if not wrong:
            return None
        count, first = len(right) - len(wrong), wrong[0]
        return (f"{count} of {len(right)} {'is' if count == 1 else 'are'} right. "
                f"{advice(first, guess[first], right[first])}")
    return Judgement(name, page, "", hints, look)


def plain(guess, right):
    """A guess taken out of its tensor or array; 0 and 1 become False and True where these are expected."""
    guess = guess.tolist() if isinstance(guess, (Tensor, np.ndarray, np.generic)) else guess
    return bool(guess) if isinstance(right, bool) and isinstance(guess, Real) and guess in (0, 1) else guess


def form_of(value) -> str:
    """What kind of prediction a value is, in words."""
    return next((words for kinds, words in FORMS if isinstance(value, kinds)), "something else")


def kind_of(result, wanted, returns: str) -> str | None:
    """What is wrong with the kind, the shape or the type of a result; None where only its numbers are wrong."""
    if isinstance(wanted, Tensor):
        if not isinstance(result, Tensor):
            return f"Your function returns {described(result)}. It should return a tensor: {returns}."
        if result.shape != wanted.shape:
            return (f"Your result has the shape {tuple(result.shape)}, but for this input it should be "
                    f"{tuple(wanted.shape)}: {returns}.")
        if (result.dtype == torch.bool) != (wanted.dtype == torch.bool):
            kinds = ("True and False", "numbers")
            return f"Your result holds {kinds[result.dtype != torch.bool]}; it should hold " \
                   f"{kinds[wanted.dtype != torch.bool]}: {returns}."
        if not result.is_floating_point() and wanted.is_floating_point():
            return "Your result holds whole numbers only, so that everything after the decimal point was lost."
        if result.isnan().any() and not wanted.isnan().any():
            return ("Your result contains `nan`: somewhere zero was divided by zero, or the logarithm of zero was "
                    "multiplied by zero.")
        if result.isinf().any() and not wanted.isinf().any():
            return "Your result contains `inf`: somewhere a logarithm of zero or a division by zero was computed."
        return None
    comparable = (int, float) if isinstance(wanted, (int, float)) else (list, tuple)
    a_number = isinstance(wanted, (int, float)) and isinstance(result, Tensor) and result.dim() == 0
    of_its_length = not isinstance(wanted, tuple) or isinstance(result, comparable) and len(result) == len(wanted)
    if a_number or isinstance(result, comparable) and of_its_length:
        return None
    return f"Your function returns {described(result)}. It should return {returns}."


def _result(function: Callable, args: tuple):
    """What a wrong function gives, or FAILED."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args)
    except Exception:
        return FAILED
