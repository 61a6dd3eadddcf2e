"""What a frame costs while a video runs, with one standing question, and whether that grows with the stream.

The times are CPU seconds of one thread, on the laptop preset at 2 frames a second. The pictures are noise. The
words of the standing question's answers are not generated; the time of an answer is given by itself.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import torch

from d2vlm_lab.config import ROOT
from d2vlm_lab.data.live.sources import TimedFrame
from d2vlm_lab.lab.ask import load
from d2vlm_lab.lab.bench import machine, peak_memory

FRAMES, FPS = 4096, 2.0
KEPT = 64  # frames, which is 32 s
PART = 256  # frames: the first part after the memory is full is compared with the last one
QUESTION = "when does the red disc spin?"


def run(figure: Path | None = ROOT / "experiments" / "results" / "live.png") -> dict:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured(figure)
    finally:
        torch.set_num_threads(threads)


def measured(figure: Path | None) -> dict:
    lab = load("data/tiny-live", device="cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    frames = [TimedFrame(n, n / FPS, pictures[n % len(pictures)]) for n in range(FRAMES)]
    ratios, seconds, memory, curves = {}, {}, {}, {}
    bounds = {"oldest": {"keep_frames": KEPT}, "merge": {"keep_frames": KEPT, "forget": "merge"}, "everything": {}}
    for name, bound in bounds.items():
        curves[name], live = cost_of_frames(lab, frames, bound)
        taken = curves[name]
        begin, end = (statistics.median(part) for part in (taken[KEPT * 2:KEPT * 2 + PART], taken[-PART:]))
        seconds[f"{name}: a frame"] = sum(taken) / len(taken)
        ratios[f"{name}: cost of a frame / real time"] = seconds[f"{name}: a frame"] * FPS
        ratios[f"{name}: last {PART} frames / first {PART}"] = end / begin
        if name == "oldest":
            start = time.process_time()
            live.ask(QUESTION)
            seconds["an answer"] = time.process_time() - start
            memory["a block"] = peak_memory(lambda live=live: [list(live.take(each)) for each in frames[-4:]])
    if figure is not None:
        draw(curves, figure)
    return {"bench": "live", "ratios": ratios, "seconds": seconds, "memory_mb": memory, "machine": machine()}


def cost_of_frames(lab, frames: list[TimedFrame], bound: dict) -> tuple[list[float], object]:
    """CPU seconds of each frame, as the mean over four, and the stream at its end."""
    live = lab.listen([], **bound)
    live.wait_for(QUESTION, words=False)
    taken, together = [], 4
    for n in range(0, len(frames), together):
        start = time.process_time()
        for frame in frames[n:n + together]:
            for _ in live.take(frame):
                pass
        taken += [(time.process_time() - start) / together] * together
    return taken, live


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """The cost of a frame, as the median of parts of the stream, against the number of frames before it."""
    from matplotlib.figure import Figure

    names = {"oldest": f"the last {KEPT} frames are kept", "merge": f"merged to {KEPT} frames",
             "everything": "all frames are kept"}
    figure = Figure(figsize=(7, 3), layout="constrained")
    axis = figure.subplots()
    for (name, taken), color in zip(curves.items(), ("#0072B2", "#009E73", "#D55E00"), strict=True):
        parts = 1000 * np.median(np.reshape(taken, (-1, PART)), axis=1)
        axis.plot(PART * (np.arange(len(parts)) + 0.5), parts, marker="o", color=color, label=names[name])
    axis.set(xlabel="frames so far, at 2 a second", ylabel="CPU time of a frame, ms", xlim=(0, FRAMES))
    axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
