"""Everything at once on a GPU, in at most eight minutes: `d2vlm-lab bench gpu`.

The language model is a random Phi-3-mini, the authors' choice, with LoRA on its attention and frozen weights in
bfloat16. Without a GPU all sizes are tiny, so that the whole can be tried anywhere. The parts run one after the other
until the time is up. A part that fails, for want of memory or of a package, is noted, and the next one follows.

Numbers, the machine and its software go to gpu.json and gpu.md in a folder.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

from d2vlm_lab.config import ROOT, Method, Preference
from d2vlm_lab.data.batch import IGNORE, Batch, Clip, PromptFormat, Text, collate
from d2vlm_lab.data.plan import plan_of
from d2vlm_lab.lab.bench import machine, peak_memory
from d2vlm_lab.learning.fpo import Preferences
from d2vlm_lab.model.adapter import adapt
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.decoding import steps
from d2vlm_lab.model.precision import hold

from . import cost, launches
from .grounding import grounding_part
from .parts import GivenFrames, text, words

BUDGET = 420  # seconds after which no further part begins
REHEARSED = ("dry run", "train", "save and load", "merge", "preferences", "evaluate", "score", "ask", "precision")


@dataclass(frozen=True)
class Sizes:
    layers: int
    width: int
    semantic_layer: int
    frames: int  # of a video
    counts: tuple[int, ...]  # of frames, in the part that varies them
    tokens: int  # of a text
    videos: int  # answered together
    at_once: int  # videos of a step, where the speed of products is measured
    product: int  # rows and columns of the largest product
    new_tokens: int
    repeats: int
    rehearsals: tuple[str, ...]


FULL = Sizes(layers=32, width=3072, semantic_layer=6, frames=350, counts=(64, 256, 1024, 2048, 4096), tokens=100,
             videos=16, at_once=8, product=8192, new_tokens=64, repeats=5, rehearsals=("paper", "phi3", "qwen"))
TINY = Sizes(layers=4, width=64, semantic_layer=2, frames=24, counts=(8, 16), tokens=40, videos=2,
             at_once=2, product=256, new_tokens=4,
             repeats=1, rehearsals=())


@dataclass(frozen=True)
class Bench:
    sizes: Sizes
    device: str
    model: D2VLM
    deadline: float  # on `time.monotonic()`


def run(folder: Path | None = None) -> dict:
    """All parts; the results are also written to `folder`."""
    gpu = torch.cuda.is_available()
    sizes, device, started = FULL if gpu else TINY, "cuda" if gpu else "cpu", time.monotonic()
    about = machine() | {"gpu_memory_gb": torch.cuda.get_device_properties(0).total_memory / 2**30 if gpu else None}
    result = {"bench": "gpu", "machine": about, "seconds": {}, "memory_mb": {}, "ratios": {}, "counts": {}, "notes": {}}
    bench = Bench(sizes, device, random_phi3(sizes, device), started + BUDGET)
    result["seconds"]["building"] = time.monotonic() - started
    for name, part in PARTS.items():
        if time.monotonic() > bench.deadline:
            result["notes"][name] = "left out: the time was up"
            continue
        begun = time.monotonic()
        try:
            for section, values in part(bench).items():
                result[section] |= {f"{name}: {key}": value for key, value in values.items()}
        except Exception as error:  # too little memory, a missing package: the next part may still work
            result["notes"][name] = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        bench.model.zero_grad(set_to_none=True)
        if gpu:
            torch.cuda.empty_cache()
        result["seconds"][f"{name}, all together"] = time.monotonic() - begun
    write(result, folder or default_folder(about))
    return result


def random_phi3(sizes: Sizes, device: str) -> D2VLM:
    """Phi-3 with random weights in bfloat16, LoRA of rank 128 on its attention, and both heads."""
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=32064, hidden_size=sizes.width, intermediate_size=sizes.width * 8 // 3,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.width // 96 or 1,
        num_key_value_heads=sizes.width // 96 or 1, max_position_embeddings=8192, pad_token_id=0)
    return with_lora(config, sizes.semantic_layer, 128, ["qkv_proj", "o_proj"], device)


def random_smollm2(bench: Bench) -> D2VLM:
    """The layers of SmolLM2-135M with random weights in bfloat16, LoRA of rank 16 on all of its linear layers."""
    torch.manual_seed(0)
    full = bench.sizes is FULL
    config = LlamaConfig(
        vocab_size=32000, hidden_size=576 if full else 72, intermediate_size=1536 if full else 96,
        num_hidden_layers=30 if full else 4, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
    return with_lora(config, bench.sizes.semantic_layer, 16, "all-linear", bench.device)


def with_lora(config, semantic_layer: int, rank: int, targets: str | list[str], device: str) -> D2VLM:
    """A model of this config whose heads and LoRA are trained."""
    with torch.device(device):
        language = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = D2VLM(GivenFrames(), language, words(), Method(semantic_layer=semantic_layer),
                  PromptFormat("w0 ", "", "<end>"))
    model.requires_grad_(False)
    model.language = adapt(model.language, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
    model.frame_head.requires_grad_(True)
    model.evidence_head.requires_grad_(True)
    hold(model, torch.bfloat16)
    return model.to(device).train()


def given(bench: Bench, frames: int, videos: int = 1) -> list[Clip]:
    """Videos whose frame tokens are random numbers."""
    generator = torch.Generator().manual_seed(0)
    width = bench.model.frame_head[0].normalized_shape[0]
    return [Clip(torch.randn(frames, width, generator=generator), np.arange(frames, dtype=float))
            for _ in range(videos)]


def batch_of(bench: Bench, frames: int, videos: int = 1) -> Batch:
    """One text with three events about each video."""
    answer = text(bench.sizes.tokens, 3, frames)
    return placed(bench, collate(given(bench, frames, videos), [[answer]] * videos, bench.model.tokenizer,
                                 bench.model.prompt))


def placed(bench: Bench, batch: Batch) -> Batch:
    """On the device, with its plan, which the collator makes beforehand in training, too."""
    plan_of(batch)
    return batch.to(bench.device)


def loss_of(bench: Bench, batch: Batch, preferences: Preferences | None = None) -> torch.Tensor:
    """In mixed precision, as the Trainer computes it."""
    with torch.autocast(bench.device, torch.bfloat16):
        out = bench.model(batch)
        if preferences is not None:
            out, _ = preferences(bench.model, batch, out)
    return out.loss


def training_step(bench: Bench, batch: Batch, preferences: Preferences | None = None) -> Callable[[], None]:
    """Forward and backward."""
    return lambda: loss_of(bench, batch, preferences).backward()


def measure(bench: Bench, work: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of a call, and the most memory in MB that it takes beyond the weights."""
    seconds = []
    for turn in range(bench.sizes.repeats + 1):
        started = time.perf_counter()
        work()
        if bench.device == "cuda":
            torch.cuda.synchronize()
        if turn:  # the first one warms up
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), peak_memory(
        work, lambda: bench.model.zero_grad(set_to_none=True), bench.device)


def one_pass(bench: Bench) -> dict:
    """A training step with the frames read once, against two passes, of which the first may stop early."""
    seconds, memory = {}, {}
    step = training_step(bench, batch_of(bench, bench.sizes.frames))
    try:
        for way in ("one pass", "two passes", "two passes, the first cut short"):
            bench.model.two_pass, bench.model.whole_first_pass = way != "one pass", way == "two passes"
            seconds[way], memory[way] = measure(bench, step)
    finally:
        bench.model.two_pass = bench.model.whole_first_pass = False
    return {"seconds": seconds, "memory_mb": memory,
            "ratios": {f"{way} over one pass": value / seconds["one pass"] for way, value in seconds.items()}}


def shared_prefix(bench: Bench) -> dict:
    """A preference step whose answers share the frames, against each answer with its own."""
    seconds, memory, ratios = {}, {}, {}
    preferences = Preferences(Preference(form="fpo"), bench.model)
    for rejects in (1, 4):
        for shared in (True, False):
            key = f"{rejects} rejected, {'shared' if shared else 'separate'} frames"
            answers = [text(bench.sizes.tokens, 3, bench.sizes.frames)] * (1 + rejects)
            groups = [answers] if shared else [[answer] for answer in answers]
            batch = collate(given(bench, bench.sizes.frames) * len(groups), groups, bench.model.tokenizer,
                            bench.model.prompt)
            batch = placed(bench, replace(batch, preferred=torch.zeros(len(answers), dtype=torch.long)))
            seconds[key], memory[key] = measure(bench, training_step(bench, batch, preferences))
        ratios[f"separate over shared, {rejects} rejected"] = (
            seconds[f"{rejects} rejected, separate frames"] / seconds[f"{rejects} rejected, shared frames"])
    return {"seconds": seconds, "memory_mb": memory, "ratios": ratios}


def generation(bench: Bench) -> dict:
    """Answers to many videos at once, with an evidence token every eighth and without an early stop."""
    model, sizes = bench.model.eval(), bench.sizes
    evidence, stop = (model.tokenizer.convert_tokens_to_ids(token) for token in ("<evi>", "<end>"))

    def choose(logits, rows, step):
        logits[:, stop] = -torch.inf
        return torch.full_like(rows, evidence) if step % 8 == 0 else logits.argmax(-1)

    def answer(videos: int) -> None:
        prompts = [[Text(list(range(20)), [IGNORE] * 20)] for _ in range(videos)]
        batch = collate(given(bench, 64, videos), prompts, model.tokenizer, model.prompt).to(bench.device)
        for _ in steps(model, batch, choose, sizes.new_tokens):
            pass

    seconds, memory, speeds = {}, {}, {}
    try:
        for videos in (1, sizes.videos):
            key = f"{videos} videos at once"
            seconds[key], memory[key] = measure(bench, lambda videos=videos: answer(videos))
            speeds[f"tokens a second, {key}"] = videos * sizes.new_tokens / seconds[key]
    finally:
        model.train()
    return {"seconds": seconds, "memory_mb": memory, "counts": speeds}


def grounding_share(bench: Bench) -> dict:
    """Heads, similarity and their losses, as a share of a forward."""
    batch = batch_of(bench, bench.sizes.frames)
    with torch.no_grad(), torch.autocast(bench.device, torch.bfloat16):
        forward, _ = measure(bench, lambda: bench.model(batch))
        grounding, _ = measure(bench, lambda: grounding_part(bench.model, batch, bench.sizes.frames))
    return {"seconds": {"forward": forward, "grounding": grounding}, "ratios": {"of the forward": grounding / forward},
            "counts": {"grounding, ms a token": 1000 * grounding / bench.sizes.tokens}}


def frames(bench: Bench) -> dict:
    """A training step against the number of frames, as far as memory and time reach."""
    seconds, memory, notes = {}, {}, {}
    for count in bench.sizes.counts:
        if time.monotonic() > bench.deadline:
            notes[f"{count} frames and more"] = "left out: the time was up"
            break
        try:
            seconds[f"{count} frames"], memory[f"{count} frames"] = measure(
                bench, training_step(bench, batch_of(bench, count)))
        except torch.OutOfMemoryError:
            notes[f"{count} frames and more"] = "left out: they do not fit into memory"
            break
    return {"seconds": seconds, "memory_mb": memory, "notes": notes}


def kernels(bench: Bench) -> dict:
    """What a training step launches, how often it waits for the device, and what it computes and moves."""
    batch = batch_of(bench, bench.sizes.frames)
    return {"counts": launches.counted(bench.model, lambda: loss_of(bench, batch))}


def matrix_rate(bench: Bench) -> dict:
    """Operations a second in a step with several videos, against those of one large product in bfloat16."""
    speeds, ratios, seconds = {"10^12 operations a second, one large product": product_rate(bench) / 1e12}, {}, {}
    peak, = speeds.values()
    for name, model in {"smollm2": random_smollm2(bench), "phi3": bench.model}.items():
        part = replace(bench, model=model)
        step = training_step(part, batch_of(part, bench.sizes.frames, bench.sizes.at_once))
        operations = cost.counted(step)
        seconds[name], _ = measure(part, step)
        speeds[f"10^12 operations a second, {name}"] = operations / seconds[name] / 1e12
        ratios[f"{name}, of the speed of one large product"] = operations / seconds[name] / 1e12 / peak
    return {"seconds": seconds, "ratios": ratios, "counts": speeds}


def product_rate(bench: Bench) -> float:
    """Operations a second of a product of two square matrices, which no model can exceed."""
    size = bench.sizes.product
    a, b = (torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / measure(bench, lambda: a @ b)[0]


def tiny_preset(bench: Bench) -> dict:
    """A training step of the preset `tiny`."""
    from . import training  # reads videos, which needs more packages than the other parts

    result = training.run()
    return {"seconds": result["seconds"], "memory_mb": result["memory_mb"], "ratios": result["ratios"]}


def rehearsals(bench: Bench) -> dict:
    """The whole life of runs of several presets, at small size, in bfloat16."""
    from d2vlm_lab.lab.rehearsal.command import rehearse  # so does this

    seconds, notes = {}, {}
    for preset in bench.sizes.rehearsals:
        if time.monotonic() > bench.deadline:
            notes[preset] = "left out: the time was up"
            continue
        results = rehearse(preset, report=lambda done: None, only=REHEARSED)
        seconds[preset] = sum(done.seconds for done in results)
        failed = [f"{done.stage}: {done.note}" for done in results if not done.ok]
        notes[preset] = "; ".join(failed) or f"every stage passes; precision: {results[-1].note}"
    return {"seconds": seconds, "notes": notes}


PARTS: dict[str, Callable[[Bench], dict]] = {
    "one pass": one_pass, "shared prefix": shared_prefix, "generation": generation, "grounding share": grounding_share,
    "matrix rate": matrix_rate, "kernels": kernels, "frames": frames, "preset tiny": tiny_preset,
    "rehearsals": rehearsals}


def default_folder(about: dict) -> Path:
    """Results of a GPU are worth keeping; those of the tiny sizes are not."""
    name = "".join(letter if letter.isalnum() else "-" for letter in (about["gpu"] or "").lower())
    return ROOT / "experiments" / "results" / "gpu" / name if name else Path("runs") / "bench-gpu"


def write(result: dict, folder: Path) -> None:
    """gpu.json, and gpu.md with a table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    about = ", ".join(f"{key} {value:.0f}" if isinstance(value, float) else f"{key} {value}"
                      for key, value in result["machine"].items() if value)
    lines = ["# Measured with `d2vlm-lab bench gpu`", "", f"Machine: {about}.", "",
             "| what | value | unit |", "|---|---|---|"]
    for section, unit in (("seconds", "s"), ("memory_mb", "MB"), ("ratios", ""), ("counts", "")):
        lines += [f"| {name} | {value:.4g} | {unit} |" for name, value in result[section].items()]
    if result["notes"]:
        lines += ["", *(f"- {name}: {note}" for name, note in result["notes"].items())]
    (folder / "gpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
