"""A checkpoint on a benchmark: answers are written to disk as they come, then scored under a named protocol."""

from __future__ import annotations

import hashlib
import json
import os
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import get_args

from .. import __version__
from ..config import Cache, Data, Forget, RunConfig, resolve
from ..data.groups import Reader
from ..data.splits import CACHE, reader
from ..data.video import VideoError
from ..errors import LabError
from ..files import as_json_lines, naming_full_disk, write_json
from ..model.backbone import position_limit
from ..model.checkpoint import DESCRIPTION, checkpoint_id, load
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding
from ..model.device import on_device
from ..model.rate import frames_as_trained
from ..model.seal import base_hash, find_checkpoint
from ..model.streaming.memory import Memory
from ..model.streaming.stream import check_streams
from ..processes import parse_shard
from .answers import (
    all_answers,
    alone_in,
    drop_half_line,
    drop_unread,
    note_settings,
    only_writer,
    read_answers,
    write_predictions,
)
from .benchmarks import BENCHMARKS, Question, answer_key, clip_reader, find, fingerprint
from .in_blocks import predict_in_blocks
from .metrics import command as scoring
from .portions import Once, by_video, in_shard, portions
from .predict import Prediction, predict, too_long

GREEDY, PUBLISHED = Decoding(160), Decoding(2048, temperature=0.2)
PENALTY = 1.2  # penalty for repetition, with published decoding, on the tasks where the authors use it


def evaluate(checkpoint: str, annotations: Path, videos: Path, out: Path, decoding: Decoding, data: Data,
             shard: tuple[int, int] = (0, 1), limit: int | None = None, report: Callable[[str], None] = print,
             benchmark: str = "etbench", penalized: Sequence[str] = (), parts: bool = True,
             memory: Memory | None = None) -> list[dict]:
    """Answer every sample without an answer on disk, or with one given without the video; returns all shards' records.

    `shard` is (index, count): the questions about every count-th video from the index-th on. Each shard writes to its
    own file and only reads the files of the others. `penalized` tasks are decoded with a repetition penalty. Without
    `parts`, the model sees a whole video even if the question is about a part of it. With a `memory`, videos are read
    block by block.
    """
    index, count = shard
    layout = BENCHMARKS[benchmark]
    everything = layout.read(annotations, 0.5 / data.fps, unfit := [])
    for line in about_unfit(unfit):
        report(line)
    place = {answer_key(record): k for k, (_, record) in enumerate(everything)}
    questions = in_shard(everything[:limit], videos, index, count)
    model = on_device(load(checkpoint), worker=index)
    for line in model.added:
        report(f"{checkpoint}: {line}")
    if not model.can_ground:
        report(f"{checkpoint} was never taught to ground: the times in its answers mean nothing")
    if model.method.style == "factorized":
        report(f"{checkpoint} says when before </evi> only, and scores of times are about what comes after it")
    out.mkdir(parents=True, exist_ok=True)
    settings = card(checkpoint, model, annotations, decoding, data, benchmark)
    if memory:
        check_streams(model)
        settings |= {"memory": asdict(memory)}
    if count > 1:
        settings |= {"shards": "by video"}  # in earlier versions, the questions about one video were in several
    if others := [part.name for part in out.glob("answers_*.jsonl") if not part.stem.endswith(f"_of_{count}")]:
        raise LabError(f"{out} holds {others[0]}, of another number of shards; choose another --out")
    with alone_in(out):
        note_settings(out, {**settings, "penalized": list(penalized), "parts": parts}, videos)
    if limit is not None and (more := sum(place.get(answer_key(record), 0) >= limit for record in all_answers(out))):
        raise LabError(f"{out} holds {more} answers to questions beyond the first {limit}, and all that is there is "
                       "scored; choose another --out, or a larger --limit")
    file = out / f"answers_{index}_of_{count}.jsonl"
    once = Once(reader(RunConfig(data=data), model.frames, videos), model)
    read = clip_reader(once, videos, parts)
    with only_writer(file):
        drop_half_line(file)
        drop_unread(file)
        done = read_answers(file)
        todo = [question for question in questions if answer_key(question[1]) not in done]
        report(f"{len(done)} of {len(questions)} samples are answered")
        with open(file, "a", encoding="utf-8") as stream:
            n = len(done)
            for portion in portions(by_video(todo, videos), read, once):
                records = answer(model, portion, read, decoding, penalized, layout.answer, memory)
                stream.writelines(as_json_lines(records))
                stream.flush()
                n += len(portion)
                report("; ".join([f"{n} of {len(questions)}", *about_long(records)]))
    return sorted(all_answers(out), key=lambda record: place.get(answer_key(record), len(place)))


def answer(model: D2VLM, questions: Sequence[Question], read: Reader, decoding: Decoding,
           penalized: Sequence[str] = (), field: str = "a", memory: Memory | None = None) -> list[dict]:
    """The questions' records with answers in `field`; if a video cannot be read, an empty answer and the reason."""
    records = {}
    unread, by_decoding = [], defaultdict(list)
    ends = position_limit(model.language) is not None  # then nothing can be read or written behind the last position
    answer_size = min(decoding.max_new_tokens, GREEDY.max_new_tokens) if ends else 0
    for sample, record in questions:
        records[sample.task, sample.source, sample.id] = record = dict(record)
        try:
            clip = read(sample)
        except VideoError as error:
            unread.append({**record, field: "", "error": str(error)})
            continue
        record["shown"] = [round(float(second), 3) for second in (clip.timestamps[0], clip.timestamps[-1])]
        if memory is None and (problem := too_long(model, clip, sample.question, answer_size)):
            record["too_long"] = problem
            if ends:
                unread.append({**record, field: "", "error": f"{sample.video}: too long for this language model"})
                continue
        by_decoding[replace(decoding, repetition_penalty=PENALTY) if sample.task in penalized else decoding].append(
            sample)
    ask = predict if memory is None else partial(predict_in_blocks, memory=memory)
    predictions = [p for settings, samples in by_decoding.items()
                   for p in ask(model, samples, read, decoding=settings)]
    return [{**records[p.sample.task, p.sample.source, p.sample.id], field: p.text, "evidence": _evidence(p),
             "finished": p.generated.finished} for p in predictions] + unread


def about_long(records: Sequence[dict]) -> list[str]:
    """A line about the questions that the language model could not read together with all frames, if there are any."""
    found = [record["too_long"] for record in records if "too_long" in record]
    return [f"too long, give a smaller --max-frames: {len(found)}; the first: {found[0]}"] if found else []


def about_cut_off(n: int, limit: int) -> list[str]:
    """A line about the answers that did not end within the limit, if there are any."""
    return [f"{n} answers were cut off after {limit} tokens; give a larger --max-new-tokens"] if n else []


def about_unfit(problems: Sequence[str]) -> list[str]:
    """A line about the questions of a file that cannot be used, if there are any."""
    return [f"{len(problems)} questions cannot be used and are left out; the first: {problems[0]}"] if problems else []


def card(checkpoint: str, model: D2VLM, annotations: Path, decoding: Decoding, data: Data, benchmark: str) -> dict:
    """Everything on which answers depend; kept beside the answers and, with the sentence model, beside their score."""
    prompt = json.dumps([asdict(model.prompt), BENCHMARKS[benchmark].prompt], sort_keys=True)
    kept = {"keep_frames": data.keep_frames, "pruning": data.pruning} if data.keep_frames else {}
    return {"benchmark": benchmark, "checkpoint": _name(checkpoint), "annotations": annotations.name,
            "annotations_sha256": fingerprint(annotations),
            "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest()[:16], "method": asdict(model.method),
            "decoding": asdict(decoding), "fps": data.fps, "max_frames": data.max_frames,
            **kept, "features": "float16" if data.cache == "fp16" else "float32", "library": __version__}


def score(out: Path, benchmark: str, protocol: str, records: Sequence[dict]) -> tuple[dict, list[str]]:
    """Scores and printed lines, as `d2vlm-lab score` computes them from the predictions that are written to `out`."""
    scorer = BENCHMARKS[benchmark].scorer
    predictions = write_predictions(out / "predictions", records, by_task=scorer == "mvbench")
    parser = ArgumentParser()
    scoring.configure(parser)
    return scoring.score(parser.parse_args([scorer, str(predictions), "--protocol", protocol]))


def configure(parser) -> None:
    parser.add_argument("checkpoint", help="folder or hub id of a trained model, or one laid out as the authors'")
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS), help="how the data folder is laid out")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with annotations and videos")
    parser.add_argument("--out", metavar="DIR", help="where answers and score go (default: runs/evaluate/BENCHMARK-ID)")
    parser.add_argument("--protocol", default="clean", help="how answers are scored, as for the command score")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="answer the questions about every N-th "
                        "video from the I-th on")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N samples")
    parser.add_argument("--fps", type=float, help="frames a second (default: as in training; where the checkpoint does "
                        "not say, 2 for a world and 1 for videos)")
    parser.add_argument("--max-frames", type=int, help="use at most this many frames of a video (default: as in "
                        "training; where the checkpoint does not say, 512)")
    parser.add_argument("--cache", choices=get_args(Cache),
                        help="how features of frames are kept in data/cache, as data.cache of a run (default: as in "
                        "training; where the checkpoint does not say, fp32)")
    parser.add_argument("--decoding", choices=("greedy", "published"), default="greedy", help="published: sampled at "
                        "temperature 0.2, up to 2048 tokens, on some tasks with a repetition penalty of 1.2")
    parser.add_argument("--max-new-tokens", type=int, help="longest answer (default: 160, or 2048 as published)")
    parser.add_argument("--keep-frames", type=int, metavar="N", help="for videos longer than memory: read them block "
                        "by block, keep at most N frames in the language model; the checkpoint needs frames in blocks")
    parser.add_argument("--forget", choices=get_args(Forget), default="oldest", help="which frames are forgotten "
                        "first, with --keep-frames: the oldest, those that change least, or alike neighbours, which "
                        "are merged")
    parser.add_argument("--whole-videos", action="store_true",
                        help="show all of a video to questions about a part of it (mvbench), as the authors did")


def check_options(args) -> None:
    """An error for a number that is out of range, before anything is read."""
    for name, most in (("limit", 10**9), ("fps", 1000), ("max_frames", 100_000), ("max_new_tokens", 16_384),
                       ("keep_frames", 100_000)):
        value = getattr(args, name)
        if value is not None and not 0 < value <= most:
            raise LabError(f"--{name.replace('_', '-')} is {value}; it must be a positive number of at most {most:,}")
    if args.out and os.path.lexists(args.out) and not os.path.isdir(args.out):
        raise LabError(f"--out is {args.out}, which is not a folder; choose another name")


def run(args) -> int:
    out = Path(args.out or f"runs/evaluate/{args.benchmark}-{_name(args.checkpoint)}")
    with naming_full_disk(f"make room for {out} and for the features in {CACHE}, then run the same command again: the "
                          "answers that are there are kept"):
        return answer_and_score(args, out)


def answer_and_score(args, out: Path) -> int:
    """The exit status: 1 if no video could be read, so that the score says nothing."""
    started = time.time()
    check_options(args)
    args.checkpoint = str(find_checkpoint(args.checkpoint))
    layout = BENCHMARKS[args.benchmark]
    annotations, videos = find(args.benchmark, resolve(args.data))
    scoring.check_protocol(layout.scorer, args.protocol)
    data = frames_as_trained(Path(args.checkpoint), args.fps, args.max_frames, layout.fps)
    data = replace(data, cache=args.cache or data.cache)
    published = args.decoding == "published"
    decoding = PUBLISHED if published else GREEDY
    decoding = replace(decoding, max_new_tokens=args.max_new_tokens or decoding.max_new_tokens)
    records = evaluate(args.checkpoint, annotations, videos, out, decoding, data, parse_shard(args.shard), args.limit,
                       lambda line: print(line, flush=True), args.benchmark, layout.penalized if published else (),
                       not args.whole_videos,
                       Memory(frames=args.keep_frames, forget=args.forget) if args.keep_frames else None)
    questions = len(layout.read(annotations, 0.5 / data.fps, unfit := []))
    if len(records) < (expected := min(questions, args.limit or questions)):
        print(f"{len(records)} of {expected} samples are answered; the score is computed with the last shard")
        return 0
    with alone_in(out):
        scores, lines = score(out, args.benchmark, args.protocol, records)
    asked_in_vain = [record["error"] for record in records if "error" in record and "too_long" not in record]
    folder = annotations.parent.resolve()
    named = {"own_questions": folder.name} if args.benchmark == "world" and not (folder / "world.json").exists() else {}
    counts = {"samples": len(records), "questions": questions, "unfit_questions": len(unfit),
              "unreadable_videos": len(set(asked_in_vain)),  # each error names its video
              "too_long": sum("too_long" in record for record in records),
              "cut_off": sum(record.get("finished") is False for record in records)}
    page = write_page(out, args.protocol, scores, named | counts, time.time() - started)
    read = f"{counts['unreadable_videos']} videos could not be read, which {len(asked_in_vain)} questions are about"
    print(*lines, *about_unfit(unfit), read if asked_in_vain else "every video was read", *about_long(records),
          *about_cut_off(counts["cut_off"], decoding.max_new_tokens),
          signature(page), page_file(out, args.protocol), sep="\n")
    return int(len(asked_in_vain) == len(records))


def write_page(out: Path, protocol: str, scores: dict, about: dict, seconds: float) -> dict:
    """Keep scores as a page, with all that they stand for."""
    beside = json.loads((out / "run.json").read_text(encoding="utf-8"))
    similar = {"sentence_model": scores["sentence_model"]} if "sentence_model" in scores else {}
    page = {"card": beside | similar, **about, "protocol": protocol, "seconds": round(seconds, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "scores": scores}
    with alone_in(out):
        write_json(page_file(out, protocol), page)
    return page


def page_file(out: Path, protocol: str) -> Path:
    return out / f"score_{protocol}.json"


def signature(page: dict) -> str:
    """What a score stands for, in one line."""
    card = page["card"]
    temperature = card["decoding"]["temperature"]
    samples, questions = page.get("samples"), page.get("questions")  # pages of earlier versions lack some of these
    part = f", the first {samples} of {questions} questions" if questions and samples < questions else ""
    similar = f", sentence model {card['sentence_model'] or 'none'}" if "sentence_model" in card else ""
    return (f"{data_set(page)} {card['annotations']} {card['annotations_sha256']}{part}, "
            f"protocol {page['protocol']}{similar}, "
            f"prompt {card['prompt_sha256']}, {f'temperature {temperature:g}' if temperature else 'greedy'}, "
            f"checkpoint {card['checkpoint']}, d2vlm_lab {card['library']}, {page['finished']}")


def data_set(page: dict) -> str:
    """What was asked: a benchmark, or the folder of the user's own questions, laid out like those of a world."""
    return f"own questions ({page['own_questions']})" if "own_questions" in page else page["card"]["benchmark"]


def _evidence(prediction: Prediction) -> list[dict]:
    return [{"interval": e.interval, "confidence": round(e.confidence, 4), "curve": e.curve.round(3).tolist()}
            for e in prediction.generated.evidence]


def _name(checkpoint: str) -> str:
    folder = find_checkpoint(checkpoint)
    if not os.path.isdir(folder):
        raise LabError(f"{folder}: no such folder; give that of a checkpoint (it holds {DESCRIPTION})")
    if (folder / DESCRIPTION).exists():
        return checkpoint_id(folder)
    return f"{folder.name}-{base_hash(str(folder.absolute()))[:12]}"  # two releases may have folders of one name
