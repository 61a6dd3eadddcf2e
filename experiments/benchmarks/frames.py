"""A training step against the number of frames: time and memory, as a table and a plot."""

from __future__ import annotations

from pathlib import Path

from d2vlm_lab.config import Method
from d2vlm_lab.lab.bench import machine, median_seconds, peak_memory

from .parts import model_and_batch

COUNTS = (64, 128, 256, 512, 1024, 2048)


def run(figure: Path | None = Path("experiments/results/frames.png")) -> dict:
    """8 layers of width 512, 100 text tokens, forward and backward, everything trained."""
    seconds, memory = {}, {}
    for count in COUNTS:
        model, batch = model_and_batch(Method(semantic_layer=6), frames=count)

        def step(model=model, batch=batch):
            model(batch).loss.backward()

        seconds[str(count)] = median_seconds(step, 3)
        memory[str(count)] = peak_memory(step, before=lambda model=model: model.zero_grad(set_to_none=True))
    if figure is not None:
        draw(seconds, memory, figure)
    ratios = {f"frames_{b}_over_{a}": seconds[str(b)] / seconds[str(a)] for a, b in zip(COUNTS, COUNTS[1:])}
    return {"bench": "frames", "ratios": ratios, "seconds": seconds, "memory_mb": memory, "machine": machine()}


def draw(seconds: dict, memory: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axis, values, label in zip(figure.subplots(1, 2), (seconds, memory), ("seconds per step", "peak memory, MB")):
        axis.plot([int(k) for k in values], list(values.values()), marker="o", color="#0072B2")
        axis.set(xscale="log", yscale="log", xlabel="frames", ylabel=label)
        axis.set_xticks([int(k) for k in values], list(values))
        axis.minorticks_off()
        low, high = min(values.values()), max(values.values())
        ticks = [tick * 10 ** power for power in range(-3, 6) for tick in (1, 2, 5)]
        shown = [tick for tick in ticks if low / 1.2 <= tick <= high * 1.2]
        axis.set_yticks(shown, [f"{tick:g}" for tick in shown])
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
