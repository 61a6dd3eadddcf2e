"""`d2vlm-lab lmms-tasks BENCHMARK DATA`: a benchmark as a task of lmms-eval, from files on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from ...config import resolve
from ...errors import LabError
from ...files import write_text
from ...judging.benchmarks import BENCHMARKS, find
from ...judging.evaluate import about_unfit
from ...judging.metrics.command import check_protocol
from .tasks import SCORES, columns, document

KNOWN = sorted(name for name, layout in BENCHMARKS.items() if layout.scorer in (*SCORES, "etbench"))
TASK = """dataset_path: json
dataset_kwargs:
  data_files:
    test: {name}.jsonl
task: {name}
test_split: test
output_type: generate_until
doc_to_visual: !function {module}.video
doc_to_text: !function {module}.question
doc_to_target: !function {module}.target
process_results: !function {module}.process_results
generation_kwargs:
  max_new_tokens: 160
  do_sample: false
  evidence: true
metric_list:
"""
METRIC = """  - metric: {name}
    aggregation: !function {module}.{function}
    higher_is_better: true
"""
MODULE = '''"""Written by `d2vlm-lab lmms-tasks`; lmms-eval reads it beside {name}.yaml."""

from d2vlm_lab.lab.harness.tasks import Scorer, question, target, video  # noqa: F401

_scorer = Scorer("{benchmark}", {names!r})
process_results = _scorer.process_results
'''


def write_task(benchmark: str, folder: Path, out: Path, protocols: list[str]) -> str:
    """The documents, the YAML file and the module of a task; returns its name."""
    layout = BENCHMARKS[benchmark]
    for protocol in protocols:
        check_protocol(layout.scorer, protocol)
        if (layout.scorer, protocol) in (("etbench", "all"), ("charades", "d2vlm")):
            raise LabError(f"--protocols {protocol}: it has no numbers that a task of lmms-eval could show")
    annotations, videos = find(benchmark, folder)
    questions = layout.read(annotations, 0.5 / layout.fps, unfit := [])
    for line in about_unfit(unfit):
        print(line)
    name = f"d2vlm_{benchmark.replace('-', '_')}"
    module = f"{name}_scores"
    metrics = {f"{protocol} {column}": (protocol, column) for protocol in protocols
               for column in columns(layout.scorer, questions)}
    functions = {metric: f"score_{number}" for number, metric in enumerate(metrics)}
    documents = (json.dumps(document(question, videos.resolve(), layout.fps)) for question in questions)
    files = {f"{name}.jsonl": "\n".join(documents) + "\n",
             f"{name}.yaml": TASK.format(name=name, module=module) + "".join(
                 METRIC.format(name=metric, module=module, function=function)
                 for metric, function in functions.items()),
             f"{module}.py": MODULE.format(name=name, benchmark=benchmark, names=list(metrics)) + "".join(
                 f"{functions[metric]} = _scorer.metric({protocol!r}, {column!r})\n"
                 for metric, (protocol, column) in metrics.items())}
    for file, content in files.items():
        write_text(out / file, content)
    return name


def configure(parser) -> None:
    parser.add_argument("benchmark", metavar="BENCHMARK", choices=KNOWN, help=f"one of {', '.join(KNOWN)}")
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with annotations and videos, as for evaluate")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the task is written")
    parser.add_argument("--protocols", nargs="+", default=["clean"], metavar="NAME",
                        help="how answers are scored, as for score; each has metrics of its own")


def run(args) -> None:
    if args.out.exists() and not args.out.is_dir():
        raise LabError(f"--out is {args.out}, which is not a folder; choose another name")
    name = write_task(args.benchmark, resolve(args.data), args.out, args.protocols)
    print(f"{args.out / name}.yaml: run it with\n"
          f"  lmms-eval eval --model d2vlm --model_args checkpoint=CHECKPOINT --tasks {name} "
          f"--include_path {args.out.resolve()}")
