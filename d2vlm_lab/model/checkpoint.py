"""Save and load a model: whole, or only what was trained, with a pointer to where it started. Safetensors only."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ..config import Method, Parts, RunConfig
from ..errors import LabError
from ..settings import from_dict
from ..shapes import shown
from .adapter import adapt
from .d2vlm import D2VLM
from .description import PARTS, Description, begun_with, build_frames, describe, is_video_language
from .frames import EvaQFormer
from .language import load_language, local_or_hub
from .precision import dtype_name, hold, train_in_float32
from .reading import building, check_files, check_sizes, read_json, read_shapes, read_tensors
from .reference import VOCABULARY, import_reference
from .seal import (
    CHAIN,
    DESCRIPTION,
    LANGUAGE,
    REST,
    WEIGHTS,
    base_hash,
    base_of,
    check_chain,
    check_seal,
    checkpoint_id,
    find_checkpoint,
    own_hashes,
    weight_files,
)
from .towers.qformer import write_vocabulary
from .video_language import OWN, build_parts, load_video_language
from .weights import embeddings, plain_name, stored, write_weights

__all__ = ["DESCRIPTION", "checkpoint_id", "load", "merge", "save"]
HEADS = (".frame_head.", ".evidence_head.")
# Weights that a model has only with this value of a setting; they are always trained, too.
EXTRA = {"bins.": ("formulation", "bins"), "time_symbols.": ("style", "time_tokens"),
         "citing.": ("formulation", "cite"), "time_embedding.": ("frame_times", "embedding")}


def save(model: D2VLM, folder: str | os.PathLike, base: str = "", begun: RunConfig | None = None) -> Path:
    """Save the model in `folder`; with `base`, the checkpoint that it started from, only the trained tensors.

    Likewise with `begun`, the run that is in its middle and began with a language model and a vision tower.
    """
    base = PARTS if begun else base
    description, tensors, beneath, tables = describe(model, base, begun), untied(model), "", False
    if base:
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
        tensors = {name: value for name, value in tensors.items() if name in trained}
        if isinstance(model.language, PeftModel):
            tables_of_model = embeddings(model)
            beneath, changed = language_of(base_of(description), tables_of_model)
            tables = changed or any(plain_name(name) in tables_of_model for name in trained)
    with replaced(Path(folder)) as partial:
        write_weights(model, tensors, partial, bool(base), beneath, tables)
        model.tokenizer.save_pretrained(partial)
        if isinstance(model.frames, EvaQFormer):
            write_vocabulary(model.frames.words, partial / VOCABULARY)
        description |= {"hashes": own_hashes(partial), "base_hash": base_hash(base_of(description))}
        (partial / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Path(folder)


def language_of(base: str, tables: set[str]) -> tuple[str, bool]:
    """The language model beneath an adapter beside a checkpoint, and whether its `tables` were trained since."""
    changed = False
    for _ in range(CHAIN):
        folder = find_checkpoint(base)
        if not (folder / DESCRIPTION).is_file() or (folder / REST).is_file() and (folder / WEIGHTS).is_file():
            break
        if (folder / LANGUAGE).is_file():
            return str((folder / LANGUAGE).parent), changed
        if not (below := base_of(read_json(folder / DESCRIPTION, Description))):
            break
        changed |= any(plain_name(name) in tables for file in weight_files(folder) for name in read_shapes(file))
        base = below
    return base, changed


def load(folder: str | os.PathLike, method: Method | None = None, dtype: torch.dtype | None = None,
         above: tuple[Path, ...] = (), revision: str | None = None) -> D2VLM:
    """A model saved by `save` or released by the authors, in evaluation mode; `method` replaces its switches.

    `folder` may be a hub id, with the `revision` after an `@` or as an argument.

    Its weights keep the precision that they were saved in. With `dtype`, the frozen weights are held in that precision
    instead. `above` are the checkpoints whose base this one is, directly or not.
    """
    folder = find_checkpoint(folder, revision)
    if not os.path.isdir(folder):
        raise LabError(f"{shown(str(folder))}: no such folder; give that of a checkpoint (it holds {DESCRIPTION})")
    check_files(folder)
    check_chain(folder, above)
    if not (folder / DESCRIPTION).exists():
        if not (folder / "config.json").exists():
            raise LabError(f"{folder}: neither a checkpoint of this project (no {DESCRIPTION}) nor laid out as the "
                           "authors' release (no config.json)")
        with building(folder):
            model = import_reference(folder, method=method, dtype=dtype)
        hold(model, dtype or model.dtype)
        return model
    description = read_json(folder / DESCRIPTION, Description)
    check_sizes({**description, "begun": None}, str(folder / DESCRIPTION))  # its settings have ranges of their own
    if method is None:
        method = from_dict(Method, description["method"], f"{folder / DESCRIPTION}: method")
        if "frame_times" not in description["method"] and description["prompt"].tells_times:  # an older checkpoint
            method = replace(method, frame_times="text")
    recorded = getattr(torch, description.get("dtype", "float32"))
    for file in weight_files(folder) or [folder / WEIGHTS]:
        read_shapes(file)
    check_seal(folder, description)
    with building(folder / DESCRIPTION):
        model = _build(folder, description, method, recorded, dtype, above)
        if description["adapter"] and not isinstance(model.language, PeftModel):  # its base may have one already
            model.language = adapt(model.language, LoraConfig(**description["adapter"]))
    names = fill(model, folder, not description["base"], of_one_only(method, description["method"]))
    if description["base"]:  # trained weights as they were when it was saved, so that it can be saved again
        for name, value in model.named_parameters():
            value.requires_grad_(name in names)
        train_in_float32(model)
    else:
        model.dtype = recorded
        if dtype not in (None, recorded):  # else what was trained in float32 stays in it
            hold(model, dtype)
    model.can_ground, model.added, model.loaded_from = description["grounded"], [], folder
    return model.eval()


def _build(folder: Path, description: dict, method: Method, recorded: torch.dtype, dtype: torch.dtype | None,
           above: tuple[Path, ...]) -> D2VLM:
    """The model of a description, with the weights of its base, or with new weights if it has no base."""
    prompt, base, settings = description["prompt"], description["base"], description["frames"]
    prompt = prompt.telling(method.frame_times == "text")
    if base == PARTS:
        parts = begun_with(folder, description)
        model = from_parts(parts, description["begun"]["seed"], method, dtype or recorded)
        model.prompt = prompt
        return model
    if base and is_video_language(description):
        parts = Parts(frames=OWN, frame_tokens=settings["tokens_per_frame"], dtype=dtype_name(dtype or recorded))
        model = load_video_language(local_or_hub(base), parts, method)
        model.prompt = prompt
        return model
    if base:
        try:
            model = load(base, method, dtype or recorded, (*above, folder))
        except LabError as error:
            raise LabError(f"{folder / DESCRIPTION}: base: {error}") from None
        model.prompt = prompt
        return model
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if settings["kind"] == OWN:
        frames, language = build_parts(description["language"], recorded, settings["tokens_per_frame"],
                                       settings["mean"], settings["std"])
        return D2VLM(frames, language, tokenizer, method, prompt)
    language = AutoModelForCausalLM.from_config(AutoConfig.for_model(**description["language"]), dtype=recorded,
                                                trust_remote_code=False)
    if len(tokenizer) > (rows := len(language.get_input_embeddings().weight)):
        raise LabError(f"{folder}: the tokenizer has {len(tokenizer):,} tokens, but the language model {rows:,}; "
                       "tokenizer.json belongs to another checkpoint")
    return D2VLM(build_frames(folder, **settings), language, tokenizer, method, prompt)


def from_parts(parts: Parts, seed: int, method: Method, dtype: torch.dtype) -> D2VLM:
    """The model with which a run began: what was drawn from the seed and may never be trained is drawn again."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return load_language(replace(parts, dtype=dtype_name(dtype)), method)


def merge(model: D2VLM) -> D2VLM:
    """The model without an adapter: what LoRA has learned becomes part of the language model's own weights."""
    if isinstance(model.language, PeftModel):
        model.language = model.language.merge_and_unload()
    return model


def fill(model: D2VLM, folder: Path, whole: bool, without: tuple[str, ...] = ()) -> set[str]:
    """Give the model the weights in the files of a checkpoint, in their precision; returns their names.

    All weights must have a place in the model. If they should be the `whole` model, no place may stay empty. Otherwise
    only the heads, which are always trained, must be complete, and an adapter if there is a part of one. Weights whose
    names begin with one of `without` are left as they are.
    """
    files = {path: {name: ours for name, ours in places.items() if not ours.startswith(without)}
             for path, places in stored(model, folder).items()}
    state = {name: value for name, value in model.state_dict().items() if not name.startswith(without)}
    names = {ours for places in files.values() for ours in places.values()}
    trained = HEADS + ((".lora_",) if any(".lora_" in name for name in names) else ())
    needed = untied(model) if whole else {name for name in state if any(part in f".{name}" for part in trained)
                                          or name.startswith(tuple(EXTRA))}
    for path, places in files.items():
        if unexpected := [name for name, ours in places.items() if ours not in state]:
            raise LabError(f"{path}: {len(unexpected)} tensors have no place in this model, such as {unexpected[0]}")
        shapes = read_shapes(path)
        for name, ours in places.items():
            if (needs := state[ours].shape) != shapes[name]:
                raise LabError(f"{path}: {name} is {list(shapes[name])} where {list(needs)} is needed")
    if missing := set(needed) & set(state) - names:
        raise LabError(f"{next(iter(files))}: {len(missing)} tensors of this model are missing, such as {min(missing)}")
    tensors = {places[name]: value for path, places in files.items() for name, value in read_tensors(path).items()
               if name in places}
    for name, value in model.named_parameters():
        if name in tensors:
            value.data = value.data.to(tensors[name].dtype)
    model.load_state_dict(tensors, strict=False)
    return names


def of_one_only(method: Method, saved: dict) -> tuple[str, ...]:
    """The beginnings of the names of weights that only one of two methods has: this one, or that of a checkpoint."""
    return tuple(part for part, (setting, value) in EXTRA.items()
                 if (getattr(method, setting) == value) != (saved.get(setting) == value))


def untied(model: D2VLM) -> dict[str, Tensor]:
    """The model's tensors; if several names share a tensor, only the first name."""
    first: dict[tuple, str] = {}
    state = model.state_dict()
    for name, value in state.items():
        first.setdefault((value.data_ptr(), value.shape), name)
    return {name: state[name] for name in first.values()}


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A folder to write in. Once it is complete, it replaces `folder`, and nothing of an older folder is kept."""
    writer = f"{socket.gethostname()}.{os.getpid()}"  # so that `sweep` can tell whether the writer was killed
    partial, old = (folder.with_name(f".{folder.name}.{writer}.{ending}") for ending in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
