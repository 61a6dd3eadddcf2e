"""Draws answers from the model itself: words as tokens, and with each `<evi>` an interval from its exact distribution.

Decoding (decoding.py) gives one answer to a question, and reads an interval off the curve by a fixed rule. Here many
answers to one question are drawn, which share the frames and the question, and the interval of an `<evi>` is drawn,
too. The token then carries the drawn interval, so that the model goes on writing about it.

Shapes: Q questions, N answers, first all answers to the first question; R of them still run; F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.batch import Batch
from ..ideas import intervals
from ..ideas.evidence import EVIDENCE
from .backbone import logits_of
from .d2vlm import D2VLM
from .decoding import named_generator, stop_ids
from .folding import folded
from .growing import start_texts

DROP = 0.75  # finished answers are dropped once at most this share of the rows is still running


@dataclass
class DrawnAnswer:
    ids: list[int] = field(default_factory=list)  # its tokens, the stop token included where it was drawn
    intervals: list[tuple[int, int]] = field(default_factory=list)  # first and last frame, for each `<evi>`
    log_p: float = 0.0  # log-probability of its tokens
    entropies: list[float] = field(default_factory=list)  # of the distribution of each interval
    finished: bool = False  # whether a stop token was drawn


@torch.inference_mode()
def draw_answers(model: D2VLM, prompts: Batch, names: Sequence[str], answers: int, limit: int) -> list[DrawnAnswer]:
    """`answers` answers to each of Q prompts, of at most `limit` tokens.

    What is drawn depends only on the weights, the prompt and its name, so `names` should contain the step and the seed.
    """
    stops, evidence_id = stop_ids(model), model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    chances = torch.stack([chance(f"{name} {n}", limit) for name in names for n in range(answers)]).to(model.device)
    drawn = [DrawnAnswer() for _ in range(len(chances))]

    with folded(model.language, wanted=model.sparing):
        # The frames and the questions are read once; then the answers to a question go on from it, each by itself.
        prefix = model.read(prompts)
        frames = model.frame_head(prefix.frame_states)
        texts = start_texts(model, prompts, prefix, limit)
        question = torch.arange(len(prompts.ids), device=model.device).repeat_interleave(answers)
        video, head, last = prompts.video[question], texts.head[question], texts.last[question]
        texts.keep(question.tolist())
        rows = torch.arange(len(drawn), device=model.device)  # which answers are computed
        curves = []  # for each step with `<evi>` tokens: their similarities, and the answers that they stand in
        running = dict(enumerate(drawn))  # the answers that have not stopped, by their place among the rows

        for step in range(limit):
            log_p = logits_of(model.language, last).double().log_softmax(-1)
            tokens = intervals.pick(log_p.exp(), chances[rows, step, 0])
            written, values = tokens.tolist(), log_p.gather(-1, tokens[:, None])[:, 0].tolist()
            for k, answer in running.items():
                answer.ids.append(written[k])
                answer.log_p += values[k]
                answer.finished = written[k] in stops
            embeddings = model.embed_words(tokens)
            if pointing := [k for k in running if written[k] == evidence_id]:
                some = torch.tensor(pointing, device=rows.device)
                exists = prefix.frame_mask[video[some]]
                similarity = model.compare(model.evidence_head(head[some]), frames, video[some]).float()
                spans = intervals.draw(similarity, chances[rows[some], step, 1:], exists)
                meaning = model.meaning(spans.float(), video[some], prefix, torch.zeros_like(some, dtype=torch.bool))
                embeddings = embeddings.index_add(0, some, meaning.to(embeddings.dtype))
                for k, span in zip(pointing, spans.tolist()):
                    running[k].intervals.append(tuple(span))
                curves.append((similarity, exists, [running[k] for k in pointing]))

            # Answers that did not stop go on. Dropping the others copies all that is kept, so it waits until there are
            # many.
            running = {k: answer for k, answer in running.items() if not answer.finished}
            if not running or step + 1 == limit:
                break
            if len(running) <= DROP * len(rows):
                texts.keep(list(running))
                kept = torch.tensor(list(running), device=rows.device)
                running = dict(enumerate(running.values()))
                rows, video, embeddings = (each[kept] for each in (rows, video, embeddings))
            texts.grow(embeddings)
            head, last = texts.head, texts.last
    if curves:
        similarity, exists, answers_of = zip(*curves)
        entropies = intervals.entropy(torch.cat(similarity), torch.cat(exists)).tolist()
        for answer, entropy in zip((answer for some in answers_of for answer in some), entropies):
            answer.entropies.append(entropy)
    return drawn


def chance(name: str, n: int) -> Tensor:
    """(n, 3) numbers in [0, 1) for n tokens: one for the token itself and two for the ends of an interval."""
    return torch.from_numpy(named_generator(name).random((n, 3)))
