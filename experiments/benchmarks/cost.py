"""What a training step costs: tokens, operations and bytes by formula, counted, and measured against the frames.

The formulas are explained in experiments/results/cost.md. An addition and a multiplication are two operations.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from d2vlm_lab.config import ROOT, Method
from d2vlm_lab.data.batch import Batch, Clip, collate
from d2vlm_lab.lab.bench import machine, peak_memory
from d2vlm_lab.model.d2vlm import D2VLM

from .parts import FRAMES, TOKENS, VOCABULARY, model_and_batch, text

COUNTS = (64, 128, 256, 512, 1024, 2048)
START = 1  # tokens before the frames, in the benchmarks
REPEATS = 3


@dataclass(frozen=True)
class Step:
    """The sizes that a step of one video depends on; several videos cost so many times as much."""

    frames: int = FRAMES  # F
    texts: int = 1  # N: questions with their answers, and rejected answers, each of them read whole
    tokens: int = TOKENS  # T of a text
    events: int = 3  # in each text, where each is mentioned twice
    layers: int = 8  # n
    width: int = 512  # D
    keys: int = 512  # K: of all heads of keys together, less than D where heads share them
    hidden: int = 512 * 8 // 3  # M
    vocabulary: int = VOCABULARY  # W

    @property
    def before(self) -> int:
        """P: the tokens that are read once for all texts."""
        return START + self.frames

    @property
    def read(self) -> int:
        """Tokens that run through the layers."""
        return self.before + self.texts * self.tokens

    @property
    def predicting(self) -> int:
        """A: the tokens from which an answer is predicted; a fifth of a text is its question."""
        return self.texts * (self.tokens - self.tokens // 5)

    @property
    def evidence(self) -> int:
        """E"""
        return self.texts * 2 * self.events


def forward(step: Step) -> dict[str, int]:
    """Operations of each part of a forward pass."""
    d, m = step.width, step.hidden
    queries_mlp, keys_values = 4 * d * d + 6 * d * m, 4 * d * step.keys
    looked_at = step.before**2 + step.texts * step.tokens * (step.before + step.tokens)
    return {"layers": (step.layers - 1) * step.read * (queries_mlp + keys_values),
            "last layer": step.read * keys_values + step.predicting * queries_mlp,
            "attention": 4 * step.layers * looked_at * d,
            "logits": 2 * step.predicting * d * step.vocabulary,
            "grounding": 2 * (step.frames + step.evidence) * d * d + 6 * step.evidence * step.frames * d}


def backward(step: Step) -> int:
    """Twice the forward pass, but for what no loss reads: the attention of frames in the last layer, and two pools."""
    unread = 8 * step.before**2 * step.width + 4 * step.evidence * step.frames * step.width
    return 2 * sum(forward(step).values()) - unread


def kept_bytes(step: Step) -> int:
    """What a forward pass keeps for the backward pass, in float32.

    The states of every token in every layer, the keys and values of the frames once more for each text, the masks, and
    the logits.
    """
    d, k, m, tokens = step.width, step.keys, step.hidden, step.texts * step.tokens
    layer = step.read * (10 * d + 2 * k + 4 * m)
    last = step.read * 4 * d + step.predicting * (4 * d + 4 * m)
    attention = step.texts * 2 * k * (step.before + step.tokens) + step.before**2 + tokens * (step.before + step.tokens)
    return 4 * ((step.layers - 1) * layer + last + step.layers * attention + step.predicting * step.vocabulary)


def counted(work: Callable[[], object]) -> int:
    """Operations of the matrix products that really run. Attention is counted as the two products that it is."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def counted_bytes(model: D2VLM, forward: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once, without the weights."""
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = forward()
    del out  # not before, so that no storage takes the place of another one
    return sum(kept.values())


def prepared(step: Step) -> tuple[D2VLM, Batch]:
    """A model and a batch of these sizes; the widths of keys and of the hidden layer follow from the width."""
    model, batch = model_and_batch(Method(semantic_layer=step.layers - 2), step.layers, step.width, step.frames,
                                   step.tokens, step.events)
    clip = Clip(batch.features[0], batch.seconds[0].numpy())
    answers = [text(step.tokens, step.events, step.frames)] * step.texts
    return model, collate([clip], [answers], model.tokenizer, model.prompt)


def run(figure: Path | None = ROOT / "experiments" / "results" / "cost.png") -> dict:
    """A step with every weight trained, against the number of frames, on the CPU."""
    seconds, memory, counts = {}, {}, {}
    for frames in COUNTS:
        step = Step(frames)
        model, batch = prepared(step)

        def work(model=model, batch=batch) -> None:
            model(batch).loss.backward()

        seconds[str(frames)] = median_cpu_seconds(work)
        memory[str(frames)] = peak_memory(work, before=lambda model=model: model.zero_grad(set_to_none=True))
        counts |= {f"{frames} frames: tokens": step.read,
                   f"{frames} frames: 10^9 operations": (sum(forward(step).values()) + backward(step)) / 1e9,
                   f"{frames} frames: MB kept for the backward pass": kept_bytes(step) / 2**20}
    if figure is not None:
        draw(seconds, memory, figure)
    last = str(COUNTS[-1])
    return {"bench": "cost", "seconds": seconds, "memory_mb": memory, "counts": counts, "machine": machine(),
            "ratios": {"10^9 operations a second": counts[f"{last} frames: 10^9 operations"] / seconds[last]}}


def median_cpu_seconds(work: Callable[[], object]) -> float:
    """Of a few calls after one to warm up; other work on the machine adds little to it."""
    taken = []
    for _ in range(REPEATS + 1):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return statistics.median(taken[1:])


def draw(seconds: dict[str, float], memory: dict[str, float], path: Path) -> None:
    """What was measured as dots, the formulas as lines; the one for seconds has the speed of the longest step."""
    from matplotlib.figure import Figure

    steps = [Step(frames) for frames in range(COUNTS[0], COUNTS[-1] + 1, 16)]
    work = [sum(forward(step).values()) + backward(step) for step in steps]
    kept, gradients = [kept_bytes(step) / 2**20 for step in steps], gradient_bytes(steps[0]) / 2**20
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axis, values, line, name, label in zip(
            figure.subplots(1, 2), (seconds, memory),
            ([operations * seconds[str(COUNTS[-1])] / work[-1] for operations in work],
             [megabytes + gradients for megabytes in kept]),
            ("formula", "formula: kept states and gradients"), ("CPU seconds a step", "peak memory, MB")):
        axis.plot([step.frames for step in steps], line, color="#D55E00", label=name)
        axis.plot([int(frames) for frames in values], list(values.values()), "o", color="#0072B2", label="measured")
        axis.set(xscale="log", yscale="log", xlabel="frames", ylabel=label)
        axis.set_xticks(COUNTS, COUNTS)
        axis.minorticks_off()
        low, high = min(*line, *values.values()), max(*line, *values.values())
        ticks = [tick * 10 ** power for power in range(-3, 6) for tick in (1, 2, 5)]
        shown = [tick for tick in ticks if low / 1.2 <= tick <= high * 1.2]
        axis.set_yticks(shown, [f"{tick:g}" for tick in shown])
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def gradient_bytes(step: Step) -> int:
    """The gradients of all weights, in float32: the layers, the embeddings and the output, and both heads."""
    layer = 2 * step.width * step.width + 2 * step.width * step.keys + 3 * step.width * step.hidden
    return 4 * (step.layers * layer + 2 * step.vocabulary * step.width + 2 * step.width * step.width)
