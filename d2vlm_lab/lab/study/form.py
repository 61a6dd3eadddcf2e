"""What an experiment file holds, and the points of its grid."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...config import RunConfig
from ...shapes import Positive, Seed

EXTRA = "notebook."  # settings with this prefix are parameters of the notebook, not of the run


@dataclass(frozen=True)
class Reported:
    """A number from the paper, shown beside the measured ones."""

    metric: str
    variant: str
    value: float
    source: str  # where the paper gives it


@dataclass(frozen=True)
class Shared:
    """A training run that is made once for each seed; runs with `parts.start: "@NAME"` start from it."""

    preset: str = ""  # empty: the study's
    overrides: dict[str, object] = field(default_factory=dict)  # on the preset; the study's `base` does not apply


@dataclass(frozen=True)
class World:
    """A world that notebooks need besides `data.world`; if it is missing, it is made as by make-world."""

    preset: str = "small"
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A size of the study."""

    seeds: tuple[Seed, ...] = ()  # empty: the study's
    variants: tuple[str, ...] = ()  # empty: all
    base: dict[str, object] = field(default_factory=dict)  # after the study's base, before the variant
    shared: dict[str, dict[str, object]] = field(default_factory=dict)  # further overrides of shared work
    conditions: tuple[str, ...] = ()  # empty: all
    minutes: Positive | None = None  # how long all runs take together, until runs have been measured


@dataclass(frozen=True)
class Study:
    name: str
    question: str
    hypothesis: str
    notebook: str  # relative to the project
    preset: str
    variants: dict[str, dict[str, object]]  # changes to the base; an empty one changes nothing
    reference: str  # differences are measured from this variant
    metrics: tuple[str, ...]
    against: dict[str, str] = field(default_factory=dict)  # variants that are compared with another one instead
    seeds: tuple[Seed, ...] = (0,)
    base: dict[str, object] = field(default_factory=dict)
    paper: tuple[Reported, ...] = ()
    shared: dict[str, Shared] = field(default_factory=dict)
    worlds: dict[str, World] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    conditions: dict[str, dict[str, object]] = field(default_factory=dict)  # each variant is made under each of them
    ideas: dict[str, tuple[str, str]] = field(default_factory=dict)  # the variant with an idea, and the one without


@dataclass(frozen=True)
class Point:
    """One run to make: a variant with a seed, or shared work (`variant` is then its @name)."""

    variant: str
    seed: int
    config: RunConfig
    extras: dict[str, object]

    @property
    def needs(self) -> list[str]:
        """Names of the shared work that it starts from."""
        values = (self.config.parts.start, *self.extras.values())
        return sorted({v[1:] for v in values if isinstance(v, str) and v.startswith("@")})
