"""A checkpoint on a benchmark: answers that stream to disk, then the score with its protocol beside it.

Annotations in E.T. Bench's format, which a synthetic world writes too, so the world is just another benchmark.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from .checkpoint import DESCRIPTION, checkpoint_id, load
from .config import Data, RunConfig, resolve
from .datasets import et_bench
from .datasets.et_instruct import load_list
from .errors import LabError
from .generate import Decoding
from .metrics.command import report
from .metrics.etbench import score_etbench
from .metrics.protocols import PROTOCOLS
from .metrics.sentences import find_sentence_model
from .model import D2VLM
from .predict import Prediction, predict
from .reference import import_reference
from .run import reader
from .sample import Sample, atomic_path
from .video import VideoError

LAYOUT = {"world": ("etbench.json", "videos"), "etbench": ("annotations/etbench_txt_v1.0.json", "videos")}
AT_ONCE = 128  # answers between two writes


def evaluate(checkpoint: str, annotations: Path, videos: Path, out: Path, decoding: Decoding, data: Data,
             shard: tuple[int, int] = (0, 1), limit: int | None = None,
             say: Callable[[str], None] = print) -> list[dict]:
    """Answer every sample of a shard that has no answer on disk yet; returns the records of all shards so far."""
    model = read_model(checkpoint)
    records = {str(record.get("idx", i)): record for i, record in enumerate(load_list(annotations))}
    samples = et_bench.read(annotations, 0.5 / data.fps)[:limit][shard[0]::shard[1]]
    out.mkdir(parents=True, exist_ok=True)
    same_settings(out, card(checkpoint, model, annotations, decoding, data))
    file = out / f"answers_{shard[0]}_of_{shard[1]}.jsonl"
    done = finished(file)
    todo = [sample for sample in samples if sample.id not in done]
    say(f"{len(done)} of {len(samples)} samples are answered")
    read = reader(RunConfig(data=data), model, videos)
    with open(file, "a", encoding="utf-8") as stream:
        for start in range(0, len(todo), AT_ONCE):
            for record in answers(model, todo[start:start + AT_ONCE], records, read, decoding):
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            stream.flush()
            say(f"{len(done) + min(start + AT_ONCE, len(todo))} of {len(samples)}")
    return [record for part in sorted(out.glob("answers_*.jsonl")) for record in finished(part).values()]


def answers(model: D2VLM, samples: Sequence[Sample], records: dict[str, dict], read, decoding: Decoding) -> list[dict]:
    """The samples' own records with the answer `a`; a video that cannot be read leaves an empty one and its reason."""
    good, bad = [], []
    for sample in samples:
        try:
            read(sample)
            good.append(sample)
        except VideoError as error:
            bad.append({**records[sample.id], "a": "", "error": str(error)})
    return [_record(p, records[p.sample.id]) for p in predict(model, good, read, decoding)] + bad


def finished(file: Path) -> dict[str, dict]:
    """Answers on disk by sample. A last line that was cut off by a kill is dropped, and its sample answered again."""
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").split("\n")
    if lines[-1]:
        with atomic_path(file) as partial:
            partial.write_text("\n".join(lines[:-1]) + ("\n" if lines[:-1] else ""), encoding="utf-8")
    return {str(record["idx"]): record for record in map(json.loads, filter(None, lines[:-1]))}


def read_model(checkpoint: str) -> D2VLM:
    folder = resolve(checkpoint)
    return load(folder) if (folder / DESCRIPTION).exists() else import_reference(folder)


def card(checkpoint: str, model: D2VLM, annotations: Path, decoding: Decoding, data: Data) -> dict:
    """What a score is never separated from."""
    prompt = json.dumps(asdict(model.prompt), sort_keys=True)
    folder = resolve(checkpoint)
    return {"checkpoint": checkpoint_id(folder) if (folder / DESCRIPTION).exists() else folder.name,
            "annotations": annotations.name, "annotations_sha256": _hash(annotations.read_bytes()),
            "prompt_sha256": _hash(prompt.encode()), "method": asdict(model.method), "decoding": asdict(decoding),
            "fps": data.fps, "max_frames": data.max_frames, "library": version("d2vlm_lab")}


def same_settings(out: Path, mine: dict) -> None:
    """Answers under other settings are never mixed."""
    path = out / "run.json"
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if different := [key for key in mine if theirs.get(key) != mine[key]]:
            raise LabError(f"{out} holds answers with another {', '.join(different)}; choose another --out")
    else:
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")


def configure(parser) -> None:
    parser.add_argument("checkpoint", help="folder of a trained model, or one laid out as the authors'")
    parser.add_argument("benchmark", choices=sorted(LAYOUT), help="how the data folder is laid out")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with annotations and videos")
    parser.add_argument("--out", metavar="DIR", help="for answers and score (default: runs/evaluate/BENCHMARK-ID)")
    parser.add_argument("--protocol", default="clean", choices=sorted(PROTOCOLS), help="how answers are scored")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="answer every N-th sample from the I-th on")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N samples")
    parser.add_argument("--fps", type=float, help="frames a second (default: 2 for a world, 1 for videos)")
    parser.add_argument("--max-frames", type=int, default=512, help="at most so many frames of a video")
    parser.add_argument("--max-new-tokens", type=int, default=160, help="longest answer")


def run(args) -> None:
    started = time.time()
    names, folder = LAYOUT[args.benchmark], resolve(args.data)
    annotations, videos = (folder / name for name in names)
    for path in (annotations, videos):
        if not path.exists():
            raise LabError(f"{path} is missing; a {args.benchmark} folder holds {names[0]} and {names[1]}/")
    shard = _shard(args.shard)
    data = Data(fps=args.fps or (2.0 if args.benchmark == "world" else 1.0), max_frames=args.max_frames)
    checkpoint = resolve(args.checkpoint)
    name = checkpoint_id(checkpoint) if (checkpoint / DESCRIPTION).exists() else checkpoint.name
    out = Path(args.out or f"runs/evaluate/{args.benchmark}-{name}")
    answered = evaluate(args.checkpoint, annotations, videos, out, Decoding(args.max_new_tokens), data, shard,
                        args.limit, lambda line: print(line, flush=True))
    expected = len(load_list(annotations)[:args.limit])
    if len(answered) < expected:
        print(f"{len(answered)} of {expected} samples are answered; the score comes with the last shard")
        return
    unread = [record for record in answered if "error" in record]
    scores = score_etbench(answered, args.protocol, find_sentence_model())
    page = {"card": json.loads((out / "run.json").read_text()), "protocol": args.protocol, "samples": len(answered),
            "unreadable_videos": len(unread), "seconds": round(time.time() - started, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "scores": scores.to_json()}
    with atomic_path(out / f"score_{args.protocol}.json") as partial:
        partial.write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    print("\n".join(report(scores)))
    print(f"{len(unread)} videos could not be read" if unread else "every video was read")
    print(out / f"score_{args.protocol}.json")


def _record(prediction: Prediction, record: dict) -> dict:
    evidence = [{"interval": e.interval, "confidence": round(e.confidence, 4), "curve": e.curve.round(3).tolist()}
                for e in prediction.generated.evidence]
    return {**record, "a": prediction.text, "evidence": evidence, "finished": prediction.generated.finished}


def _shard(word: str) -> tuple[int, int]:
    index, slash, count = word.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise LabError(f"--shard is {word!r}; write it as I/N with I from 0 to N - 1, such as 0/4")
    return int(index), int(count)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
