"""What a metric's name means, in words that an axis can carry; settings as a command line takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ...judging.catalogue import CATALOGUE


@dataclass(frozen=True)
class Label:
    text: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.unit})" if self.unit else self.text


def label(metric: str) -> Label:
    """The label of a metric; a metric that is not in the catalogue is called by its name."""
    known = CATALOGUE.get(metric)
    return Label(known.label, known.unit) if known else Label(metric)


def assignments(settings: Mapping[str, object]) -> list[str]:
    """`key=value` for each; `off` and `false` are the same word there."""
    def word(value: object) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return value if isinstance(value, str) else json.dumps(value)

    return [f"{key}={word(value)}" for key, value in settings.items()]
