"""A checkpoint on a benchmark: answers that stream to disk, then the score with its protocol beside it."""

from __future__ import annotations

import hashlib
import json
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from ..config import Data, RunConfig, resolve
from ..data.splits import reader
from ..data.video import VideoError
from ..errors import LabError
from ..files import atomic_path
from ..model.checkpoint import DESCRIPTION, checkpoint_id, load
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding
from .benchmarks import BENCHMARKS, Question, clip_reader, find, fingerprint
from .metrics import command as scoring
from .predict import Prediction, predict

AT_ONCE = 128  # answers between two writes
GREEDY, PUBLISHED = Decoding(160), Decoding(2048, temperature=0.2)  # the authors' has a penalty on some tasks
PENALTY = 1.2


def evaluate(checkpoint: str, annotations: Path, videos: Path, out: Path, decoding: Decoding, data: Data,
             shard: tuple[int, int] = (0, 1), limit: int | None = None, say: Callable[[str], None] = print,
             benchmark: str = "etbench", penalized: Sequence[str] = (), parts: bool = True) -> list[dict]:
    """Answer every sample of a shard that has no answer on disk yet; returns the records of all shards so far.

    `penalized` tasks are decoded with a repetition penalty. Without `parts`, a question about a part of a video is
    asked with all of it in view.
    """
    questions = BENCHMARKS[benchmark].read(annotations, 0.5 / data.fps)[:limit][shard[0]::shard[1]]
    model = load(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    mine = card(checkpoint, model, annotations, decoding, data, benchmark)
    same_settings(out, {**mine, "penalized": list(penalized), "parts": parts}, videos)
    file = out / f"answers_{shard[0]}_of_{shard[1]}.jsonl"
    if others := [part.name for part in out.glob("answers_*.jsonl") if not part.stem.endswith(f"_of_{shard[1]}")]:
        raise LabError(f"{out} holds {others[0]}, of another number of shards; choose another --out")
    done = finished(file)
    todo = [question for question in questions if question[0].id not in done]
    say(f"{len(done)} of {len(questions)} samples are answered")
    read = clip_reader(reader(RunConfig(data=data), model.frames, videos), videos, parts)
    with open(file, "a", encoding="utf-8") as stream:
        for start in range(0, len(todo), AT_ONCE):
            for record in answers(model, todo[start:start + AT_ONCE], read, decoding, penalized,
                                  BENCHMARKS[benchmark].answer):
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            stream.flush()
            say(f"{len(done) + min(start + AT_ONCE, len(todo))} of {len(questions)}")
    return answered(out)


def answers(model: D2VLM, questions: Sequence[Question], read, decoding: Decoding, penalized: Sequence[str] = (),
            field: str = "a") -> list[dict]:
    """The questions' own records with the answer; a video that cannot be read leaves an empty one and its reason."""
    records = {sample.id: {**record, "sample": sample.id} for sample, record in questions}
    good, bad, shown = defaultdict(list), [], {}
    for sample, _ in questions:
        try:
            if sample.video not in shown:
                times = read(sample).timestamps
                shown[sample.video] = [round(float(times[0]), 3), round(float(times[-1]), 3)]
            records[sample.id]["shown"] = shown[sample.video]
            good[replace(decoding, repetition_penalty=PENALTY) if sample.task in penalized else decoding].append(sample)
        except VideoError as error:
            bad.append({**records[sample.id], field: "", "error": str(error)})
    return [{**records[p.sample.id], **_answer(p, field)}
            for settings, samples in good.items() for p in predict(model, samples, read, settings)] + bad


def finished(file: Path) -> dict[str, dict]:
    """Answers on disk by sample. A last line that was cut off by a kill is dropped, and its sample answered again."""
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").split("\n")
    if lines[-1]:
        with atomic_path(file) as partial:
            partial.write_text("\n".join(lines[:-1]) + ("\n" if lines[:-1] else ""), encoding="utf-8")
    return {record["sample"]: record for record in map(json.loads, filter(None, lines[:-1]))}


def answered(out: Path) -> list[dict]:
    """The records of all shards."""
    return [record for part in sorted(out.glob("answers_*.jsonl")) for record in finished(part).values()]


def card(checkpoint: str, model: D2VLM, annotations: Path, decoding: Decoding, data: Data, benchmark: str) -> dict:
    """What a score is never separated from."""
    prompt = json.dumps([asdict(model.prompt), BENCHMARKS[benchmark].prompt], sort_keys=True)
    return {"benchmark": benchmark, "checkpoint": _name(checkpoint), "annotations": annotations.name,
            "annotations_sha256": fingerprint(annotations),
            "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest()[:16], "method": asdict(model.method),
            "decoding": asdict(decoding), "fps": data.fps, "max_frames": data.max_frames,
            "library": version("d2vlm_lab")}


def same_settings(out: Path, mine: dict, videos: Path) -> None:
    """Answers under other settings are never mixed. Where the videos lie is noted, and free to change."""
    path = out / "run.json"
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if different := [key for key in mine if theirs.get(key) != mine[key]]:
            raise LabError(f"{out} holds answers with another {', '.join(different)}; choose another --out")
    with atomic_path(path) as partial:
        partial.write_text(json.dumps({**mine, "videos": str(videos.resolve())}, indent=1) + "\n", encoding="utf-8")


def score(out: Path, benchmark: str, protocol: str) -> tuple[dict, list[str]]:
    """As `d2vlm-lab score` has it: the scores, and what it would print."""
    scorer = BENCHMARKS[benchmark].scorer
    predictions = by_task(out) if scorer == "mvbench" else out
    parser = ArgumentParser()
    scoring.configure(parser)
    return scoring.score(parser.parse_args([scorer, str(predictions), "--protocol", protocol]))


def by_task(out: Path) -> Path:
    """MVBench's scorer wants a file for each task."""
    tasks: dict[str, list[dict]] = defaultdict(list)
    for record in answered(out):
        tasks[record["sample"].split("/")[0]].append(record)
    for task, records in tasks.items():
        with atomic_path(out / "predictions" / f"{task}.json") as partial:
            partial.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return out / "predictions"


def configure(parser) -> None:
    parser.add_argument("checkpoint", help="folder of a trained model, or one laid out as the authors'")
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS), help="how the data folder is laid out")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with annotations and videos")
    parser.add_argument("--out", metavar="DIR", help="for answers and score (default: runs/evaluate/BENCHMARK-ID)")
    parser.add_argument("--protocol", default="clean", help="how answers are scored, as for the command score")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="answer every N-th sample from the I-th on")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N samples")
    parser.add_argument("--fps", type=float, help="frames a second (default: 2 for a world, 1 for videos)")
    parser.add_argument("--max-frames", type=int, default=512, help="at most so many frames of a video")
    parser.add_argument("--decoding", choices=("greedy", "published"), default="greedy", help="published: sampled at "
                        "temperature 0.2, up to 2048 tokens, on some tasks with a repetition penalty of 1.2")
    parser.add_argument("--max-new-tokens", type=int, help="longest answer (default: 160, or as published)")
    parser.add_argument("--whole-videos", action="store_true",
                        help="show all of a video to questions about a part of it (mvbench), as the authors did")


def run(args) -> None:
    started = time.time()
    layout = BENCHMARKS[args.benchmark]
    annotations, videos = find(args.benchmark, resolve(args.data))
    scoring.check_protocol(layout.scorer, args.protocol)
    data = Data(fps=args.fps or layout.fps, max_frames=args.max_frames)
    decoding = PUBLISHED if args.decoding == "published" else GREEDY
    decoding = replace(decoding, max_new_tokens=args.max_new_tokens or decoding.max_new_tokens)
    out = Path(args.out or f"runs/evaluate/{args.benchmark}-{_name(args.checkpoint)}")
    records = evaluate(args.checkpoint, annotations, videos, out, decoding, data, _shard(args.shard), args.limit,
                       lambda line: print(line, flush=True), args.benchmark,
                       layout.penalized if args.decoding == "published" else (), not args.whole_videos)
    expected = len(layout.read(annotations, 0.5 / data.fps)[:args.limit])
    if len(records) < expected:
        print(f"{len(records)} of {expected} samples are answered; the score comes with the last shard")
        return
    result, lines = score(out, args.benchmark, args.protocol)
    unread = sum("error" in record for record in records)
    page = {"card": json.loads((out / "run.json").read_text(encoding="utf-8")), "protocol": args.protocol,
            "samples": len(records), "unreadable_videos": unread, "seconds": round(time.time() - started, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "scores": result}
    with atomic_path(out / f"score_{args.protocol}.json") as partial:
        partial.write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"{unread} videos could not be read" if unread else "every video was read")
    print(signature(page))
    print(out / f"score_{args.protocol}.json")


def signature(page: dict) -> str:
    """One line that says what a score stands for."""
    card = page["card"]
    decoding = f"temperature {card['decoding']['temperature']:g}" if card["decoding"]["temperature"] else "greedy"
    return (f"{card['benchmark']} {card['annotations']} {card['annotations_sha256']}, protocol {page['protocol']}, "
            f"prompt {card['prompt_sha256']}, {decoding}, checkpoint {card['checkpoint']}, "
            f"d2vlm_lab {card['library']}, {page['finished']}")


def _answer(prediction: Prediction, field: str) -> dict:
    evidence = [{"interval": e.interval, "confidence": round(e.confidence, 4), "curve": e.curve.round(3).tolist()}
                for e in prediction.generated.evidence]
    return {field: prediction.text, "evidence": evidence, "finished": prediction.generated.finished}


def _name(checkpoint: str) -> str:
    folder = resolve(checkpoint)
    return checkpoint_id(folder) if (folder / DESCRIPTION).exists() else folder.name


def _shard(word: str) -> tuple[int, int]:
    index, slash, count = word.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise LabError(f"--shard is {word!r}; write it as I/N with I from 0 to N - 1, such as 0/4")
    return int(index), int(count)
