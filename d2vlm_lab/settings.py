"""Strict settings: nested dataclasses read from YAML and from `key=value` words; errors suggest what was meant."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import inspect
import io
import os
import tokenize
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from .errors import LabError


class ConfigError(LabError):
    """A setting that does not exist, has the wrong type, or contradicts another one."""


def from_dict(cls: type, data: dict, where: str = ""):
    """A dataclass from a nested mapping; unknown keys and wrong types are errors."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where or cls.__name__}: expected a mapping of settings, found {data!r}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    values = {}
    for key, value in data.items():
        if key not in names:
            raise ConfigError(f"{_at(where, key)}: no such setting{suggest(str(key), names)}")
        values[key] = _convert(hints[key], value, _at(where, key))
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from None


def check_types(settings) -> None:
    """The same errors for a dataclass that was made directly, as in a notebook."""
    for name, hint in typing.get_type_hints(type(settings)).items():
        _convert(hint, getattr(settings, name), f"{type(settings).__name__}.{name}")


def to_dict(settings) -> dict:
    """The inverse of `from_dict`: plain lists, numbers, strings."""
    return _plain(dataclasses.asdict(settings))


def flatten(settings) -> dict[str, object]:
    """`{"training.steps": 100, ...}`: one entry for each setting, as a notebook's parameter cell holds them."""
    flat = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{field.name}.{key}": leaf for key, leaf in flatten(value).items()}
        else:
            flat[field.name] = _plain(value)
    return flat


def override(settings, changes: dict[str, object] | Sequence[str], where: str = ""):
    """A copy with dotted settings changed: `{"training.steps": 10}` or `["training.steps=10"]` (values are YAML)."""
    if not isinstance(changes, dict):
        changes = dict(_split(word) for word in changes)
    tree = to_dict(settings)
    known = flatten(settings)
    for key, value in changes.items():
        if key not in known:
            raise ConfigError(f"{_at(where, key)}: no such setting{suggest(key, known)}")
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return from_dict(type(settings), tree, where)


def meanings(cls: type) -> dict[str, str]:
    """What each field of a dataclass means: the comment behind it in the source, or the comment lines above it."""
    source = inspect.getsource(cls)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign):
            first = node.lineno
            while first - 1 in comments and comments[first - 1].line.lstrip().startswith("#"):
                first -= 1
            lines = [comments[n].string.lstrip("# ") for n in range(first, node.end_lineno + 1) if n in comments]
            found[node.target.id] = " ".join(lines)
    return found


def read_yaml(path: str | os.PathLike) -> dict:
    """The mapping in a YAML file; anything else is an error that names the file."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, found {type(data).__name__}")
    return data


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a word, as a whole or behind its last dot; None where none is close."""
    known = list(known)
    last = {name.rsplit(".", 1)[-1]: name for name in known}
    if whole := difflib.get_close_matches(word, known, 1):
        return whole[0]
    part = difflib.get_close_matches(word.rsplit(".", 1)[-1], list(last), 1)
    return last[part[0]] if part else None


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'steps'?`, or the whole list where no name is close."""
    close = closest(word, known)
    return f"; did you mean {close!r}?" if close else f"; there are {', '.join(sorted(known))}"


def _split(word: str) -> tuple[str, object]:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ConfigError(f"{word!r}: write a setting as key=value")
    try:
        return key, yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        raise ConfigError(f"{word!r}: the value is not readable as YAML") from None


def _at(where: str, key) -> str:
    return f"{where}: {key}" if where.endswith((".yaml", ".yml")) else f"{where}.{key}" if where else str(key)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(leaf) for key, leaf in value.items()}
    return [_plain(leaf) for leaf in value] if isinstance(value, (list, tuple)) else value


def _convert(hint, value, where: str):
    """The value as the annotated type, or an error that says where it stands."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _convert(next(arg for arg in args if arg is not type(None)), value, where)
    if origin is typing.Literal:
        return _choice(args, value, where)
    if origin is tuple:
        return _list(args, value, where)
    if origin is dict:
        return _mapping(args, value, where)
    if hint is float and type(value) in (int, str):  # a whole number, or `1e-3`, which is text to YAML
        with contextlib.suppress(ValueError):
            return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise ConfigError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _choice(choices: tuple, value, where: str):
    if isinstance(value, bool):
        value = "on" if value else "off"  # YAML reads these two words as true and false
    if value not in choices:
        meant = closest(value, choices) if isinstance(value, str) else None
        raise ConfigError(f"{where}: {value!r} is not one of {', '.join(map(str, choices))}"
                          + (f"; did you mean {meant!r}?" if meant else ""))
    return value


def _list(kinds: tuple, value, where: str) -> tuple:
    """For `tuple[X, ...]` any number of values, for `tuple[X, Y]` one of each."""
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: expected a list, found {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise ConfigError(f"{where}: expected a list of {len(kinds)} values, found {value!r}")
    return tuple(_convert(kind, leaf, f"{where}[{i}]") for i, (kind, leaf) in enumerate(zip(kinds, value)))


def _mapping(kinds: tuple, value, where: str) -> dict:
    if not isinstance(value, dict) or not all(isinstance(key, kinds[0]) for key in value):
        raise ConfigError(f"{where}: expected `name: value` lines whose names are text (quoted if YAML reads them "
                          f"as something else), found {value!r}")
    return {key: _convert(kinds[1], leaf, f"{where}.{key}") for key, leaf in value.items()}
