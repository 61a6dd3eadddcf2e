"""The command `d2vlm-lab`: a table of commands. Each lives beside what it runs and is imported when it is called."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from . import __version__
from .errors import LabError
from .lazy import quick_import

# Errors of a disk, a path or its permissions, which are no bugs of this code.
OF_THE_MACHINE = {errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES,
                  errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMFILE, errno.EEXIST,
                  errno.ENXIO}
# Packages that come with an extra, by the name of their import: needed by notebooks, grids and reports, by no model.
EXTRA = dict.fromkeys(("IPython", "bleach", "dask", "distributed", "ipywidgets", "jupyter_client", "mistune",
                       "nbconvert", "nbformat", "papermill", "seaborn"), "lab") | {"dask_jobqueue": "slurm"}
NEED_A_CHECKOUT = ("bench", "classroom", "handouts")  # they work with files that a wheel does not bring along
# name: (module with `configure(parser)` and `run(args) -> int | None`, what it is for)
COMMANDS = {
    "demo": ("d2vlm_lab.lab.demo", "make the small world, read it back, score trivial answers, and draw a gallery"),
    "make-world": ("d2vlm_lab.data.world.command", "render the synthetic world: videos, questions and exact truth"),
    "gallery": ("d2vlm_lab.lab.gallery", "draw videos of a world over the time line of their events"),
    "settings": ("d2vlm_lab.lab.commands.settings", "explain the settings: meaning, default, presets that change them"),
    "metrics": ("d2vlm_lab.lab.commands.metrics", "explain the metrics that a study may compare"),
    "train": ("d2vlm_lab.lab.run", "fine-tune a model: from a config to a trained and scored checkpoint"),
    "rehearse": ("d2vlm_lab.lab.rehearsal.command", "go through a whole run at small size before the real one"),
    "features": ("d2vlm_lab.lab.commands.features", "compute the features of all videos of a run beforehand"),
    "ablate": ("d2vlm_lab.lab.study.command", "run every variant and seed of a study, and write its report"),
    "report": ("d2vlm_lab.lab.report.command", "make tables, figures and pages from the files of a study's runs"),
    "annotate": ("d2vlm_lab.lab.annotate.command", "check annotations of your own, and bring them into one format"),
    "export": ("d2vlm_lab.lab.commands.export", "write a checkpoint for others, with a card; merge it, push it"),
    "get": ("d2vlm_lab.lab.commands.get", "fetch a checkpoint or the annotations of a data set from the hub"),
    "data": ("d2vlm_lab.lab.commands.data", "explain where to get a benchmark, and check a folder that holds it"),
    "evaluate": ("d2vlm_lab.judging.evaluate", "answer a benchmark with a checkpoint, then score the answers"),
    "score": ("d2vlm_lab.judging.metrics.command", "score a predictions file under a named protocol"),
    "lmms-tasks": ("d2vlm_lab.lab.harness.command", "write a benchmark as a task of lmms-eval, from local files"),
    "show": ("d2vlm_lab.lab.show.command", "make a page of predictions, worst first: frames, time lines, evidence"),
    "app": ("d2vlm_lab.lab.app.command", "open a page on this machine: drop a video, ask, click the evidence"),
    "make-preferences": ("d2vlm_lab.lab.preferences.command", "put rejected answers beside chosen ones"),
    "make-groups": ("d2vlm_lab.lab.preferences.groups", "draw answers to questions, and keep them with their rewards"),
    "classroom": ("d2vlm_lab.lab.classroom.command", "hand out exercises, and make a table of what came back"),
    "pretrain-base": ("d2vlm_lab.learning.pretrain", "make the base checkpoint that laptop ablations start from"),
    "handouts": ("d2vlm_lab.lab.teaching.command", "make the slides and the handout for a reading group or a course"),
    "bench": ("d2vlm_lab.lab.bench", "measure speed and memory, as ratios within one run"),
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        "d2vlm-lab", description="Find when something happens, then say what: a workbench for D2VLM.",
        epilog="`d2vlm-lab COMMAND --help` explains one command.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, purpose) in COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=False)
    name = parser.parse_args(argv[:1]).command
    try:
        return run(name, argv[1:])
    except LabError as error:
        return complain(name, str(error))
    except KeyboardInterrupt:
        print(f"\nd2vlm-lab {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in EXTRA:
            return complain(name, f"needs the package {error.name}: pip install 'd2vlm_lab[{EXTRA[error.name]}]'")
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            return complain(name, ": ".join(filter(None, (error.filename and str(error.filename), error.strerror))))
        summary = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        return complain(name, f"unexpected: {summary} (a bug; details in {written_down(error, name)})", 3)


def run(name: str, words: list[str]) -> int:
    """The command `name` with the words that follow it."""
    module, purpose = COMMANDS[name]
    implementation = quick_import(module)
    command = argparse.ArgumentParser(f"d2vlm-lab {name}", description=purpose[0].upper() + purpose[1:] + ".",
                                      formatter_class=_Help)
    implementation.configure(command)
    if "" in words:
        raise LabError(f"argument {words.index('') + 1} is empty; is a variable of the shell without a value?")
    args = command.parse_intermixed_args(words)  # key=value may stand between options
    if name in NEED_A_CHECKOUT and not (config := quick_import("d2vlm_lab.config")).CHECKOUT:
        raise LabError(f"d2vlm-lab {name}{config.ONLY_IN_A_CHECKOUT}")
    return implementation.run(args) or 0


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Prints the default of an option if it has one, unless the help of the option already says it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        tells_nothing = action.default is None or action.default is False or action.default == []
        return action.help if tells_nothing or "default" in (action.help or "") else super()._get_help_string(action)


def complain(name: str, message: str, status: int = 2) -> int:
    """Print the message as one line on stderr, whatever characters file names in it have; return the exit status."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)
    print(f"d2vlm-lab {name}: {line}", file=sys.stderr)
    return status


def written_down(error: Exception, name: str) -> Path | str:
    """The file with the traceback, in the user's cache or else in the folder of temporary files."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "d2vlm_lab"
    for folder in (cache, Path(tempfile.gettempdir())):
        path = folder / f"unexpected-{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
            return path
    return "no file, because none could be written"


if __name__ == "__main__":
    sys.exit(main())
