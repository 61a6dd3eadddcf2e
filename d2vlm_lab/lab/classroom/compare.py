"""Whether two answers are the same: tensors up to rounding, and lists, tuples and dictionaries of them."""

from __future__ import annotations

from numbers import Real

import numpy as np
import torch
from torch import Tensor

CLOSE = 1e-4


def same(a, b) -> bool:
    """Equal up to rounding; a tuple equals a list, a number a tensor without dimensions, and True the number 1.

    What cannot be compared at all is not the same.
    """
    try:
        return _same(a, b)
    except Exception:
        return False


def _same(a, b) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return _same_tensors(a, b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return _same_tensors(torch.as_tensor(a), torch.as_tensor(b)) if _is_array(a) and _is_array(b) else False
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if _is_number(a) and _is_number(b):
        both_nan = a != a and b != b
        return bool(both_nan or a == b or abs(a - b) <= CLOSE * max(1.0, abs(b)))
    return type(a) is type(b) and bool(a == b)


def _same_tensors(a, b) -> bool:
    a, b = (torch.as_tensor(x) if _is_number(x) else x for x in (a, b))
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.shape != b.shape:
        return False
    if (a.dtype == torch.bool) != (b.dtype == torch.bool) or a.is_complex() or b.is_complex():
        return False
    a, b = a.detach().double(), b.detach().double()
    return bool(torch.allclose(a, b, rtol=CLOSE, atol=CLOSE, equal_nan=True))


def _is_number(value) -> bool:
    return isinstance(value, (Real, np.number, np.bool_))


def _is_array(value) -> bool:
    return isinstance(value, (Tensor, np.ndarray))
