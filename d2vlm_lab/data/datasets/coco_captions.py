"""Annotation files in the shape of COCO captions, `{"annotations": [...]}`: Charades-STA and YouCook2 come so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

from ...files import atomic_path
from ..sample import Sample, SampleError
from .fields import checked, unique


def read(path: str | os.PathLike, from_record: Callable[..., Sample]) -> list[Sample]:
    """All samples; errors name the file and the annotation."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise SampleError(f"{path}: no such annotation file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SampleError(f"{path}: not readable as JSON ({error})") from None
    found = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise SampleError(f"{path}: expected an object with the list 'annotations'")
    return unique([checked(from_record, record, index, str(path)) for index, record in enumerate(found)], path)


def write(path: str | os.PathLike, annotations: Sequence[dict]) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps({"annotations": list(annotations)}, ensure_ascii=False), encoding="utf-8")
