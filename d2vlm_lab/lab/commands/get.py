"""`d2vlm-lab get NAME`: a checkpoint by its hub id, or what the hub has of a data set, and what to fetch by hand."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from ...config import resolve
from ...errors import LabError
from ...files import atomic_path
from ...hub import HUB_ID, download, page
from ...judging.benchmarks import DATA_SETS, Benchmark
from ...settings import suggest
from .data import about


def get_data(name: str, folder: Path, revision: str | None = None) -> None:
    """Put into a folder what the hub has of a data set; a file that is there already must be the same."""
    source = DATA_SETS[name].hub
    wanted = {file: f"{source.inside}/{file}".lstrip("/") for file in source.files}
    cache = download(source.repository, revision, tuple(wanted.values()), "dataset")
    for file, there in wanted.items():
        if not (cache / there).is_file():
            raise LabError(f"{source.repository} has no {there}; look at {page(source.repository, 'dataset')}")
        digest = _digest(cache / there)
        if (folder / file).exists() and _digest(folder / file) != digest:
            raise LabError(f"{folder / file}: another file than the hub has; move it away to fetch that one")
        with atomic_path(folder / file) as partial:
            shutil.copyfile(cache / there, partial)
        print(f"{folder / file}  {(folder / file).stat().st_size / 2**20:,.1f} MB  sha256 {digest[:16]}")
    print(f"from {page(source.repository, 'dataset')}, revision {cache.name[:12]}, licence: {source.licence}")


def get_checkpoint(name: str, revision: str | None) -> None:
    """Fetch a repository of weights into the cache of the hub's client."""
    source, named = HUB_ID.fullmatch(name).groups()
    folder = download(source, revision or named)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}  {size / 2**20:,.1f} MB, revision {folder.name[:12]}")
    print(f"Wherever a command takes a checkpoint, {name} now means this folder, also without a network.")


def listing() -> str:
    """Every data set, and what is fetched of it."""
    def row(name: str, layout: Benchmark) -> str:
        if layout.hub is None:
            return f"{name:22} by hand: {layout.page}"
        return f"{name:22} {', '.join(layout.hub.files)} ({layout.hub.licence}); videos by hand"

    return "\n".join([*(row(name, layout) for name, layout in DATA_SETS.items() if name != "world"),
                      f"{'OWNER/NAME':22} a checkpoint on the hub, or weights; @REVISION may follow"])


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def configure(parser) -> None:
    parser.add_argument("name", nargs="?", help="a data set, or OWNER/NAME on the hub; leave it out to see all")
    parser.add_argument("folder", nargs="?", help="of a data set: where to put it (default: data/NAME)")
    parser.add_argument("--revision", help="branch, tag or commit")


def run(args) -> None:
    if args.name is None:
        print(listing())
    elif args.name in DATA_SETS:
        if DATA_SETS[args.name].hub is not None:
            get_data(args.name, Path(args.folder) if args.folder else resolve(f"data/{args.name}"), args.revision)
            print("Videos come with terms of their own, and are fetched by hand:")
        print(about(args.name))
    elif HUB_ID.fullmatch(args.name):
        if args.folder:
            raise LabError("a checkpoint is kept in the cache of the hub's client; leave the folder out, or export it")
        get_checkpoint(args.name, args.revision)
    else:
        raise LabError(f"{args.name}: neither a data set nor OWNER/NAME{suggest(args.name, sorted(DATA_SETS))}")
