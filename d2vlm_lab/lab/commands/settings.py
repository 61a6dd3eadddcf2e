"""`d2vlm-lab settings [NAME]`: every setting with its meaning, its default, and the presets that change it."""

from __future__ import annotations

import json
import textwrap
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace

from ...config import RunConfig, presets, read_config
from ...data.world.config import PRESETS as WORLD_PRESETS
from ...data.world.config import WorldConfig, from_preset
from ...errors import LabError
from ...settings import closest, flatten, meanings
from ...shapes import words

WORLD = "world"  # the section under which the settings of make-world are printed
Named = typing.TypeVar("Named")  # anything with a `name`


@dataclass(frozen=True)
class Setting:
    name: str  # with its section: training.steps
    meaning: str
    values: str  # its type and range, or its choices
    default: object
    presets: dict[str, object]  # what the presets that change it set it to


def all_settings() -> list[Setting]:
    """The settings of a run in the order of config.py, then those of a world."""
    runs = {name: flatten(read_config(name)) for name in presets()}
    worlds = {name: flatten(from_preset(name)) for name in WORLD_PRESETS}
    of_world = [replace(setting, name=f"{WORLD}.{setting.name}") for setting in describe(WorldConfig, worlds)]
    return [*describe(RunConfig, runs), *of_world]


def describe(cls: type, presets: dict[str, dict[str, object]], section: str = "") -> list[Setting]:
    """The settings of a dataclass and of the dataclasses in it; of each preset, `presets` has the flat view."""
    settings, meaning, defaults = [], meanings(cls), flatten(cls())
    for field, hint in typing.get_type_hints(cls, include_extras=True).items():
        name = section + field
        if is_dataclass(hint):
            settings += describe(hint, presets, f"{name}.")
        else:
            changed = {preset: flat[name] for preset, flat in presets.items() if flat[name] != defaults[field]}
            settings.append(Setting(name, meaning[field], words(hint), defaults[field], changed))
    return settings


def select(entries: Sequence[Named], name: str, kind: str) -> list[Named]:
    """The entry of that name, or a section, or all entries whose names hold `name`; an error if there is none."""
    exact = [entry for entry in entries if entry.name == name]
    section = [entry for entry in entries if entry.name.startswith(f"{name}.")]
    part = [entry for entry in entries if name in entry.name]
    if selected := exact or section or part:
        return selected
    sections = {entry.name.split(".")[0] for entry in entries if "." in entry.name}
    meant = closest(name, [*(entry.name for entry in entries), *sections])
    raise LabError(f"no {kind} has {name!r} in its name" + (
        f"; did you mean {meant!r}?" if meant else f"; `d2vlm-lab {kind}s` prints all of them"))


def page(settings: Sequence[Setting]) -> str:
    """For people: a paragraph for each setting, a heading for each section."""
    about = {name: hint.__doc__ for name, hint in typing.get_type_hints(RunConfig).items() if is_dataclass(hint)}
    about[WORLD] = ("The synthetic world. These are settings of make-world and of data.world_settings, where they are "
                    "written without `world.`")
    lines, current = [], None
    for setting in settings:
        section = setting.name.rpartition(".")[0]
        if section and section != current:
            lines += [section.upper(), *textwrap.wrap(" ".join(about[section].split()), 100), ""]
        current = section
        meaning = setting.meaning[0].upper() + setting.meaning[1:].removesuffix(".") + "."
        lines += [f"{setting.name} = {as_yaml(setting.default)}", *indented(meaning)]
        lines += indented(f"Value: {setting.values}")
        if setting.presets:
            changes = ", ".join(f"{preset} to {as_yaml(value)}" for preset, value in setting.presets.items())
            lines += indented(f"Changed by presets: {changes}")
        lines.append("")
    return "\n".join(lines[:-1])


def as_yaml(value) -> str:
    """A value as a YAML file or a command line would write it."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    plain = isinstance(value, str) and value and " " not in value
    return value if plain else json.dumps(value)


def indented(text: str) -> list[str]:
    """The lines of a paragraph."""
    return textwrap.wrap(text, 100, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def configure(parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME",
                        help="a setting (training.steps), a section (training) or a part of a name (rate)")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects instead of text")


def run(args) -> None:
    settings = all_settings()
    if args.name is not None:
        settings = select(settings, args.name, "setting")
    print(json.dumps([asdict(setting) for setting in settings], indent=1) if args.json else page(settings))
