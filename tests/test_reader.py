"""Files that are brought: what is no regular file, no text or no JSON is one clear line; shapes name the field."""

import os
import socket
from dataclasses import dataclass
from typing import Annotated, Literal, NotRequired, TypedDict

import pytest

from d2vlm_lab.errors import LabError
from d2vlm_lab.files import json_lines
from d2vlm_lab.reader import DEPTH, LINE, parse_json, parse_yaml, read_json, read_lines, read_yaml
from d2vlm_lab.shapes import Range, fit, words

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))


class Event(TypedDict):
    interval: tuple[float, float]
    text: NotRequired[str]


class Record(TypedDict):
    events: list[Event]


@dataclass(frozen=True)
class Settings:
    share: Annotated[float, Range(0, 1)] = 0.5
    rate: Annotated[float, Range(0, open=True)] = 0.1
    steps: Annotated[int, Range(1)] | None = None
    mode: Literal["on", "off", "half"] = "on"


def refused(function, *args):
    with pytest.raises(LabError) as error:
        function(*args)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


def write(folder, content):
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, problem in ((tmp_path, "a folder"), (tmp_path / "pipe", "a pipe"), (tmp_path / "socket", "a socket"),
                              ("/dev/null", "a device"), (tmp_path / "link", "a link to nothing"),
                              (tmp_path / "nowhere", "no such file"), (tmp_path / ("x" * 300), "cannot be read"),
                              ("a\0b", "cannot be read")):
            assert problem in refused(read_json, path)
            assert problem in refused(read_yaml, path)
            assert problem in refused(lambda path=path: list(read_lines(path)))


def test_a_byte_order_mark_is_no_content(tmp_path):
    assert read_json(write(tmp_path, b"\xef\xbb\xbf{}")) == {}
    assert read_yaml(write(tmp_path, b"\xef\xbb\xbfa: 1")) == {"a": 1}
    assert list(read_lines(write(tmp_path, b"\xef\xbb\xbf{}\n{}"))) == [(1, {}), (2, {})]


@pytest.mark.parametrize("content, problem", [
    (b"{\n\n\xff}", "line 3: not UTF-8 (byte 0xff)"), ("{}".encode("utf-16"), "saved as UTF-16"),
    (b"", "line 1: not readable as JSON"), (b"{\n'a': 1}", "line 2: not readable as JSON"),
    (b'{"a": 1, "a": 2}', "the key 'a' stands there twice"), (b"[" * 100_000, f"more than {DEPTH} deep"),
    (b'["' + b'\\"' * 1_000_000 + b"[" * 100, "not readable as JSON"), (b"9" * 5000, "thousands of digits"),
    (b'["\\ud800"]', "half of a character"), (b"[]", "expected an object, found a list: []"), (b"null", "found null"),
    (b'{"events": [{"interval": [1, 2]}, {"interval": null}]}', "events[1].interval: expected a list of 2 values"),
    (b'{"events": [{"interval": [1, NaN]}]}', "events[0].interval[1]: expected a finite number, found nan"),
    (b'{"events": [{"interval": [1, 1e999]}]}', "expected a finite number, found inf"),
    (b'{"events": [{"interval": [1, ' + b"9" * 400 + b"]}]}", "events[0].interval[1]: expected a number"),
    (b'{"events": [{"interval": [1, "2"]}]}', "events[0].interval[1]: expected a number, found '2'"),
    (b'{"events": [{"interval": [1, true]}]}', "events[0].interval[1]: expected a number, found true"),
    (b'{"events": [{"text": "a"}]}', "events[0].interval: the field is missing"),
    (b'{"events": [{"interval": [1, 2], "text": 3}]}', "events[0].text: expected text, found 3"),
    (b'{"events": {}}', "events: expected a list of values, each an object, found an object"),
])
def test_json_that_is_wrong_is_one_line_with_the_file_and_the_field(tmp_path, content, problem):
    path = write(tmp_path, content)
    message = refused(read_json, path, Record)
    assert message.startswith(f"{path}: ") and problem in message


@pytest.mark.parametrize("content, problem", [
    (BOMB, "line 5: not readable as YAML (more than 100,000 values"), ("a: &a [*a]", "more than 100,000 values"),
    ("[" * 10_000, f"more than {DEPTH} deep"), ("a: 1\na: 2", "line 2: not readable as YAML (the key 'a'"),
    ("on: 1\nyes: 2", "twice"), ("a: " + "9" * 5000, "a number of more than 100 digits"),
    ("a: !!python/object/apply:os.system [ls]", "no kind of value"), ("a: !!binary aa", "'binary' is no kind of value"),
    ("? [a]\n: 1", "a list or a mapping as a key"), ("- a", "expected `key: value` lines, found a list: ['a']"),
    ("", "expected `key: value` lines, found null"), ("a: [", "not readable as YAML"), ("a: *b", "undefined alias"),
    ("\x01", "special characters"), ("a: 1\n---\nb: 1", "another document"),
    ("a: " + "x" * 300_000, "at most 0.25 MB are read"),
])
def test_yaml_that_is_wrong_is_one_line_with_the_file(tmp_path, content, problem):
    path = write(tmp_path, content)
    message = refused(read_yaml, path)
    assert message.startswith(f"{path}: ") and problem in message


def test_yaml_numbers_are_what_they_look_like():
    values = parse_yaml("[1e-3, 5.0e-4, 1_000, -3, .5, 010, 1:30, 0x10, 2001-01-01, e3]")
    assert values == [1e-3, 5e-4, 1000, -3, 0.5, "010", "1:30", "0x10", "2001-01-01", "e3"]
    assert parse_yaml("{a: &a {x: 1}, b: {<<: *a, x: 2}}") == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_bad_line_is_an_error_or_is_reported_and_left_out(tmp_path):
    path = write(tmp_path, b'{"a": 1}\n\nno\n{"a": \xff}\n[1]\n"' + b"x" * LINE + b'"\n{"b": 1}\n{"c"')
    bad = []
    assert list(read_lines(path, dict, lambda line, problem: bad.append((line, problem)))) == [
        (1, {"a": 1}), (7, {"b": 1})]
    assert [line for line, _ in bad] == [3, 4, 5, 6, 8]
    assert all(problem.startswith(f"{path}: line {line}: ") for line, problem in bad)
    assert "line 3: not readable as JSON" in refused(lambda: list(read_lines(path)))
    assert json_lines(path) == [{"a": 1}, {"b": 1}] and json_lines(tmp_path / "nowhere") == []


@pytest.mark.parametrize("value, problem", [
    ({"share": 1.5}, "share: expected a number from 0 to 1, found 1.5"),
    ({"share": float("nan")}, "share: expected a finite number, found nan"),
    ({"rate": 0}, "rate: expected a number above 0, found 0"),
    ({"steps": 0}, "steps: expected a whole number of at least 1, found 0"),
    ({"steps": 2**63}, "at most 64 bits"), ({"steps": 1.0}, "expected a whole number, found 1.0"),
    ({"mode": "of"}, "'of' is not one of on, off, half; did you mean 'off'?"), ({"mode": 3}, "3 is not one of"),
    ({"shar": 1}, "shar: no such setting; did you mean 'share'?"), ({3: 1}, "3: no such setting"),
    ([], "expected an object, found a list"),
])
def test_a_dataclass_is_strict_and_its_ranges_hold(value, problem):
    assert problem in refused(fit, value, Settings)


def test_what_fits_is_as_the_shape_has_it():
    assert fit({"share": 1, "steps": None, "mode": False}, Settings) == Settings(1.0, 0.1, None, "off")
    assert parse_json('{"events": [{"interval": [1, 2], "more": 0}]}', Record) == {
        "events": [{"interval": (1.0, 2.0), "more": 0}]}
    assert words(Annotated[int, Range(1)] | None) == "a whole number of at least 1 or null"
    assert "text without NUL" in refused(fit, "a\0", str) and "broken" in refused(fit, "\ud800", str)
