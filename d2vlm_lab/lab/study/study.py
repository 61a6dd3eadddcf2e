"""The experiment file: a question, what varies, what is held fixed. All of it is checked before anything runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...config import CHECKOUT, ONLY_IN_A_CHECKOUT, ROOT, RunConfig, read_config, resolve
from ...errors import LabError
from ...hub import is_hub_id
from ...ideas.rejected import Recipe
from ...reader import read_yaml
from ...settings import flatten, from_dict, override, suggest
from ...shapes import shown
from .conditions import condition_of, expanded, starting
from .form import EXTRA, Point, Profile, Study
from .metrics import check_metrics
from .names import check_names, check_seeds
from .parameters import check_extra, notebook_cells, notebook_parameters

EXPERIMENTS = ROOT / "experiments"
GIVEN = ("settings", "out")  # parameters that every notebook of a study has


def read_study(source: str) -> tuple[Study, Path]:
    """A study by its name or file, with its file; all of its profiles are checked."""
    path = Path(source) if source.endswith((".yaml", ".yml")) else EXPERIMENTS / f"{source}.yaml"
    if not path.exists() and path.parent == EXPERIMENTS:
        known = sorted(file.stem for file in EXPERIMENTS.glob("*.yaml"))
        raise LabError(f"no study {source!r}{suggest(source, known) if CHECKOUT else ONLY_IN_A_CHECKOUT}")
    tree = read_yaml(path)
    for kind in ("variants", "conditions"):
        if isinstance(tree.get(kind), dict):
            tree[kind] = {name: {} if changes is None else changes for name, changes in tree[kind].items()}
    study = from_dict(Study, tree, str(path))
    try:
        study = expanded(study)
        check(study)
        for profile in ("", *study.profiles):
            check_points(study, profile)
    except LabError as error:
        raise LabError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except OSError as error:  # a path that is too long, or through what is no folder
        raise LabError(f"{path}: {error.strerror}: {shown(error.filename)}") from None
    return study, path


def check(study: Study) -> None:
    """Everything that does not depend on a profile."""
    def known(name: str, where: str, names) -> None:
        if name not in names:
            raise LabError(f"{where}: there is no {name!r}{suggest(name, names) if names else ''}")

    if not study.variants or not study.metrics or not study.seeds:
        raise LabError("variants, metrics and seeds: name at least one of each")
    check_names(study)
    check_seeds(study)
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
    check_metrics(study.metrics, code_of(study), study.notebook)
    parameters = notebook_parameters(notebook_path(study))
    if missing := [name for name in GIVEN if name not in parameters]:
        raise LabError(f"notebook: {study.notebook} has no parameter {missing[0]!r}; a study gives it "
                       f"{' and '.join(GIVEN)}")


def code_of(study: Study) -> list[str]:
    """The code cells of the notebook."""
    return ["".join(cell["source"]) for cell in notebook_cells(notebook_path(study)) if cell["cell_type"] == "code"]


def check_points(study: Study, profile: str) -> None:
    """No variant of a profile is the same run as the base or as another variant."""
    seed, within = study.seeds[0], f" (profile {profile})" if profile else ""
    base = make_point(study, profile, None, seed)
    examines = any("examine(" in source for source in code_of(study))
    seen: dict[str, str] = {}
    for name in variants_of(study, profile):
        point = make_point(study, profile, name, seed)
        if point.config == base.config and point.extras == base.extras and study.variants[name]:
            raise LabError(f"variants.{name}{within} changes nothing: its values are those of the base "
                           "already (for the base as it is, write {})")
        key = json.dumps([flatten(point.config), point.extras], sort_keys=True)
        if key in seen:
            raise LabError(f"variants.{seen[key]} and variants.{name}{within} are the same run")
        seen[key] = name
        for work in point.needs:
            make_shared(study, profile, work, seed)
        check_start(point.config, f"variants.{name}")
        if examines and point.config.data.train and not point.config.data.val:
            raise LabError(f"variants.{name}: data.val is empty, so that there is nothing to examine; name a file "
                           "with other annotations than those in data.train")
    for name in study.shared:
        check_start(make_shared(study, profile, name, seed).config, f"shared.{name}")


def points_of(study: Study, profile: str, seeds: tuple[int, ...] = ()) -> list[Point]:
    """The grid of a profile, seed by seed, so that an early stop leaves whole comparisons."""
    seeds = seeds or seeds_of(study, profile)
    return [make_point(study, profile, name, seed) for seed in seeds for name in variants_of(study, profile)]


def works_of(study: Study, profile: str, points: Sequence[Point]) -> list[Point]:
    """The shared trainings that these points start from, each once."""
    needed = dict.fromkeys((name, point.seed) for point in points for name in point.needs)
    return [make_shared(study, profile, name, seed) for name, seed in needed]


def seeds_of(study: Study, profile: str) -> tuple[int, ...]:
    return study.profiles.get(profile, Profile()).seeds or study.seeds


def variants_of(study: Study, profile: str) -> list[str]:
    return list(study.profiles.get(profile, Profile()).variants or study.variants)


def make_point(study: Study, profile: str, variant: str | None, seed: int) -> Point:
    """A variant's run: the preset, then the base, the profile's base and the variant; None is the base itself."""
    changes = {"base": study.base} | ({f"profiles.{profile}.base": study.profiles[profile].base} if profile else {})
    changes = {where: starting(layer, condition_of(study, variant)) for where, layer in changes.items()}
    if variant is not None:
        changes[f"variants.{variant}"] = study.variants[variant]
    flat, extras = {"seed": seed}, {}
    parameters = notebook_parameters(notebook_path(study))
    config = read_config(study.preset)
    known = flatten(config)
    for where, layer in changes.items():
        for key, value in layer.items():
            if not key.startswith(EXTRA):
                if key not in known:
                    raise LabError(f"{where}: {key}: no such setting{suggest(key, known)}")
                flat[key] = value
            elif (name := key.removeprefix(EXTRA)) in parameters and name not in GIVEN:
                extras[name] = check_extra(value, parameters[name], f"{where}: {key}")
            else:
                names = [f"{EXTRA}{p}" for p in parameters if p not in GIVEN]
                raise LabError(f"{where}: {key}: {study.notebook} has no such parameter"
                               f"{suggest(key, names) if names else ''}")
    try:
        point = Point(variant or "", seed, override(config, flat), extras)
    except LabError as error:
        guilty = [place for place, layer in changes.items() if any(key in str(error) for key in layer)]
        raise LabError(f"{(guilty or [where])[-1]}: {error}") from None
    for name in point.needs:
        if name not in study.shared:  # all other names were looked up before
            raise LabError(f"preset: parts.start: there is no shared work {name!r}")
    return point


def make_shared(study: Study, profile: str, name: str, seed: int) -> Point:
    """The training run behind `@name` for a seed; if it sets `seed` itself, all seeds have it in common."""
    work = study.shared[name]
    where = f"shared.{name}"
    flat = {"seed": seed, **work.overrides, **study.profiles.get(profile, Profile()).shared.get(name, {})}
    config = override(read_config(work.preset or study.preset), flat, where)
    if config.parts.start.startswith("@"):
        raise LabError(f"{where}: shared work cannot start from other shared work")
    return Point(f"@{name}", config.seed, config, {})


def check_start(config: RunConfig, where: str) -> None:
    """Everything that a run starts from exists, except worlds, which can be made; its preference recipe is valid."""
    start, data = config.parts.start, config.data
    if start and not start.startswith("@") and not resolve(start).is_dir() and not is_hub_id(start):
        raise LabError(f"{where}: parts.start: there is no checkpoint {start}")
    for name in ("train", "val", "videos"):
        if (value := getattr(data, name)) and not resolve(value).exists():
            raise LabError(f"{where}: data.{name}: there is no {value}")
    for name, file in (("preference", config.preference.file), ("reward", config.reward.file)):
        if file and not resolve(file).exists():
            raise LabError(f"{where}: {name}.file: there is no {file}")
    override(Recipe(), config.preference.recipe, f"{where}: preference.recipe")


def notebook_path(study: Study) -> Path:
    path = Path(study.notebook) if Path(study.notebook).exists() else ROOT / study.notebook
    if not path.is_file():
        raise LabError(f"notebook: there is no {study.notebook}")
    return path.resolve()
