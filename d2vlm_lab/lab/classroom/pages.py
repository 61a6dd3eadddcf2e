"""Which exercises there are. A page is imported when one of its exercises is asked for: some bring a model along."""

from __future__ import annotations

from importlib import import_module

from .exercise import Exercise

PAGES = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "10")


def exercises_of(page: str) -> tuple[Exercise, ...]:
    return import_module(f"{__package__}.page{page}").EXERCISES


def names_of(page: str) -> list[str]:
    return [exercise.name for exercise in exercises_of(page)]


def all_names() -> list[str]:
    return [name for page in PAGES for name in names_of(page)]


def find(name: str) -> Exercise | None:
    """The exercise of this name, from the first page on."""
    return next((each for page in PAGES for each in exercises_of(page) if each.name == name), None)
