"""Checks values against shapes: a type, a range, the fields of an object. An error names the path of what does not fit.

A shape is a type as an annotation writes it: `float`, `list[str]`, `tuple[float, float]`, `int | None`, a `Literal`, a
`TypedDict` for an object of a file, which may have more fields than these, or a dataclass, which is strict about them.
`Annotated[float, Range(0, 1)]` adds a range; `object` is anything.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import reprlib
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import LabError

LARGEST = 2**63 - 1  # what whole numbers of 64 bits hold, as in torch and in files of numbers
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null",
         dict: "an object", list: "a list", object: "anything"}
BROKEN = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of characters
SHORT = reprlib.Repr()
SHORT.maxstring, SHORT.maxlevel, SHORT.maxother = 60, 2, 60


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`; with `open`, without `least` itself."""

    least: float | None = None
    most: float | None = None
    open: bool = False

    def __contains__(self, number: float) -> bool:
        low = self.least is None or number > self.least or number == self.least and not self.open
        return low and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        if None not in (self.least, self.most) and not self.open:
            return f"from {self.least:,} to {self.most:,}"
        low = [] if self.least is None else [f"{'above' if self.open else 'of at least'} {self.least:,}"]
        return " and ".join(low + ([] if self.most is None else [f"{'' if low else 'of '}at most {self.most:,}"]))


Count = typing.Annotated[int, Range(1, 10**9)]
Share = typing.Annotated[float, Range(0, 1)]
Weight = typing.Annotated[float, Range(0, 10**6)]
Positive = typing.Annotated[float, Range(0, 10**6, open=True)]
Seed = typing.Annotated[int, Range(0, 2**31 - 1)]


@functools.cache
def hints_of(shape: type) -> dict[str, object]:
    """The types of a shape's fields, with their ranges. They are kept, because finding them takes a while."""
    return typing.get_type_hints(shape, include_extras=True)


def fit(value, shape, where: str = "", path: str = ""):
    """The value in the given shape: lists become tuples, objects dataclasses, whole numbers floats where it says so.

    `where` is a file, or a file with a line; `path` leads to the value inside it, such as `events[2].interval`.
    """
    if shape is object:
        return value
    if isinstance(shape, type) and shape in WORDS:  # before the others, because most values are of these kinds
        return _plain(value, shape, where, path)
    origin, args = typing.get_origin(shape), typing.get_args(shape)
    if origin is typing.Annotated:
        fitted = fit(value, args[0], where, path)
        _need(all(fitted in limits for limits in args[1:] if isinstance(limits, Range)), value, shape, where, path)
        return fitted
    if origin in (types.UnionType, typing.Union):
        return _one_of(value, shape, where, path)
    if origin is typing.Literal:
        return _choice(value, args, where, path)
    if origin is tuple or origin is list:
        kinds = args if origin is tuple else (*args, ...)
        return origin(_items(value, kinds, shape, where, path))
    if origin is dict:
        _need(isinstance(value, dict), value, shape, where, path)
        if wrong := [key for key in value if not isinstance(key, args[0])]:
            refuse(where, path, f"expected names that are {words(args[0])}, found {shown(wrong[0])}; quote it "
                                "if YAML reads it as something else")
        return {key: fit(leaf, args[1], where, below(path, key)) for key, leaf in value.items()}
    if typing.is_typeddict(shape):
        return _fields(value, shape, where, path)
    if dataclasses.is_dataclass(shape):
        return value if isinstance(value, shape) else _dataclass(value, shape, where, path)
    return _plain(value, shape, where, path)


def words(shape) -> str:
    """A shape in words: `a whole number or null`, `one of soft, hard`, `a number from 0 to 1`."""
    origin, args = typing.get_origin(shape), typing.get_args(shape)
    if origin is typing.Annotated:
        return " ".join([words(args[0]), *(str(limits) for limits in args[1:] if isinstance(limits, Range))])
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(words, args))
    if origin is list or origin is tuple and args[-1] is Ellipsis:
        return f"a list of values, each {words(args[0])}"
    if origin is tuple:
        same = len(set(args)) == 1
        return f"a list of {len(args)} values, {f'each {words(args[0])}' if same else ', '.join(map(words, args))}"
    return WORDS.get(shape, "an object")


def shown(value) -> str:
    """A value as an error shows it, however large it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        text = SHORT.repr(value)
    except ValueError:  # an integer with so many digits that Python will not write them
        return "an integer of thousands of digits"
    return f"a list: {text}" if isinstance(value, list) else f"an object: {text}" if isinstance(value, dict) else text


def refuse(where: str, path: str, message: str) -> typing.NoReturn:
    raise LabError(": ".join(part for part in (where, path, message) if part))


def below(path: str, key) -> str:
    """The path to the field `key` of the object at `path`."""
    name = key if isinstance(key, str) and len(key) < 80 and key.isprintable() else shown(key)
    return f"{path}.{name}" if path else name


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a word, as a whole or after its last dot; None where no name is close."""
    word, known = str(word)[:200], list(known)
    last = {name.rsplit(".", 1)[-1]: name for name in known}
    if whole := difflib.get_close_matches(word, known, 1):
        return whole[0]
    part = difflib.get_close_matches(word.rsplit(".", 1)[-1], list(last), 1)
    return last[part[0]] if part else None


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'steps'?`, or the whole list where no name is close."""
    close = closest(word, known)
    return f"; did you mean {close!r}?" if close else f"; there are {', '.join(sorted(known)) or 'none'}"


def _need(holds: bool, value, shape, where: str, path: str) -> None:
    if not holds:
        refuse(where, path, f"expected {words(shape)}, found {shown(value)}")


def _one_of(value, shape, where: str, path: str):
    kinds = [kind for kind in typing.get_args(shape) if kind is not types.NoneType]
    if value is None and len(kinds) < len(typing.get_args(shape)):
        return None
    if len(kinds) == 1:
        return fit(value, kinds[0], where, path)
    for kind in kinds:
        try:
            return fit(value, kind, where, path)
        except LabError:
            continue
    return _need(False, value, shape, where, path)


def _choice(value, choices: tuple, where: str, path: str):
    if isinstance(value, bool) and value not in choices:
        word = str(value).lower()
        value = word if word in choices else "on" if value else "off"  # YAML reads these words as true and false
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        meant = closest(value, map(str, choices)) if isinstance(value, str) else None
        refuse(where, path, f"{shown(value)} is not one of {', '.join(map(str, choices))}"
               + (f"; did you mean {meant!r}?" if meant else ""))
    return value


def _items(value, kinds: tuple, shape, where: str, path: str) -> list:
    """The items of a list or tuple: any number for `tuple[X, ...]` and `list[X]`, one of each for `tuple[X, Y]`."""
    _need(isinstance(value, (list, tuple)), value, shape, where, path)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    _need(len(value) == len(kinds), value, shape, where, path)
    return [fit(leaf, kind, where, f"{path}[{i}]") for i, (kind, leaf) in enumerate(zip(kinds, value))]


def _fields(value, shape, where: str, path: str) -> dict:
    """The object with the fields that the shape names in their shapes; its other fields stay as they are."""
    _need(isinstance(value, dict), value, shape, where, path)
    fitted = dict(value)
    for name, kind in hints_of(shape).items():
        optional = typing.get_origin(kind) is typing.NotRequired
        if name in value:
            fitted[name] = fit(value[name], typing.get_args(kind)[0] if optional else kind, where, below(path, name))
        elif not optional and shape.__total__:
            refuse(where, below(path, name), "the field is missing")
    return fitted


def _dataclass(value, shape: type, where: str, path: str):
    _need(isinstance(value, dict), value, shape, where, path)
    fields = {field.name: field for field in dataclasses.fields(shape)}
    if unknown := [key for key in value if key not in fields]:
        refuse(where, below(path, unknown[0]), f"no such setting{suggest(str(unknown[0]), fields)}")
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            refuse(where, below(path, name), "this setting has no default; give it a value")
    hints = hints_of(shape)
    fitted = {key: fit(leaf, hints[key], where, below(path, key)) for key, leaf in value.items()}
    try:
        return shape(**fitted)
    except LabError as error:  # settings that contradict each other
        refuse(where, "", str(error))


def _plain(value, shape: type, where: str, path: str):
    if shape is float and type(value) is int and abs(value) <= 2**1023:
        value = float(value)
    _need(type(value) is shape, value, shape, where, path)
    if shape is float and not math.isfinite(value):
        refuse(where, path, f"expected a finite number, found {value}")
    if shape is int and abs(value) > LARGEST:
        refuse(where, path, f"expected a whole number of at most 64 bits, found {shown(value)}")
    if shape is str and BROKEN.search(value):
        refuse(where, path, f"expected text without NUL and without broken characters, found {shown(value)}")
    return value
