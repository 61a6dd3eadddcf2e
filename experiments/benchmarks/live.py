"""What a frame costs while a video runs, with one standing question, and whether that grows with the stream.

The times are CPU seconds of one thread, on the laptop preset at 2 frames a second. The pictures are noise. Of the
standing question nobody wants the words; the time of an answer is given by itself.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from d2vlm_lab.data.live.sources import TimedFrame
from d2vlm_lab.lab.ask import load
from d2vlm_lab.lab.bench import machine, peak_memory

FRAMES, FPS = 1280, 2.0
KEPT = 64  # frames, which is 32 s
PART = 256  # frames: the first part after the memory is full is compared with the last one
QUESTION = "when does the red disc spin?"


def run() -> dict:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured()
    finally:
        torch.set_num_threads(threads)


def measured() -> dict:
    lab = load("data/tiny-live", device="cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    frames = [TimedFrame(n, n / FPS, pictures[n % len(pictures)]) for n in range(FRAMES)]
    ratios, seconds, memory = {}, {}, {}
    bounds = {"oldest": {"keep_frames": KEPT}, "merge": {"keep_frames": KEPT, "forget": "merge"}, "everything": {}}
    for name, bound in bounds.items():
        taken, live = cost_of_frames(lab, frames, bound)
        begin, end = (statistics.median(part) for part in (taken[KEPT * 2:KEPT * 2 + PART], taken[-PART:]))
        seconds[f"{name}: a frame"] = sum(taken) / len(taken)
        ratios[f"{name}: cost of a frame / real time"] = seconds[f"{name}: a frame"] * FPS
        ratios[f"{name}: last {PART} frames / first {PART}"] = end / begin
        if name == "oldest":
            start = time.process_time()
            live.ask(QUESTION)
            seconds["an answer"] = time.process_time() - start
            memory["a block"] = peak_memory(lambda live=live: [list(live.take(each)) for each in frames[-4:]])
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
