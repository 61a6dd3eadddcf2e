"""`d2vlm-lab make-groups`: draw answers to the questions of a reward stage, and keep them with their rewards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ...config import RunConfig, read_config
from ...data.group_file import DrawnGroup, write_groups
from ...data.groups import Collator, Groups, group_by_video, usable
from ...data.skips import Skips
from ...data.splits import reader, splits
from ...errors import LabError
from ...ideas.evidence import render
from ...learning.grpo import rewarded_answers
from ...model.checkpoint import checkpoint_id
from ...model.device import on_device
from ...model.start import start
from ...processes import parse_shard
from ..run import room_behind


def configure(parser) -> None:
    parser.add_argument("config", help="a preset by name or a YAML file, as for train")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings to change: reward.form=grpo")
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="where to write the file")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="draw for every N-th group of questions "
                        "from the I-th on; the files of all shards, one after the other, are the file of all questions")


def run(args) -> None:
    config = read_config(args.config, args.changes)
    if not config.reward.draws or not config.parts.start:
        raise LabError("make-groups draws as a reward stage does: set reward.form to grpo, dr_grpo or exact, and "
                       "parts.start to a trained checkpoint")
    shard, seen = parse_shard(args.shard), []

    def noted() -> Iterator[DrawnGroup]:
        for group in drawn_groups(config, shard):
            seen.append(group)
            yield group

    write_groups(args.out, checkpoint_id(config.parts.start), config.reward.answers, noted(), args.shard)
    teaching = sum(group.teaches for group in seen)
    print(f"{args.out}: {len(seen)} questions, {teaching} of them with answers that were rewarded differently; train "
          f"on these with reward.file={args.out}")


def drawn_groups(config: RunConfig, shard: tuple[int, int] = (0, 1)) -> Iterator[DrawnGroup]:
    """The training questions of a shard with drawn answers, batch by batch."""
    index, count = shard
    model = on_device(start(config), worker=index).eval()
    if not model.can_ground:
        raise LabError(f"{config.parts.start} was never trained to ground; name a trained checkpoint in parts.start")
    split, _ = splits(config)
    skips = Skips(None, len(split.samples) + len(split.bad), config.data.bad_share)
    for skip in split.bad:
        skips.add(skip)
    samples = usable(split.samples, config.data, skips)
    groups = Groups(group_by_video(samples, config.texts, config.seed, model.frames.reads_question),
                    reader(config, model.frames, split.videos), model.tokenizer, model.prompt, model.method,
                    room=room_behind(model, config))
    collate, size, answers = Collator(model.tokenizer, model.prompt), config.training.videos, config.reward.answers
    asked = {sample.id: sample.question for sample in samples}
    mine = range(index, len(groups), count)
    for first in tqdm(range(0, len(mine), size), desc="drawing answers", unit="batch"):
        inputs = collate([groups.load(k) for k in mine[first:first + size]])
        for skip in inputs["skipped"]:
            skips.add(skip)
        if inputs["batch"] is None:
            continue
        batch = inputs["batch"].to(model.device)
        drawn = rewarded_answers(model, batch, config.reward, f"{config.seed} groups")
        for n, (name, values) in enumerate(zip(batch.names, drawn.rewards.tolist())):
            texts = [render(answer.answer) for answer in drawn.answers[n * answers:(n + 1) * answers]]
            yield DrawnGroup(name, asked[name], [round(value, 6) for value in values], texts)
