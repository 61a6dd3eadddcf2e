"""Folders by their hub id: they are fetched once, checked, and from then on used like any folder on this machine.

`owner/name` or `owner/name@revision`, where a revision is a branch, a tag or a commit. The client of the hub keeps what
it fetched in its own cache (HF_HOME). A download that breaks off goes on where it stopped, and after a kill the files
that are whole are not fetched again. HF_ENDPOINT names another server; with HF_HUB_OFFLINE=1 no server is asked.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from functools import cache
from pathlib import Path
from typing import Literal

from .config import ROOT, resolve
from .errors import LabError
from .shapes import shown

HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(.+))?")
# Weights, configs, tokenizers, chat templates and the page about them; never a pickle, and no code.
MODEL = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md")
OTHER_FORMS = ("onnx/*", "openvino/*", "original/*", "consolidated*")  # of the same weights
HASHES = {64: "sha256", 40: "sha1"}  # by their number of digits: of large files, and of small ones as git has them


def fetched(source: str | os.PathLike, revision: str | None = None) -> Path:
    """The folder `source` if there is one, else the folder of the hub id `source`, else a path that may not exist."""
    if not is_hub_id(source):
        return resolve(str(source))
    name, named = HUB_ID.fullmatch(source).groups()
    return download(name, revision or named)


@cache
def download(name: str, revision: str | None = None, files: tuple[str, ...] = MODEL,
             kind: Literal["model", "dataset"] = "model") -> Path:
    """The folder in the client's cache that holds these files of a repository, as far as it has them.

    A process asks the hub once, so that a run uses the same files throughout, even if a branch moves meanwhile.
    """
    from huggingface_hub import errors, snapshot_download  # takes a third of a second, and folders need none of it

    started, here = time.time(), "no such folder here, " if kind == "model" else ""
    try:
        folder = snapshot_download(name, repo_type=kind, revision=revision, allow_patterns=list(files),
                                   ignore_patterns=list(OTHER_FORMS))
    except errors.GatedRepoError:
        raise LabError(f"{name}: its owners ask for an agreement: accept it at {page(name, kind)}, then run "
                       "`hf auth login` and try again") from None
    except errors.RevisionNotFoundError:
        raise LabError(f"{name}: no revision {shown(revision)} at {page(name, kind)}") from None
    except errors.RepositoryNotFoundError:
        raise LabError(f"{name}: {here}{'and ' if here else ''}no such {kind} at {endpoint()}, or a private one "
                       "(then `hf auth login` first)") from None
    except errors.LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if offline() else f"{endpoint()} cannot be reached"
        raise LabError(f"{name}: {here}it was not fetched before, and {why}") from None
    except Exception as error:
        raise LabError(f"{name}: could not be fetched whole ({reason(error)}); the files that are whole are kept, so "
                       "try again") from None
    check_new(Path(folder), started)
    return Path(folder)


def is_hub_id(source: str | os.PathLike) -> bool:
    """Whether this names a repository on the hub: no folder has the name, nor the part before the slash."""
    if not isinstance(source, str) or HUB_ID.fullmatch(source) is None or os.path.lexists(resolve(source)):
        return False
    first = source.partition("/")[0]
    return not (os.path.isdir(first) or os.path.isdir(ROOT / first))


def check_new(folder: Path, since: float) -> None:
    """An error if a file that was fetched after `since` is not the file that the hub has; the file is then removed.

    The client compares sizes only. In the client's cache, the name of a file is its hash.
    """
    for path in sorted(folder.rglob("*")):
        content = path.resolve()
        if not path.is_file() or content.stat().st_mtime < since - 2 or len(content.name) not in HASHES:
            continue
        digest = hashlib.new(HASHES[len(content.name)])
        if digest.name == "sha1":
            digest.update(f"blob {content.stat().st_size}\0".encode())
        with open(content, "rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
        if digest.hexdigest() != content.name:
            content.unlink()
            path.unlink(missing_ok=True)
            raise LabError(f"{path.relative_to(folder)}: not the file that the hub has, by its hash; it was damaged on "
                           "the way and is removed, so fetch it again")


def page(name: str, kind: str = "model") -> str:
    return f"{endpoint()}/{'datasets/' if kind == 'dataset' else ''}{name}"


def endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def offline() -> bool:
    from huggingface_hub import constants

    return constants.is_offline_mode()


def reason(error: Exception) -> str:
    """Why a request failed, in a few words."""
    while not hasattr(error, "response") and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if (response := getattr(error, "response", None)) is not None:
        hint = ": `hf auth login` with a token that may do this" if response.status_code in (401, 403) else ""
        return f"the server says {response.status_code}{hint}"
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200]
