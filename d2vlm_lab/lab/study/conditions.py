"""A study under several conditions: every variant is made under each of them, and compared within it.

In the file, `conditions` names settings, as `variants` does. Everything that speaks of variants or of shared work then
counts for each condition. From then on, variants have names such as `crowded-1: fpo`, and no other file needs to know
of conditions.
"""

from __future__ import annotations

from dataclasses import replace

from ...errors import LabError
from ...settings import suggest
from .form import EXTRA, Profile, Shared, Study

BETWEEN = ": "


def under(condition: str, variant: str) -> str:
    return f"{condition}{BETWEEN}{variant}"


def check_conditions(study: Study) -> None:
    """All conditions, variants and shared work that the study refers to exist."""
    pairs = {f"ideas.{idea}": pair for idea, pair in study.ideas.items()}
    if study.conditions:  # in a study without them, `against` is checked with everything else that it compares
        pairs |= {f"against.{pair[0]}": pair for pair in study.against.items()}
    for where, pair in pairs.items():
        for name in pair:
            if name not in study.variants:
                raise LabError(f"{where}: there is no {name!r}{suggest(name, study.variants)}")
    for where, profile in study.profiles.items():
        for name in profile.conditions:
            if name not in study.conditions:
                raise LabError(f"profiles.{where}.conditions: there is no {name!r}{suggest(name, study.conditions)}")
        for name in profile.shared:
            if name not in study.shared:
                raise LabError(f"profiles.{where}.shared: there is no {name!r}{suggest(name, study.shared)}")
    layers = {"base": study.base, **{f"profiles.{name}.base": profile.base for name, profile in study.profiles.items()},
              **{f"conditions.{name}": values for name, values in study.conditions.items()},
              **{f"variants.{name}": values for name, values in study.variants.items()}}
    for where, layer in layers.items():
        for key, value in layer.items():
            if (key == "parts.start" or key.startswith(EXTRA)) and _is_shared(value) and value[1:] not in study.shared:
                raise LabError(f"{where}: {key}: there is no shared work {value[1:]!r}"
                               f"{suggest(value[1:], study.shared) if study.shared else ''}")
    if bad := [name for name in (*study.conditions, *study.variants) if study.conditions and BETWEEN in name]:
        raise LabError(f"{bad[0]!r}: with conditions, no name has a colon and a blank in it")


def expanded(study: Study) -> Study:
    """The study with each variant under each condition; one without conditions stays as it is."""
    check_conditions(study)
    if not study.conditions:
        return study
    conditions = study.conditions
    first = next(iter(conditions))
    return replace(
        study, reference=under(first, study.reference),
        variants={under(c, v): starting(values | changes, c)
                  for c, values in conditions.items() for v, changes in study.variants.items()},
        against={under(c, v): under(c, study.against.get(v, study.reference))
                 for c in conditions for v in study.variants if v in study.against or v != study.reference},
        shared={f"{name}-{c}": Shared(work.preset, work.overrides | _for_shared(values))
                for c, values in conditions.items() for name, work in study.shared.items()},
        profiles={name: _profile(study, profile) for name, profile in study.profiles.items()})


def condition_of(study: Study, variant: str | None) -> str:
    """The condition of a variant, or the first one for the base itself; empty in a study without conditions."""
    if not study.conditions:
        return ""
    return (variant or study.reference).partition(BETWEEN)[0]


def starting(changes: dict[str, object], condition: str) -> dict[str, object]:
    """A variant that starts from shared work starts from that of its own condition."""
    return {key: f"{value}-{condition}" if condition and _is_shared(value) else value for key, value in changes.items()}


def _is_shared(value: object) -> bool:
    return isinstance(value, str) and value.startswith("@")


def _for_shared(values: dict[str, object]) -> dict[str, object]:
    """The settings of a condition for a training: without those of notebooks, and without what it starts from."""
    return {key: value for key, value in values.items() if not key.startswith(EXTRA) and not _is_shared(value)}


def _profile(study: Study, profile: Profile) -> Profile:
    conditions = profile.conditions or tuple(study.conditions)
    variants = tuple(under(c, v) for c in conditions for v in profile.variants or study.variants)
    shared = {f"{name}-{c}": values | _for_shared(changes) for name, values in profile.shared.items()
              for c, changes in study.conditions.items()}  # as for variants, a condition comes after the profile
    return replace(profile, variants=variants, shared=shared)
