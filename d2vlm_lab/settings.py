"""Strict settings: nested dataclasses read from YAML and from `key=value` words; errors suggest what was meant."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import tokenize
from collections.abc import Sequence

from .errors import LabError
from .reader import parse_yaml
from .shapes import below, closest, fit, hints_of, shown, suggest

__all__ = ["check_types", "closest", "flat", "flatten", "from_dict", "meanings", "override", "read_pair", "suggest",
           "to_dict"]


def from_dict(cls: type, data: dict, where: str = ""):
    """A dataclass from a nested mapping; unknown keys, wrong types and numbers out of range are errors."""
    return fit(data, cls, where)


def check_types(settings, section: str = "") -> None:
    """Raises the errors of `from_dict` for a dataclass that was made directly, as in a notebook."""
    for name, hint in hints_of(type(settings)).items():
        fit(getattr(settings, name), hint, path=f"{section}{name}")


def to_dict(settings) -> dict:
    """The inverse of `from_dict`: plain lists, numbers, strings."""
    return _plain(dataclasses.asdict(settings))


def flatten(settings) -> dict[str, object]:
    """`{"training.steps": 100, ...}`: one entry for each setting, as a notebook's parameter cell holds them."""
    return flat(to_dict(settings))


def flat(tree: dict) -> dict[str, object]:
    """`{"training": {"steps": 3}, "seed": 1}` -> `{"training.steps": 3, "seed": 1}`."""
    found = {}
    for section, values in tree.items():
        found |= {f"{section}.{key}": value for key, value in values.items()} if isinstance(values, dict) \
            else {section: values}
    return found


def override(settings, changes: dict[str, object] | Sequence[str], where: str = ""):
    """A copy with dotted settings changed: `{"training.steps": 10}` or `["training.steps=10"]` (values are YAML)."""
    if not isinstance(changes, dict):
        pairs = [read_pair(word) for word in changes]
        changes = dict(pairs)
        if twice := [key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1]:
            raise LabError(f"{twice[0]} is given twice")
    tree = to_dict(settings)
    known = flatten(settings)
    for key, value in changes.items():
        if key not in known:
            raise LabError(f"{where}{': ' if where else ''}{below('', key)}: no such setting{suggest(key, known)}")
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


def read_pair(word: str) -> tuple[str, object]:
    """A key and a value from `key=value`; the value is read as YAML."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise LabError(f"{shown(word)}: write a setting as key=value")
    try:
        return key, parse_yaml(text) if text else ""
    except LabError as error:
        raise LabError(f"{shown(word)}: the value is {error}") from None


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(leaf) for key, leaf in value.items()}
    return [_plain(leaf) for leaf in value] if isinstance(value, (list, tuple)) else value
