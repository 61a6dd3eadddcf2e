"""The answers of an exam of the laptop preset as they are written today, against the same answers in the plain form.

The plain form is kept below: batches of 32, a copy of the frames for each text, a cache that is copied whenever a token
is added, LoRA beside the weights, every state compared with the frames. Both forms must write the same tokens.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from d2vlm_lab.config import read_config, resolve
from d2vlm_lab.data.batch import Batch, Clip, collate
from d2vlm_lab.data.groups import Reader, encode_question
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.data.splits import held_out_questions, reader, splits
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.judging.predict import predict, seen
from d2vlm_lab.lab.bench import machine
from d2vlm_lab.model.backbone import logits_of
from d2vlm_lab.model.checkpoint import load
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.decoding import Decoding, stop_ids
from d2vlm_lab.model.passes import HEAD_LAYER, decode, one_pass, position_ids_of, text_position_ids

CHECKPOINT, VIDEOS, BATCH_BEFORE, ALONE, TURNS = "data/tiny-sft", 250, 32, 30, 3
Ids = dict[str, tuple[int, ...]]  # of each sample its answer


def run() -> dict:
    """250 questions of each task about 250 videos of the small world, together and some of them one by one, one thread.

    A ratio is the median over 3 turns, in each of which both forms run one right after the other; CPU seconds.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # as the runs of a study have
    with tempfile.TemporaryDirectory() as folder:
        model, samples, read, limit = prepared(folder)
    decoding = Decoding(limit)
    works = {
        "exam": (lambda: before(model, samples, read, limit, BATCH_BEFORE),
                 lambda: now(model, samples, read, decoding)),
        "one_by_one": (lambda: before(model, samples[:ALONE], read, limit, 1),
                       lambda: now(model, samples[:ALONE], read, decoding, 1))}
    ratios, seconds = {}, {}
    for name, (slow, fast) in works.items():
        pairs = [(timed(slow), timed(fast)) for _ in range(1 + TURNS)][1:]  # the first turn warms up
        for (_, expected), (_, found) in pairs:
            check_same(expected, found)
        ratios[name] = statistics.median(plain / quick for (plain, _), (quick, _) in pairs)
        seconds[f"{name}_plain"] = statistics.median(plain for (plain, _), _ in pairs)
        seconds[f"{name}_now"] = statistics.median(quick for _, (quick, _) in pairs)
    about = machine()
    torch.set_num_threads(cores)
    return {"bench": "tiny-exam", "ratios": ratios, "seconds": seconds, "machine": about}


def prepared(folder: str, checkpoint: str = CHECKPOINT,
             videos: int = VIDEOS) -> tuple[D2VLM, list[Sample], Reader, int]:
    """A checkpoint, questions as an exam asks them, the features of their videos in memory, the longest answer."""
    config = read_config("tiny", [f"data.world={Path(folder) / 'world'}", f"data.world_settings=[videos={videos}]",
                                  f"evaluation.samples={videos}", "data.cache=off"])
    model = load(resolve(checkpoint))
    train, _ = splits(config)  # the questions of training videos cost as much, and there are ten times as many
    samples, read = held_out_questions(train, config), reader(config, model.frames, train.videos)
    first = {sample.video: sample for sample in samples}
    clips = {video: seen(model, read(sample), sample.question) for video, sample in first.items()}
    return model, samples, lambda sample: clips[sample.video], config.evaluation.max_new_tokens


def now(model: D2VLM, samples: Sequence[Sample], read: Reader, decoding: Decoding, batch: int = 128) -> Ids:
    groups = [samples] if batch > 1 else [[sample] for sample in samples]
    return {p.sample.id: p.generated.ids for group in groups for p in predict(model, group, read, decoding, batch)}


@torch.no_grad()
def before(model: D2VLM, samples: Sequence[Sample], read: Reader, limit: int, batch: int) -> Ids:
    """Questions about the same video share a batch, which has about `batch` of them."""
    videos: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        videos[sample.video].append(sample)
    groups = list(videos.values()) if batch > 1 else [[sample] for sample in samples]
    answers, pending = {}, []
    for i, group in enumerate(groups):
        pending.append(group)
        if sum(map(len, pending)) >= batch or i + 1 == len(groups):
            answers |= answers_before(model, pending, [read(group[0]) for group in pending], limit)
            pending = []
    return answers


def answers_before(model: D2VLM, groups: Sequence[Sequence[Sample]], clips: Sequence[Clip], limit: int) -> Ids:
    prompts = [[encode_question(sample, clip, model.tokenizer, model.prompt, model.method) for sample in group]
               for group, clip in zip(groups, clips)]
    flat = [sample for group in groups for sample in group]
    ids: list[list[int]] = [[] for _ in flat]
    for written in steps_before(model, collate(clips, prompts, model.tokenizer, model.prompt), limit):
        for row, token in written.items():
            ids[row].append(token)
    return {sample.id: tuple(written) for sample, written in zip(flat, ids)}


def steps_before(model: D2VLM, batch: Batch, limit: int) -> Iterator[dict[int, int]]:
    stops, evidence_id = stop_ids(model), model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    prefix = model.read(batch)
    frames = model.frame_head(prefix.frame_states)
    states = one_pass(model.language, batch, prefix, model.embed(batch, prefix))
    running = list(range(len(batch.ids)))
    rows = torch.tensor(running)
    column = batch.mask.sum(1) - 1
    position = text_position_ids(batch, prefix)[rows, column]
    mask = torch.cat([prefix.mask[batch.video], batch.mask], 1)
    head, last = states.head[rows, column], states.last[rows, column]
    for number in range(limit):
        video = batch.video[rows]
        similarity = model.compare(model.evidence_head(head), frames, video)
        _, intervals = model.formulation.read(similarity, prefix.frame_mask[video], model.salient)
        tokens = logits_of(model.language, last).float().argmax(-1)
        written = dict(zip(running, tokens.tolist()))
        embeddings = model.embed_words(tokens)
        if evidence_id in written.values():
            is_evidence = tokens == evidence_id
            meaning = model.meaning(intervals.float(), video, prefix, torch.zeros_like(is_evidence))
            embeddings = embeddings + meaning * is_evidence[:, None]
        yield written
        going_on = [i for i, token in enumerate(written.values()) if token not in stops]
        if not going_on or number + 1 == limit:
            return
        if len(going_on) < len(running):
            running, kept = [running[i] for i in going_on], torch.tensor(going_on)
            prefix.cache.batch_select_indices(kept)
            rows, position, mask, embeddings = (each[kept] for each in (rows, position, mask, embeddings))
        position, mask = position + 1, torch.cat([mask, mask.new_ones(len(running), 1)], 1)
        layers = decode(model.language, embeddings[:, None], mask[:, None], position[:, None], prefix.cache,
                        position_ids_of(mask[:, :-1]))
        head, last = layers[HEAD_LAYER][:, 0], layers[-1][:, 0]


def timed(work: Callable[[], Ids]) -> tuple[float, Ids]:
    start = time.process_time()
    answers = work()
    return time.process_time() - start, answers


def check_same(expected: Ids, found: Ids) -> None:
    if different := [name for name, ids in expected.items() if found[name] != ids]:
        raise ValueError(f"{len(different)} of {len(expected)} answers differ between the two forms; the first: "
                         f"{different[0]}")
