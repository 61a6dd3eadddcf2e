"""How long a whole E.T. Bench takes to score, the sentence model aside: 7,289 answers to twelve tasks."""

from __future__ import annotations

import random
import time

import psutil

from d2vlm_lab.files import peak_megabytes
from d2vlm_lab.judging.metrics.captions import meteor
from d2vlm_lab.judging.metrics.etbench import TASKS, score_etbench
from d2vlm_lab.lab.bench import machine

ANSWERS = 7289
WORDS = ["add", "cut", "stir", "pour", "heat", "bake", "mix", "slice", "cover", "the", "a", "two", "onions", "garlic",
         "dough", "sauce", "butter", "pan", "bowl", "water", "until", "golden", "brown", "with", "in", "and", "slowly"]


def run() -> dict:
    rng = random.Random(0)
    records = [record(rng, i, TASKS[i % len(TASKS)]) for i in range(ANSWERS)]
    seconds = {"clean_without_captions": timed(lambda: score_etbench(records, captions=False))}
    for protocol in ("clean", "d2vlm", "etbench"):
        meteor.cache_clear()  # each with a process of its own, its start included
        seconds[protocol] = timed(lambda protocol=protocol: score_etbench(records, protocol))
        java = psutil.Process(meteor().process.pid).memory_info().rss / 2**20
        meteor().close()
    meteor.cache_clear()
    return {"bench": "scoring", "seconds": seconds, "machine": machine(),
            "ratios": {"captions_share": 1 - seconds["clean_without_captions"] / seconds["clean"],
                       "minute_over_slowest": 60 / max(seconds.values())},
            "memory_mb": {"python": peak_megabytes(), "java": java}}


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def record(rng: random.Random, idx: int, task: str) -> dict:
    """A question with its truth, and an answer that is about right."""
    count = 1 if task in ("tvg", "epm", "gvq") else rng.randint(1, 9)
    truth = sorted(sorted(round(rng.uniform(0, 180), 1) for _ in range(2)) for _ in range(count))
    said = [[max(0, x + round(rng.gauss(0, 3), 1)) for x in span] for span in truth]
    times = [f"{start:.1f} - {end:.1f}" for start, end in said]
    base = {"version": 1.0, "idx": idx, "task": task, "source": f"source{idx % 2}", "video": f"{idx}.mp4"}
    if task in ("rar", "eca", "rvq", "gvq"):
        base |= {"p": rng.randrange(4), "o": [caption(rng) for _ in range(4)]}
    answer = f"The event happens in {', '.join(times)}."
    if task in ("dvc", "slc"):
        base["g"] = [caption(rng) for _ in truth]
        answer = " ".join(f"{at} seconds, {caption(rng, like)}." for at, like in zip(times, base["g"]))
    elif "p" in base:
        answer = f"({rng.choice('ABCD')}) {answer}"
    target = truth[0] if task in ("tvg", "epm", "gvq") else truth
    return base | {"tgt": target, "a": f"{' '.join(times)} </evi> {answer}"}


def caption(rng: random.Random, like: str = "") -> str:
    """Some words, or those of `like` with some replaced."""
    words = like.split() or [rng.choice(WORDS) for _ in range(rng.randint(6, 12))]
    return " ".join(rng.choice(WORDS) if rng.random() < 0.3 else word for word in words)
