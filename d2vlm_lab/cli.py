"""The command `d2vlm-lab`: a table of commands. Each lives beside what it runs and is imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from . import __version__
from .errors import LabError

# name: (module with `configure(parser)` and `run(args) -> int | None`, what it is for)
COMMANDS = {
    "demo": ("d2vlm_lab.lab.demo", "make the small world, read it back, score trivial answers, and draw a gallery"),
    "make-world": ("d2vlm_lab.data.world.command", "render the synthetic world: videos, questions and exact truth"),
    "gallery": ("d2vlm_lab.lab.gallery", "draw videos of a world over the time line of their events"),
    "settings": ("d2vlm_lab.lab.settings_command", "explain the settings: meaning, default, presets that change them"),
    "metrics": ("d2vlm_lab.lab.metrics_command", "explain the metrics that a study may compare"),
    "train": ("d2vlm_lab.lab.run", "fine-tune a model: from a config to a trained and scored checkpoint"),
    "rehearse": ("d2vlm_lab.lab.rehearsal.command", "live through a whole run at small size before the real one"),
    "features": ("d2vlm_lab.lab.features_command", "compute the features of all videos of a run beforehand"),
    "ablate": ("d2vlm_lab.lab.study.command", "run every variant and seed of a study, and write its report"),
    "report": ("d2vlm_lab.lab.report", "make tables, figures and pages from the files of a study's runs"),
    "data": ("d2vlm_lab.lab.data_command", "explain where to get a benchmark, and check a folder that holds it"),
    "evaluate": ("d2vlm_lab.judging.evaluate", "answer a benchmark with a checkpoint, then score the answers"),
    "score": ("d2vlm_lab.judging.metrics.command", "score a predictions file under a named protocol"),
    "show": ("d2vlm_lab.lab.show.command", "make a page of predictions, worst first: frames, time lines, evidence"),
    "make-preferences": ("d2vlm_lab.lab.preferences.command", "put rejected answers beside chosen ones"),
    "make-groups": ("d2vlm_lab.lab.preferences.groups", "draw answers to questions, and keep them with their rewards"),
    "pretrain-base": ("d2vlm_lab.learning.pretrain", "make the base checkpoint that laptop ablations start from"),
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
    module, purpose = COMMANDS[name]
    implementation = importlib.import_module(module)
    command = argparse.ArgumentParser(f"{parser.prog} {name}", description=purpose[0].upper() + purpose[1:] + ".",
                                      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    implementation.configure(command)
    args = command.parse_intermixed_args(argv[1:])  # key=value may stand before options, between and after them
    try:
        return implementation.run(args) or 0
    except LabError as error:
        print(f"d2vlm-lab {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nd2vlm-lab {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
