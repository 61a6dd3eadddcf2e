"""One computed quantity against the recorded one, and how closely they must agree."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from d2vlm_lab.errors import LabError

STATE = {"atol": 2e-4, "rtol": 1e-4}  # hidden states, similarities, logits
TARGET = {"atol": 1e-6}
LOSS = {"rtol": 1e-5}
LOG_PROBABILITY = {"atol": 2e-3}
EXACT: dict[str, float] = {}


@dataclass(frozen=True)
class Row:
    """A computed quantity against the recorded one. `tolerance` is the bound where the difference is largest."""

    case: str
    quantity: str
    max_abs: float
    mean_abs: float
    tolerance: float
    ok: bool
    compat: str | None = None


Found = tuple[list[Row], list[str]]  # rows, and what was not compared


def compare(case: str, quantity: str, computed, recorded, atol: float = 0.0, rtol: float = 0.0,
            compat: str | None = None) -> Row:
    """|computed - recorded| <= atol + rtol |recorded|, element by element; another shape or a NaN is infinitely far."""
    a, b = _array(computed), _array(recorded)
    if a.shape != b.shape:
        return Row(case, quantity, math.inf, math.inf, atol, False, compat)
    if a.size == 0:
        return Row(case, quantity, 0.0, 0.0, atol, True, compat)
    apart = np.where(a == b, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf)).ravel()
    bound = atol + rtol * np.abs(b).ravel()
    bad = ~(apart <= bound)
    where = np.where(bad, apart - bound, -np.inf).argmax() if bad.any() else apart.argmax()
    return Row(case, quantity, float(apart.max()), float(apart.mean()), float(bound[where]), not bad.any(), compat)


def read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not readable as JSON ({error})") from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return dict(data)
    except FileNotFoundError:
        raise LabError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LabError(f"{path}: not readable as numpy arrays ({error})") from None


def _array(value) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float64)


def pairs(flat: list[float] | None) -> list[tuple[float, float]]:
    """[s, e, s, e, ...] -> [(s, e), (s, e), ...]"""
    flat = flat or []
    return list(zip(flat[::2], flat[1::2]))
