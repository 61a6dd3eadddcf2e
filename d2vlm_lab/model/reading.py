"""Read the files of a checkpoint. A file that is missing or damaged, or of which no model can be built, is an error
that names the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..errors import LabError, first_line
from ..reader import opened, read_json
from ..shapes import shown

__all__ = ["building", "check_files", "check_sizes", "read_json", "read_shapes", "read_tensors"]
LARGEST = 10**7  # limit for numbers in the description of a model: widths, numbers of rows, positions and so on
LAYERS = 1000


def read_tensors(path: Path) -> dict[str, Tensor]:
    with tensors_of(path):
        return load_file(path)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a file; the tensors themselves are not read."""
    with tensors_of(path), safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def tensors_of(path: Path) -> Iterator[None]:
    if not path.exists():
        raise LabError(f"{path}: no such file; weights are read from safetensors only")
    opened(path).close()
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise LabError(f"{path}: not readable as safetensors, the file is damaged ({first_line(error)})") from None


@contextmanager
def building(path: Path) -> Iterator[None]:
    """Turns what libraries raise for a wrong description of a model or tokenizer into one line that names the file."""
    try:
        yield
    except LabError as error:
        if str(path.parent) in str(error):
            raise
        raise LabError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001 - tokenizers raise Exception itself
        raise LabError(f"{path}: no model can be built of this ({type(error).__name__}: {first_line(error)}); the "
                       "file was changed or damaged") from None


def check_files(folder: Path) -> None:
    """An error that names a pipe, a socket or a device in a checkpoint, because a library would wait for it."""
    for path in folder.iterdir():
        if path.exists() and not path.is_dir():
            opened(path).close()


def check_sizes(description, where: str, path: str = "") -> None:
    """An error for a number with which building the model would take all memory or all time."""
    if isinstance(description, dict):
        for name, value in description.items():
            most = LAYERS if "layers" in str(name) else LARGEST
            if isinstance(value, int) and not -LARGEST <= value <= most:
                raise LabError(f"{where}: {path}{name}: expected a number of at most {most:,}, found {shown(value)}")
            check_sizes(value, where, f"{path}{name}.")
    elif isinstance(description, Sequence) and not isinstance(description, str):
        for value in description:
            check_sizes(value, where, path)
