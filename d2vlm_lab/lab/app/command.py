"""`d2vlm-lab app CHECKPOINT`: a page on this machine on which a video is asked, and the evidence played."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import Annotated

from ...data.sample import brief
from ...data.world import WorldConfig
from ...data.world import load as load_world
from ...data.world.make import make_world
from ...errors import LabError
from ...ideas.evidence import EVIDENCE, Event
from ...settings import override
from ...shapes import Range, fit
from ..ask import load
from .server import ADDRESS, PATIENCE, App
from .shelf import SUFFIXES, Shelf

EXAMPLES = 12  # most of a folder
WORLD = 40  # videos of the small world that are made, of which a tenth is for tests: the examples


def configure(parser) -> None:
    parser.add_argument("checkpoint", help="folder of a checkpoint")
    parser.add_argument("--port", type=int, default=8765, help=f"port on {ADDRESS}; 0 takes a free one")
    parser.add_argument("--examples", type=Path, metavar="DIR", help=f"folder of videos to choose from, the first "
                        f"{EXAMPLES} by name (default, for a checkpoint of the synthetic world: a few of that world)")
    parser.add_argument("--megabytes", type=int, default=200, metavar="N", help="largest video that may be dropped")
    parser.add_argument("--keep", type=int, default=8, metavar="N", help="how many dropped videos are kept")
    parser.add_argument("--fps", type=float, help="frames a second (default: as in training)")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")


def run(args) -> None:
    fit(args.port, Annotated[int, Range(0, 65535)], path="--port")
    fit(args.megabytes, Annotated[int, Range(1, 100_000)], path="--megabytes")
    fit(args.keep, Annotated[int, Range(1, 1000)], path="--keep")
    if args.examples and not os.path.isdir(args.examples):
        raise LabError(f"--examples is {brief(str(args.examples))}; there is no such folder")
    lab = load(args.checkpoint, args.fps, device=args.device)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended in any polite way, it removes what was dropped
    with tempfile.TemporaryDirectory(prefix="d2vlm-app-", ignore_cleanup_errors=True) as folder:
        shelf = Shelf(lab, Path(folder), args.keep, args.megabytes * 2**20)
        try:
            put_examples(shelf, args.examples)
            serve(shelf, args.port)
        except KeyboardInterrupt:
            print("\nended; the videos that were dropped are removed")


def serve(shelf: Shelf, port: int) -> None:
    """Answer until somebody interrupts."""
    try:
        app = App(shelf, port)
    except OSError as error:
        raise LabError(f"--port is {port}; it cannot be used ({error.strerror}); choose another one, or 0") from None
    try:
        print(f"{shelf.lab}\n\nOpen {app.url}\nCtrl-C ends the app.", flush=True)
        app.serve_forever()
    finally:
        app.server_close()
        shelf.model_in_use.acquire(timeout=PATIENCE)


def put_examples(shelf: Shelf, folder: Path | None) -> None:
    """The videos of a folder, or of the small world with questions and their truth."""
    if folder is None:
        return world_examples(shelf) if shelf.lab.world_only else None
    entries = [entry for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
               if Path(entry.name).suffix.lower() in SUFFIXES]
    videos = [Path(entry.path).absolute() for entry in entries if entry.is_file(follow_symlinks=False)]
    if not videos:
        links = "; links are not followed" if any(entry.is_symlink() for entry in entries) else ""
        raise LabError(f"--examples is {brief(str(folder))}; no video lies in it ({', '.join(SUFFIXES)}){links}")
    if len(videos) > EXAMPLES:
        print(f"The first {EXAMPLES} of the {len(videos)} videos in {brief(str(folder))} are offered; drop others on "
              "the page.")
    for path in videos[:EXAMPLES]:
        shelf.add_example(path)


def world_examples(shelf: Shelf) -> None:
    world = load_world(make_world(shelf.folder / "world", override(WorldConfig(), {"videos": WORLD}), workers=1))
    samples = world.samples("test")
    for scene in world.truth("test"):
        asked: dict[str, tuple[str, tuple[Event, ...]]] = {}
        for sample in samples:
            if sample.video == scene.video and not sample.options and EVIDENCE not in sample.question:
                asked.setdefault(sample.task, (sample.question, sample.events))
        shelf.add_example(world.video_path(scene), tuple(asked.values()))
