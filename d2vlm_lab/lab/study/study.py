"""The experiment file: a question, what varies, what is held fixed. All of it is checked before anything runs."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path

from ...config import ROOT, RunConfig, read_config, resolve
from ...errors import LabError
from ...ideas.rejected import Recipe
from ...settings import ConfigError, flatten, from_dict, override, read_yaml, suggest
from .metrics import check_metrics

EXPERIMENTS = ROOT / "experiments"
EXTRA = "notebook."  # settings with this prefix are parameters of the notebook, not of the run
GIVEN = ("settings", "out")  # parameters that every notebook of a study has


@dataclass(frozen=True)
class Reported:
    """A number from the paper, shown beside the measured ones."""

    metric: str
    variant: str
    value: float
    source: str  # where it stands


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

    seeds: tuple[int, ...] = ()  # empty: the study's
    variants: tuple[str, ...] = ()  # empty: all
    base: dict[str, object] = field(default_factory=dict)  # after the study's base, before the variant
    shared: dict[str, dict[str, object]] = field(default_factory=dict)  # further overrides of shared work
    minutes: float | None = None  # that all runs take together, used until runs have been measured


@dataclass(frozen=True)
class Study:
    name: str
    question: str
    hypothesis: str
    notebook: str  # relative to the project
    preset: str
    variants: dict[str, dict[str, object]]  # an empty one is the base as it is
    reference: str  # differences are taken to this variant
    metrics: tuple[str, ...]
    against: dict[str, str] = field(default_factory=dict)  # variants that are compared with another one instead
    seeds: tuple[int, ...] = (0,)
    base: dict[str, object] = field(default_factory=dict)
    paper: tuple[Reported, ...] = ()
    shared: dict[str, Shared] = field(default_factory=dict)
    worlds: dict[str, World] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)


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


def read_study(source: str) -> tuple[Study, Path]:
    """A study by its name or file, with its file; all of its profiles are checked."""
    path = Path(source) if source.endswith((".yaml", ".yml")) else EXPERIMENTS / f"{source}.yaml"
    if not path.exists() and path.parent == EXPERIMENTS:
        known = sorted(file.stem for file in EXPERIMENTS.glob("*.yaml"))
        raise ConfigError(f"no study {source!r}{suggest(source, known) if known else ''}")
    tree = read_yaml(path)
    if isinstance(tree.get("variants"), dict):
        tree["variants"] = {name: {} if changes is None else changes for name, changes in tree["variants"].items()}
    study = from_dict(Study, tree, str(path))
    try:
        check(study)
        for profile in ("", *study.profiles):
            check_points(study, profile)
    except LabError as error:
        raise ConfigError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    return study, path


def check(study: Study) -> None:
    """Everything that does not depend on a profile."""
    def known(name: str, where: str, names) -> None:
        if name not in names:
            raise ConfigError(f"{where}: there is no {name!r}{suggest(name, names) if names else ''}")

    if not study.variants or not study.metrics or not study.seeds:
        raise ConfigError("variants, metrics and seeds: name at least one of each")
    if study.name != Path(study.name).name or study.name.startswith((".", "shared")):
        raise ConfigError(f"name: {study.name!r} has to be a plain folder name (and not `shared`)")
    known(study.reference, "reference", study.variants)
    for variant, other in study.against.items():
        known(variant, "against", study.variants)
        known(other, f"against.{variant}", [name for name in study.variants if name != variant])
    for i, reported in enumerate(study.paper):
        known(reported.variant, f"paper[{i}].variant", study.variants)
        known(reported.metric, f"paper[{i}].metric", study.metrics)
    for name, profile in study.profiles.items():
        for variant in profile.variants:
            known(variant, f"profiles.{name}.variants", study.variants)
        for work in profile.shared:
            known(work, f"profiles.{name}.shared", study.shared)
    sources = ["".join(cell["source"]) for cell in notebook_cells(notebook_path(study)) if cell["cell_type"] == "code"]
    check_metrics(study.metrics, sources, study.notebook)
    parameters = notebook_parameters(notebook_path(study))
    if missing := [name for name in GIVEN if name not in parameters]:
        raise ConfigError(f"notebook: {study.notebook} has no parameter {missing[0]!r}; a study gives it "
                          f"{' and '.join(GIVEN)}")


def check_points(study: Study, profile: str) -> None:
    """No variant of a profile is the same run as the base or as another variant."""
    seed, within = study.seeds[0], f" (profile {profile})" if profile else ""
    base = make_point(study, profile, None, seed)
    seen: dict[str, str] = {}
    for name in variants_of(study, profile):
        point = make_point(study, profile, name, seed)
        if point.config == base.config and point.extras == base.extras and study.variants[name]:
            raise ConfigError(f"variants.{name}{within} changes nothing: its values are those of the base "
                              "already (for the base as it is, write {})")
        key = json.dumps([flatten(point.config), point.extras], sort_keys=True)
        if key in seen:
            raise ConfigError(f"variants.{seen[key]} and variants.{name}{within} are the same run")
        seen[key] = name
        for work in point.needs:
            make_shared(study, profile, work, seed)
        check_start(point.config, f"variants.{name}")
    for name in study.shared:
        check_start(make_shared(study, profile, name, seed).config, f"shared.{name}")


def points_of(study: Study, profile: str, seeds: tuple[int, ...] = ()) -> list[Point]:
    """The grid of a profile, seed by seed, so that an early stop leaves whole comparisons."""
    seeds = seeds or seeds_of(study, profile)
    return [make_point(study, profile, name, seed) for seed in seeds for name in variants_of(study, profile)]


def seeds_of(study: Study, profile: str) -> tuple[int, ...]:
    return study.profiles.get(profile, Profile()).seeds or study.seeds


def variants_of(study: Study, profile: str) -> list[str]:
    return list(study.profiles.get(profile, Profile()).variants or study.variants)


def make_point(study: Study, profile: str, variant: str | None, seed: int) -> Point:
    """A variant's run: the preset, then the base, the profile's base and the variant; None is the base itself."""
    changes = {"base": study.base, f"profiles.{profile}.base": study.profiles.get(profile, Profile()).base}
    if variant is not None:
        changes[f"variants.{variant}"] = study.variants[variant]
    flat, extras = {"seed": seed}, {}
    parameters = notebook_parameters(notebook_path(study))
    config = read_config(study.preset)
    for where, layer in changes.items():
        for key, value in layer.items():
            if not key.startswith(EXTRA):
                _known_setting(config, key, where)
                flat[key] = value
            elif (name := key.removeprefix(EXTRA)) in parameters and name not in GIVEN:
                extras[name] = value
            else:
                names = [f"{EXTRA}{p}" for p in parameters if p not in GIVEN]
                raise ConfigError(f"{where}: {key}: {study.notebook} has no such parameter"
                                  f"{suggest(key, names) if names else ''}")
    point = Point(variant or "", seed, _override(config, flat, where), extras)
    for name in point.needs:
        if name not in study.shared:
            raise ConfigError(f"{where}: there is no shared work {name!r}"
                              f"{suggest(name, study.shared) if study.shared else ''}")
    return point


def make_shared(study: Study, profile: str, name: str, seed: int) -> Point:
    """The training run behind `@name` for a seed; if it sets `seed` itself, all seeds have it in common."""
    work = study.shared[name]
    where = f"shared.{name}"
    config = read_config(work.preset or study.preset)
    flat = {"seed": seed, **work.overrides, **study.profiles.get(profile, Profile()).shared.get(name, {})}
    for key in flat:
        _known_setting(config, key, where)
    config = _override(config, flat, where)
    if config.parts.start.startswith("@"):
        raise ConfigError(f"{where}: shared work cannot start from other shared work")
    return Point(f"@{name}", config.seed, config, {})


def check_start(config: RunConfig, where: str) -> None:
    """Everything that a run starts from exists, except worlds, which can be made; its preference recipe is valid."""
    start, data = config.parts.start, config.data
    if start and not start.startswith("@") and not resolve(start).is_dir():
        raise ConfigError(f"{where}: parts.start: there is no checkpoint {start}")
    for name in ("train", "val", "videos"):
        if (value := getattr(data, name)) and not resolve(value).exists():
            raise ConfigError(f"{where}: data.{name}: there is no {value}")
    for name, file in (("preference", config.preference.file), ("reward", config.reward.file)):
        if file and not resolve(file).exists():
            raise ConfigError(f"{where}: {name}.file: there is no {file}")
    override(Recipe(), config.preference.recipe, f"{where}: preference.recipe")


def notebook_path(study: Study) -> Path:
    path = Path(study.notebook) if Path(study.notebook).exists() else ROOT / study.notebook
    if not path.is_file():
        raise ConfigError(f"notebook: there is no {study.notebook}")
    return path.resolve()


def notebook_cells(path: Path) -> list[dict]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"notebook: {path} is not a notebook ({error})") from None


def notebook_parameters(path: Path) -> dict[str, object]:
    """Names that the notebook's `parameters` cell assigns, with their defaults (None for what is not a plain value)."""
    for cell in notebook_cells(path):
        if "parameters" in cell["metadata"].get("tags", ()):
            body = ast.parse("".join(cell["source"])).body
            return {target.id: getattr(node.value, "value", None) for node in body if isinstance(node, ast.Assign)
                    for target in node.targets if isinstance(target, ast.Name)}
    raise ConfigError(f"notebook: {path} has no cell with the tag `parameters`")


def _known_setting(config: RunConfig, key: str, where: str) -> None:
    if key not in flatten(config):
        raise ConfigError(f"{where}: {key}: no such setting{suggest(key, flatten(config))}")


def _override(config: RunConfig, flat: dict, where: str) -> RunConfig:
    try:
        return override(config, flat)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
