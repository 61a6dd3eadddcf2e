"""Whether the metrics that a study compares exist, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...errors import LabError
from ...judging.catalogue import CATALOGUE
from ...settings import closest


def check_metrics(metrics: Iterable[str], sources: Sequence[str], notebook: str) -> None:
    """Each metric is in the catalogue, or in quotes in the code of the notebook, which then computes it itself."""
    for metric in metrics:
        quoted = re.compile(rf"""(["']){re.escape(metric)}\1""")
        if metric not in CATALOGUE and not any(quoted.search(source) for source in sources):
            meant = closest(metric, CATALOGUE)
            raise LabError(
                f"metrics: {metric!r} is neither in the catalogue, which `d2vlm-lab metrics` prints, nor in quotes in "
                f"{notebook}" + (f"; did you mean {meant!r}?" if meant else ""))
