"""Values as a message shows them: short, rounded, on one line where that is possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

LONGEST = 300  # characters of one value


def shown(value) -> str:
    """A value for people: tensors as nested lists, numbers with at most four digits after the decimal point."""
    text = _plain(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def shown_inputs(names: Sequence[str], args: Sequence) -> str:
    """One line for each argument: `name = value`."""
    return "\n".join(f"{name} = {shown(value)}" for name, value in zip(names, args))


def _plain(value) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.tolist()
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, (float, np.floating)):
        return f"{round(float(value), 4):g}" if abs(value) < 1e4 else f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain(key)}: {_plain(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(_plain, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    try:
        return repr(value)
    except Exception:  # an object of the student's own, of any kind
        return f"an object of the class {type(value).__name__}"
