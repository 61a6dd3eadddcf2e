"""The processes of one run, as torchrun starts them: one for each GPU, and all of them hold the whole model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypedDict

from torch import distributed

from .errors import LabError
from .reader import read_json
from .shapes import shown


class DeepSpeed(TypedDict, total=False):
    """A configuration of DeepSpeed."""

    zero_optimization: dict[str, object]


def number() -> int:
    """The number of this process, from 0 on. The first one writes all files."""
    return int(os.environ.get("RANK", 0))


def on_this_machine() -> int | None:
    """The number of this process among those on its machine; None if it was not started with others."""
    return int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None


def total() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def shared_out(items: Sequence, work: Callable[[Sequence], list]) -> list:
    """The results of `work` on all items. Each process does a share of the work, and every process gets all results."""
    if not several():
        return work(items)
    return list(chain.from_iterable(from_all(work(items[distributed.get_rank()::distributed.get_world_size()]))))


def from_all(value: Any) -> list:
    """The values with which all processes call this, in the order of their numbers. All of them must call it."""
    if not several():
        return [value]
    values: list = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def parse_shard(text: str) -> tuple[int, int]:
    """Which share of the work this process does, and of how many; each share is started by its own command."""
    if total() > 1:
        raise LabError(f"{total()} processes were started together, and each would do the work of --shard {text}; "
                       "start a command for each shard instead")
    if (parts := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)) and int(parts[1]) < int(parts[2]):
        return int(parts[1]), int(parts[2])
    raise LabError(f"--shard is {shown(text)}; write it as I/N with I from 0 to N - 1, such as 0/4")


def refuse_split_weights(computes_in_16_bits: bool) -> None:
    """An error, before anything is loaded, if the launcher asks for something with which training would go wrong here.

    It may ask to split the weights themselves among GPUs, or with DeepSpeed to hold all of them in 16 bits.
    """
    reason = ("each process must hold the whole model, because the frames are read once and their keys and values are "
              "kept between two calls of the same layers; use torchrun alone (data parallel)")
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise LabError(f"FSDP is not supported: {reason}, or DeepSpeed ZeRO-2")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return
    if zero_stage() == "3":
        raise LabError(f"DeepSpeed ZeRO-3 is not supported: {reason}, or ZeRO-2")
    if computes_in_16_bits:
        raise LabError("training.bfloat16=true and parts.dtype=float16 make DeepSpeed hold what is trained in 16 bits, "
                       "too; set training.bfloat16=false. With parts.dtype=bfloat16, frozen layers still compute in 16 "
                       "bits")


def zero_stage() -> str:
    """The stage of DeepSpeed's ZeRO as `accelerate launch` passes it on."""
    if file := os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", ""):
        return str(read_json(file, DeepSpeed).get("zero_optimization", {}).get("stage", ""))
    return os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
