"""The reference of the library for the site: what each file offers, made from its docstrings without importing it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "d2vlm_lab"
FLOORS = {"": "The entrance", "ideas": "The paper as formulas", "data": "From files to batches",
          "model": "From batches to states and answers", "learning": "Training", "judging": "Answers and scores",
          "lab": "What people touch"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> dict[str, Path]:
    """Every file of the library with something public in it, by its name as it is imported."""
    found = {path.relative_to(LIBRARY.parent).with_suffix("").as_posix().replace("/", "."): path
             for path in sorted(LIBRARY.rglob("*.py")) if path.stem != "__init__"}
    return {name: path for name, path in found.items() if any(public(parsed(path)))}


def write(out: Path, source_page) -> None:
    """Fill the folder `out` of the site: a page for each file, and one that leads to them."""
    out.mkdir(parents=True)
    pages = modules()
    for name, path in pages.items():
        shown = source_page(path.relative_to(LIBRARY.parent))
        (out / f"{name}.md").write_text(module_page(name, path, shown), encoding="utf-8")
    (out / "index.md").write_text(index(pages), encoding="utf-8")


def index(pages: dict[str, Path]) -> str:
    """The page that leads to all others, floor by floor."""
    lines = ["# Reference", "", "What each file offers, from its docstrings. Letters in shapes: B batch,",
             "T tokens, F frames, E evidence tokens, D hidden.", ""]
    for floor, title in FLOORS.items():
        names = [name for name in pages if (name.split(".")[1] if name.count(".") > 1 else "") == floor]
        links = [f"- [{short(name)}]({name}.md): {first_line(pages[name])}" for name in names]
        lines += [f"## {title}", "", *links, ""]
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *(f"{short(name)} <{name}>" for name in pages), "```\n"])


def module_page(name: str, path: Path, source: str) -> str:
    tree = parsed(path)
    text = path.read_text(encoding="utf-8")
    parts = [f"# {short(name)}", markdown(tree), f"`import {name}` · [source](/{source})"]
    for node in public(tree):
        parts += [f"## {node.name}", code(head(node, text)), markdown(node)]
        if isinstance(node, ast.ClassDef):
            parts += [code(fields) if (fields := field_lines(node, text)) else ""]
            for method in public(node):
                parts += [f"### {node.name}.{method.name}", code(head(method, text)), markdown(method)]
    return "\n\n".join(filter(None, parts)) + "\n"


def public(tree: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, (*Function.__args__, ast.ClassDef)) and not node.name.startswith("_"):
            yield node


def head(node: Function | ast.ClassDef, text: str) -> str:
    """The lines of a definition up to its colon, as they stand in the file, with its decorators."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    last = max(node.lineno, node.body[0].lineno - 1)
    lines = inspect.cleandoc("\n" + "\n".join(text.splitlines()[first - 1:last])).splitlines()
    while lines[-1].lstrip().startswith("#") or not lines[-1].strip():
        lines.pop()
    return "\n".join(lines)


def field_lines(node: ast.ClassDef, text: str) -> str:
    """The fields of a dataclass or of an object of a file, with the comments that explain them."""
    lines = text.splitlines()
    found = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign):
            first = field.lineno
            while lines[first - 2].lstrip().startswith("#"):
                first -= 1
            found += lines[first - 1:field.end_lineno]
    return inspect.cleandoc("\n" + "\n".join(found))


def markdown(node: ast.Module | Function | ast.ClassDef) -> str:
    """The docstring; tokens such as <evi> and single dollars are no markup."""
    parts = re.split(r"(`[^`]*`)", ast.get_docstring(node) or "")
    return "".join(part if part.startswith("`") else re.sub(r"([<$*_\[])", r"\\\1", part) for part in parts)


def first_line(path: Path) -> str:
    return markdown(parsed(path)).split("\n\n")[0].replace("\n", " ")


def code(text: str) -> str:
    return f"```python\n{text}\n```"


def short(name: str) -> str:
    return name.removeprefix("d2vlm_lab.")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
