"""Read the files of a checkpoint. One that is missing or damaged is an error that names it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import LabError


def read_json(path: Path) -> dict:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not readable as JSON, the file is damaged ({error})") from None
    if not isinstance(data, dict):
        raise LabError(f"{path}: expected an object, found {type(data).__name__}")
    return data


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise LabError(f"{path}: no such file; weights are read from safetensors only") from None
    except SafetensorError as error:
        raise LabError(f"{path}: not readable as safetensors, the file is damaged ({error})") from None
