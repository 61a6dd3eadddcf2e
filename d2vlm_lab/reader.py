"""The files that people and machines bring: JSON, JSON Lines and YAML, read with limits and checked against a shape.

Only regular files are opened. Every error is one line that names the file, the line where there is one, and the field.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import yaml

from .errors import LabError
from .shapes import fit, refuse, shown

MB = 2**20
DOCUMENT = 64 * MB  # largest JSON file that is read as a whole; its objects take up to thirty times as much memory
LINE = 16 * MB  # longest line of a JSON Lines file
YAML = MB // 4  # largest YAML file, which a person wrote
DEPTH = 64  # how deep lists and objects may be nested
VALUES = 100_000  # most values in a YAML file, each counted as often as anchors repeat it
TYPES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
         stat.S_IFBLK: "a device"}
OUTSIDE_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+.?|([\[{])|([\]}])', re.DOTALL)  # text is matched whole, even unended
KINDS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge"))
MERGE = KINDS[-1]
NUMBERS = {KINDS[1]: r"[-+]?(0|[1-9][\d_]*)$",  # as in YAML 1.2: 010 and 1:30 are text, 1e-3 is a number
           KINDS[2]: r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"}
OnBad = Callable[[int, str], None]  # takes the number of a line that cannot be used, and what is wrong with it


def opened(path: str | os.PathLike) -> BinaryIO:
    """A regular file to read from; anything else at this path, such as a pipe, is an error at once."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind == stat.S_IFREG:
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # does not wait for a pipe
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
    except FileNotFoundError:
        raise LabError(f"{path}: {'a link to nothing' if os.path.islink(path) else 'no such file'}") from None
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    raise LabError(f"{path}: expected a file, found {TYPES.get(kind, 'something else')}")


def read_bytes(path: str | os.PathLike, most: int = DOCUMENT) -> bytes:
    """The content of a file of at most `most` bytes."""
    with opened(path) as file:
        try:
            data = file.read(most + 1)
            size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise LabError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > most:
        raise LabError(f"{path}: {size / MB:,.1f} MB; at most {most / MB:g} MB are read")
    return data


def decode(data: bytes, where: str, first: int = 1) -> str:
    """The text of UTF-8 data, with or without a byte-order mark; `first` is the number of the first line."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise LabError(f"{where}: saved as UTF-16; save it as UTF-8") from None
        line = first + data.count(b"\n", 0, error.start)
        raise LabError(f"{where}: line {line}: not UTF-8 (byte {data[error.start]:#04x}); save it as UTF-8") from None


def read_text(path: str | os.PathLike, most: int = DOCUMENT) -> str:
    return decode(read_bytes(path, most), str(path))


def read_json(path: str | os.PathLike, shape=object, most: int = DOCUMENT):
    """The content of a JSON file, in the given shape."""
    return parse_json(read_text(path, most), shape, str(path))


def parse_json(text: str, shape=object, where: str = "", line: int | None = None):
    """The value of a text in JSON, in the given shape; `line` is its number if the text is one line of a file."""
    place = f"{where}: line {line}" if line else where
    if text.count("[") + text.count("{") > DEPTH and _depth(text) > DEPTH:
        refuse(place, "", f"lists and objects inside each other, more than {DEPTH} deep")
    try:
        value = json.loads(text, object_pairs_hook=_each_once)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = place if line else f"{where}: line {error.lineno}" if where else ""
        refuse(where, "", f"not readable as JSON ({error.msg[0].lower()}{error.msg[1:]}, column {error.colno})")
    except UnicodeEncodeError:
        refuse(place, "", "half of a character (a single surrogate) is not text")
    except ValueError as error:
        refuse(place, "", "an integer of thousands of digits" if "conversion" in str(error) else str(error))
    return fit(value, shape, place)


def read_lines(path: str | os.PathLike, shape=dict, on_bad: OnBad | None = None) -> Iterator[tuple[int, Any]]:
    """The values of a JSON Lines file with their line numbers; empty lines are left out.

    A bad line is an error; with `on_bad` it is reported there and left out.
    """
    with opened(path) as file:
        number = 0
        while data := file.readline(LINE + 1):
            number += 1
            try:
                if len(data) > LINE:
                    while data and not data.endswith(b"\n"):
                        data = file.readline(LINE)
                    raise LabError(f"{path}: line {number}: longer than {LINE // MB} MB")
                if text := decode(data, str(path), number).strip():
                    yield number, parse_json(text, shape, str(path), number)
            except LabError as error:
                if on_bad is None:
                    raise
                on_bad(number, str(error))


def read_yaml(path: str | os.PathLike) -> dict:
    """The mapping in a YAML file."""
    return parse_yaml(read_text(path, YAML), dict, str(path))


def parse_yaml(text: str, shape=object, where: str = ""):
    """The value of a text in YAML: lists, mappings and plain values, without repeated keys and exploding anchors."""
    try:
        loader = _Loader(text)
        node = loader.checked()
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        refuse(where, f"line {mark.line + 1}" if where and mark else "", f"not readable as YAML ({problem})")
    except RecursionError:
        refuse(where, "", f"lists and mappings inside each other, more than {DEPTH} deep")
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        refuse(where, "", f"not readable as YAML ({' '.join(str(error).split())})")
    if shape is dict and not isinstance(value, dict):
        refuse(where, "", f"expected `key: value` lines, found {shown(value)}")
    return fit(value, shape, where)


def _depth(text: str) -> int:
    """How deep lists and objects are nested."""
    depth = most = 0
    for match in OUTSIDE_TEXT.finditer(text):
        depth += bool(match[1]) - bool(match[2])
        most = max(most, depth)
    return most


def _each_once(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return found


class _Loader(yaml.SafeLoader):
    """Loads YAML of plain values: a date stays text, and a key may occur only once."""

    def checked(self) -> yaml.Node | None:
        """The document before anything is built from it."""
        if (node := self.get_single_node()) is not None:
            self._expanded(node, {}, 1)
        return node

    def _expanded(self, node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
        """How many values a node stands for, each counted as often as an anchor repeats it."""
        if id(node) not in sizes:
            _need(node.tag in KINDS, f"{node.tag.rpartition(':')[2]!r} is no kind of value that is read", node)
            _need(depth <= DEPTH, f"lists and mappings inside each other, more than {DEPTH} deep", node)
            sizes[id(node)] = VALUES  # until the size is known; so a node that contains itself is always too large
            if isinstance(node, yaml.ScalarNode):
                _need(node.tag == KINDS[0] or len(node.value) <= 100, "a number of more than 100 digits", node)
                children = []
            elif isinstance(node, yaml.MappingNode):
                self._keys(node)
                children = [child for pair in node.value for child in pair]
            else:
                children = node.value
            sizes[id(node)] = 1 + sum(self._expanded(child, sizes, depth + 1) for child in children)
        _need(sizes[id(node)] < VALUES, f"more than {VALUES:,} values, as anchors repeat them", node)
        return sizes[id(node)]

    def _keys(self, node: yaml.MappingNode) -> None:
        """An error unless each key is a plain value and occurs once."""
        found = set()
        for key, _ in node.value:
            _need(isinstance(key, yaml.ScalarNode), "a list or a mapping as a key", key)
            if key.tag != MERGE:
                name = self.construct_object(key)
                _need(name not in found, f"the key {shown(name)} stands there twice", key)
                found.add(name)


def _need(holds: bool, problem: str, node: yaml.Node) -> None:
    if not holds:
        raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in KINDS and tag not in NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
for tag, pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(tag, re.compile(pattern), list("-+.0123456789"))
