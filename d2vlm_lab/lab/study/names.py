"""Checks of names and seeds in an experiment file: no name leads to another place, and no seed is there twice."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...errors import LabError
from ...shapes import shown
from ..run_files import FOLDER, METRIC
from .form import Study

NAME = re.compile(r"[^\W_][^|`\x00-\x1f\x7f]{0,99}")  # names that stand in tables


def check_names(study: Study) -> None:
    """Names become folders, files and parts of tables, so nothing in them may lead elsewhere."""
    def plain(names: Iterable[str], pattern: re.Pattern, where: str, what: str) -> None:
        if bad := [name for name in names if not pattern.fullmatch(name)]:
            raise LabError(f"{where}: {shown(bad[0])} has to be {what}")

    folder = "a plain folder name of letters, digits, blanks and _ . -"
    plain([study.name], FOLDER, "name", folder)
    if study.name.lower().startswith(("shared", "report")):
        raise LabError(f"name: {study.name!r} is kept for what studies share; choose another plain folder name")
    plain(study.shared, FOLDER, "shared", folder)
    plain(study.variants, NAME, "variants", "a name of at most 100 letters that begins with a letter or a digit, "
                                            "without | and `")
    plain(study.profiles, NAME, "profiles", "a name of at most 100 letters that begins with a letter or a digit")
    plain(study.metrics, METRIC, "metrics", "a name of letters, digits and _ . @ + -")
    if twice := [name for name in study.metrics if study.metrics.count(name) > 1]:
        raise LabError(f"metrics: {twice[0]} stands there twice")


def check_seeds(study: Study) -> None:
    """Each seed is a replication of its own: it stands there once, and no setting replaces it."""
    for where, seeds in (("seeds", study.seeds), *((f"profiles.{name}.seeds", profile.seeds)
                                                   for name, profile in study.profiles.items())):
        each_seed_once(seeds, where)
    settings = {"base": study.base, **{f"variants.{name}": changes for name, changes in study.variants.items()},
                **{f"profiles.{name}.base": profile.base for name, profile in study.profiles.items()}}
    if fixed := [where for where, changes in settings.items() if "seed" in changes]:
        raise LabError(f"{fixed[0]}: seed: the seeds of runs come from `seeds`; one that is set here would count as "
                       "several")


def each_seed_once(seeds: Iterable[int], where: str) -> None:
    seeds = list(seeds)
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise LabError(f"{where}: {twice[0]} stands there twice; a run cannot be a replication of itself")
