"""How a student's function is called: on copies, with a plain sentence about whatever goes wrong in it."""

from __future__ import annotations

import copy
import inspect
import linecache
import traceback
import warnings
from collections.abc import Callable, Sequence

from torch import Tensor

from .compare import same
from .show import shown, shown_inputs


class Complaint(Exception):
    """What is wrong with an answer, for the student to read: a message, and the smallest input that shows it."""

    def __init__(self, message: str, example: str = ""):
        super().__init__(message)
        self.message, self.example = message, example


class NotYet(Complaint):
    """The place for the answer is still empty."""


def call(function, args: Sequence, names: Sequence[str]):
    """What the function returns for copies of these arguments; a Complaint if it fails or changes them."""
    if not callable(function):
        raise Complaint("The check needs your function itself, without brackets after its name: it calls the function "
                        f"with inputs of its own. You gave it {described(function)}.")
    example, given = shown_inputs(names, args), copy.deepcopy(list(args))
    _check_signature(function, args, names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(*given)
    except NotImplementedError:
        raise NotYet("There is nothing to check yet. Replace the line `raise NotImplementedError()` by your own "
                     "code, run its cell, and then run this cell again.") from None
    except KeyboardInterrupt:
        raise Complaint("You stopped the check while your function was running. Is there a loop that never ends?",
                        example) from None
    except SystemExit:
        raise Complaint("Your function ends Python (`exit` or `quit`). It should return a result instead.",
                        example) from None
    except Exception as error:
        raise Complaint(_failure(function, error), example) from None
    for name, before, after in zip(names, args, given):
        if not same(after, before):
            raise Complaint(f"Your function changes its argument `{name}`. Whoever called it may still need the old "
                            "values; work on a copy instead (`.clone()` of a tensor, `list(...)` of a list).", example)
    return result


def described(value) -> str:
    """What a value is, in words: for a message about a wrong kind of result."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    kinds = {"float": "a number", "int": "a number", "str": "a text", "dict": "a dictionary",
             "ndarray": "a NumPy array"}
    return f"{kinds.get(type(value).__name__, 'a ' + type(value).__name__)} ({shown(value)})"


def _check_signature(function: Callable, args: Sequence, names: Sequence[str]) -> None:
    try:
        inspect.signature(function).bind(*args)
    except TypeError:
        wanted = ", ".join(names) if names else "nothing"
        name = getattr(function, "__name__", "function")
        raise Complaint(f"Your function is called with {wanted} in its brackets, but it is defined as "
                        f"`{name}{inspect.signature(function)}`. Please keep the first line as it was.") from None
    except ValueError:  # a built-in function may have no signature to look at
        return


def _failure(function: Callable, error: Exception) -> str:
    """The error, and the line of the student's own code at which it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    source = getattr(getattr(function, "__code__", None), "co_filename", None)
    line = next((frame for frame in reversed(frames) if frame.filename == source), None)
    where = ""
    if line is not None and (text := linecache.getline(line.filename, line.lineno).strip()):
        where = f" at the line `{text}`"
    reason = str(error).splitlines()[0] if str(error) else "no further message"
    return f"Your function stopped{where}, with this error: {type(error).__name__}: {reason}"
