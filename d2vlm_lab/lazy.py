"""Imports that happen when they are needed, and quickly, so that a command does not wait for what it does not use."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType


def quick_import(module: str) -> ModuleType:
    """Import without the garbage collector, which would look through all that is imported again and again.

    Modules stay for as long as the process, so they are left out of later collections, too. This saves a third of the
    time that it takes to import torch and transformers.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        imported = importlib.import_module(module)
        gc.freeze()
        return imported
    finally:
        if enabled:
            gc.enable()


def lazy(package: str, files: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], object], list[str]]:
    """`__getattr__, __all__ = lazy(__name__, {file: its names})` in the `__init__.py` of a package."""
    file_of = {name: file for file, names in files.items() for name in names}

    def get(name: str) -> object:
        if name not in file_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(quick_import(f"{package}.{file_of[name]}"), name)

    return get, sorted(file_of)
