"""Whether the metrics that a study compares exist, checked before anything runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ...judging.catalogue import CATALOGUE
from ...settings import ConfigError, closest


def check_metrics(metrics: Iterable[str], notebook: Path) -> None:
    """Each metric is in the catalogue, or in quotes in the code of the notebook, which then computes it itself."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for metric in metrics:
        if metric not in CATALOGUE and not re.search(rf"""(["']){re.escape(metric)}\1""", code):
            meant = closest(metric, CATALOGUE)
            raise ConfigError(f"metrics: {metric!r} is neither in the catalogue, which `d2vlm-lab metrics` prints, nor "
                              f"in quotes in {notebook.name}" + (f"; did you mean {meant!r}?" if meant else ""))
