"""Break valid files in every way and see that a command answers: in one line, in time, in memory, nothing half-written.

A test names a command, prepares a folder in which it works, and says which file to break:

    def test_score(tmp_path):
        attack(Target("score {file}", prepare, "answers.jsonl"), tmp_path)

The cases follow from a fixed seed. `FUZZ=20 pytest tests/fuzz` tries twenty times as many. A case that was found goes
into a fast test of its own: `attack(target, tmp_path, cases=[b"..."])`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from d2vlm_lab.cli import main
from d2vlm_lab.errors import LabError

SECONDS, BYTES = 20, 2 * 2**30
TIMES = int(os.environ.get("FUZZ", 1))
DEEP = json.loads("[" * 90 + "]" * 90)
ODD = [None, True, False, 0, -1, 1, 7, 0.5, -0.5, 1e-320, 1e308, -1e308, 10**30, float("nan"), float("inf"), "", " ",
       "x", "1", "x" * 5000, "../../x", "/nowhere/x", "a\0b", "a\nb", "<script>alert(1)</script>",
       "[a](javascript:alert(1))", "\N{RIGHT-TO-LEFT OVERRIDE}a|b`", [], {}, [[]], {"": None}, [None, None],
       {"a": {"a": {}}}, DEEP, [0.0] * 3000]
PIECES = [b"\xff", b"\0", b"\xef\xbb\xbf", b"\n", b"\r", b"{", b"}", b'"', b"[" * 500, b"9" * 5000, b"1e999", b"NaN",
          b"\\ud800", b", ", b": ", b"&a [*a]", b"!!python/object/apply:os.system [x]", b"- " * 300]
PLACES = ["missing", "folder", "pipe", "link to nothing", "link to itself"]


@dataclass(frozen=True)
class Target:
    command: str | Callable[[Path], object]  # words behind `d2vlm-lab`, with {file}; or a function of the broken file
    prepare: Callable[[Path], object]  # fills an empty folder, the working folder of the command, with valid files
    file: str  # the one that is broken
    kind: str = "json"  # json, jsonl, yaml or bytes
    leaves: str = r"$."  # what a command that fails may leave, as a regular expression on the path


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


class Hung(BaseException):
    """Not an Exception, so that no command takes it for a mistake of a user."""


def attack(target: Target, folder: Path, examples: int = 25, cases: Sequence[bytes | str] = ()) -> None:
    """Run the command on the valid file, which must work, and on broken ones: `cases`, or as many as asked for."""
    good = folder / "good"
    good.mkdir()
    target.prepare(good)
    valid = (good / target.file).read_bytes()
    assert check(target, good, folder / "here", valid).status == 0

    @settings(max_examples=examples * TIMES, database=None, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink], print_blob=False)
    @given(broken(valid, target.kind))
    def case(content: bytes | str) -> None:
        check(target, good, folder / "here", content)

    for content in cases:
        check(target, good, folder / "here", content)
    if not cases:
        case()


def check(target: Target, good: Path, here: Path, content: bytes | str) -> Outcome:
    """What the command does with a file of that content, or with what is in its place, and that this is allowed."""
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(good, here, symlinks=True)
    put(here / target.file, content)
    before = set(here.rglob("*"))
    outcome = run(target, here)
    new = {str(path.relative_to(here)) for path in here.rglob("*")} - {str(path.relative_to(here)) for path in before}
    assert not [name for name in new if "partial" in name], (outcome, new)
    assert outcome.status in (0, 1, 2), outcome
    if outcome.status == 2:
        assert len(outcome.err.strip().splitlines()) == 1, outcome
        assert not [name for name in new if not re.search(target.leaves, name)], (outcome, new)
    return outcome


def run(target: Target, here: Path) -> Outcome:
    """The command in this process, in its folder and with limits; a bug's traceback is in `err`."""
    file, out, err = here / target.file, io.StringIO(), io.StringIO()
    traces = here.parent / "traces"
    shutil.rmtree(traces, ignore_errors=True)
    with limited(), contextlib.chdir(here), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), \
            environment("XDG_CACHE_HOME", str(traces)), warnings.catch_warnings(action="ignore"):
        try:
            status = main([word.format(file=file, here=here) for word in target.command.split()]) \
                if isinstance(target.command, str) else called(target.command, file)
        except SystemExit as stop:
            status = stop.code
    bugs = "".join(path.read_text(errors="replace") for path in traces.rglob("*.txt"))
    return Outcome(status, out.getvalue()[-2000:], err.getvalue()[-2000:] + bugs[-6000:])


def called(function: Callable[[Path], object], file: Path) -> int:
    """A function of the library as a command: 2 for a mistake of a user, of which one line is printed."""
    try:
        function(file)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """A block that may take so many seconds, longer only where others keep the machine busy, and so many bytes."""
    def hung(*_):
        if time.process_time() - worked >= SECONDS or time.monotonic() - begin >= 6 * SECONDS:
            raise Hung(f"no answer within {SECONDS} seconds")
        signal.setitimer(signal.ITIMER_REAL, SECONDS / 4)

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
    handler, begin, worked = signal.signal(signal.SIGALRM, hung), time.monotonic(), time.process_time()
    left, _ = signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (used + BYTES, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begin), 1) if left else 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def put(path: Path, content: bytes | str) -> None:
    """Make a file of bytes; a word of `PLACES` is what stands in its place instead."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif content.startswith("link"):
        path.symlink_to(path if content.endswith("itself") else "nothing-there")


def broken(valid: bytes, kind: str) -> st.SearchStrategy[bytes | str]:
    """A valid file with one or two things wrong with it."""
    odd = [] if kind == "bytes" else [texts(valid, kind)]
    raw = st.one_of(st.just(valid), *odd)
    return st.one_of(*odd * 4, raw.flatmap(damaged), raw.flatmap(damaged), st.sampled_from(
        [*PLACES, b"", b" ", b"[]", b"{}", b"null", b"3", b'"x"', b"[" * 100_000]))


def texts(valid: bytes, kind: str) -> st.SearchStrategy[bytes]:
    """The file with odd values, without fields, with fields of another name."""
    text = valid.decode()
    if kind == "jsonl":
        lines = [json.loads(line) for line in text.splitlines()]
        return changed(lines).map(lambda tree: "\n".join(map(json.dumps, tree if isinstance(tree, list) else [tree]))
                                  .encode(errors="surrogatepass"))
    if kind == "yaml":
        return changed(yaml.safe_load(text)).map(lambda tree: yaml.safe_dump(tree, sort_keys=False).encode())
    return changed(json.loads(text)).map(lambda tree: json.dumps(tree).encode())


@st.composite
def changed(draw, tree):
    """A tree of lists and mappings with one or two changes."""
    for _ in range(draw(st.integers(1, 2))):
        tree = json.loads(json.dumps(tree))
        places = list(walk(tree))
        if not places:
            return draw(st.sampled_from(ODD))
        container, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["odd", "odd", "odd", "drop", "wrap", "text", "rename", "other", "many"]))
        if change == "odd":
            container[key] = draw(st.sampled_from(ODD))
        elif change == "drop":
            del container[key]
        elif change == "wrap":
            container[key] = [container[key]]
        elif change == "text":
            container[key] = str(container[key])
        elif change == "rename" and isinstance(container, dict):
            container[key + "x"] = container.pop(key)
        elif change == "other":
            other, name = draw(st.sampled_from(places))
            container[key] = json.loads(json.dumps(other[name])) if name in other or isinstance(other, list) else None
        else:
            container[key] = [container[key]] * 1000
    return tree


def walk(tree) -> Iterator[tuple[dict | list, object]]:
    """Each place in a tree, as its container and key."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from walk(tree[key])


@st.composite
def damaged(draw, data: bytes) -> bytes:
    """Bytes cut short, flipped, doubled, with something in between, or in another encoding."""
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    to = min(len(data), at + draw(st.integers(1, 60)))
    change = draw(st.sampled_from(["cut", "flip", "double", "insert", "insert", "drop", "utf-16", "mark", "crlf"]))
    return {"cut": data[:at], "flip": data[:at] + bytes([data[at] ^ 1 << at % 8] if data else []) + data[at + 1:],
            "double": data[:to] + data[at:], "insert": data[:at] + draw(st.sampled_from(PIECES)) + data[at:],
            "drop": data[:at] + data[to:], "utf-16": data.decode("latin-1").encode("utf-16"),
            "mark": b"\xef\xbb\xbf" + data, "crlf": data.replace(b"\n", b"\r\n")}[change]
