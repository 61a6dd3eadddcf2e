"""Imports that happen when they are needed, and quickly, so that a command does not wait for what it does not use."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def quick_import(module: str) -> ModuleType:
    """Import without the garbage collector, which would look through all that is imported again and again.

    Modules stay for as long as the process, so they are left out of later collections, too. This saves a seventh of the
    time that it takes to import torch and transformers.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        with _one_scan():
            imported = importlib.import_module(module)
        gc.freeze()
        return imported
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _one_scan() -> Iterator[None]:
    """Within this block transformers, if it is imported there, reads the source of all its models once, not twice."""
    finder = _Remembering()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        finder.restore()


class _Remembering:
    """Keeps what transformers found when it looked which names each file defines; that takes a quarter of a second.

    The function that looks is replaced as soon as its module is imported, which is before its first call. A version of
    transformers without such a function is imported as usual.
    """

    MODULE, FUNCTION = "transformers.utils.import_utils", "create_import_structure_from_path"

    def __init__(self):
        self.found: dict[str, dict] = {}
        self.restore: Callable[[], None] = lambda: None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.MODULE or (spec := PathFinder.find_spec(name, path)) is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_replace(module: ModuleType) -> None:
            execute(module)
            if look := getattr(module, self.FUNCTION, None):
                setattr(module, self.FUNCTION, lambda folder: self.look_once(look, folder))
                self.restore = lambda: setattr(module, self.FUNCTION, look)

        spec.loader.exec_module = execute_and_replace
        return spec

    def look_once(self, look: Callable[[str], dict], folder: str) -> dict:
        known = str(folder).removesuffix("__init__.py").rstrip("/\\")  # the file in a folder names it, too
        if known not in self.found:
            self.found[known] = look(folder)
        return self.found[known]


def lazy(package: str, files: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], object], list[str]]:
    """`__getattr__, __all__ = lazy(__name__, {file: its names})` in the `__init__.py` of a package."""
    file_of = {name: file for file, names in files.items() for name in names}

    def get(name: str) -> object:
        if name not in file_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(quick_import(f"{package}.{file_of[name]}"), name)

    return get, sorted(file_of)
