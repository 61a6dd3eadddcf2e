"""Exercises of page 06: reading an answer, who may look at whom, and one step of generation."""

from __future__ import annotations

import torch
from torch import Tensor

from ...ideas import evidence
from .exercise import Comparison, Judgement, Mistake
from .page03 import rule_of_the_page

generator = torch.Generator().manual_seed(6)
EVI, END = evidence.EVIDENCE, evidence.END


def _mentions(text: str) -> tuple[int, list[int | None]]:
    answer = evidence.parse(text)
    return len(answer.grounded), [reference.event for reference in answer.references]


def _halves(text: str) -> tuple[int, int]:
    head, _, tail = text.partition(END)
    return head.count(EVI), tail.count(EVI)


def _first_only(text: str) -> tuple[int, list[int | None]]:
    if END in text or not text.startswith(EVI):
        return _mentions(text)
    return 1, [0, *[None] * (text.count(EVI) - 2)]


mentions = Comparison(
    "mentions", "06", "text",
    hints=("`text.partition('</evi>')` gives what stands before the end marker, the marker itself, and what follows. "
           "If there is no marker, the second part is empty.",
           "Before the marker, every `<evi>` is grounded. Without a marker, count only those at the very beginning "
           "of the text.",
           "The k-th `<evi>` of the rest refers to event k, counted from 0; if there are fewer events, to None."),
    returns="a pair: a number, and a list with a number or None for each reference",
    right=_mentions,
    cases=[(f"{EVI}{END} It happens in {EVI}.",), (f"{EVI}{EVI}{END} First {EVI}, then {EVI}.",),
           (f"{EVI}{END} In {EVI} and again in {EVI}.",), ("I do not know.",), (f"{EVI} It happens in {EVI}.",),
           (f"It happens in {EVI}.",), (f"{EVI}{EVI}{EVI}{END} In {EVI}.",), (f"{END} In {EVI}.",),
           (f"{EVI}{EVI} First {EVI}, then {EVI}.",), (f"I see {EVI} and {EVI} {END} First {EVI}.",)],
    mistakes=(
        Mistake("You count the events from 1. The first event has the number 0, as in every list.",
                lambda text: (_mentions(text)[0], [None if k is None else k + 1 for k in _mentions(text)[1]])),
        Mistake("A reference beyond the last grounded event points at nothing: None. You give it a number that is "
                "not in the list of events.",
                lambda text: (_mentions(text)[0], list(range(len(_mentions(text)[1]))))),
        Mistake("You count all `<evi>` as grounded, including those after `</evi>`. These refer to events that are "
                "known already.", lambda text: (text.count(EVI), _mentions(text)[1])),
        Mistake("Without `</evi>`, you take the whole text for the grounding stage. Only the `<evi>` at its very "
                "beginning are grounded.", lambda text: (_halves(text)[0], [k if k < _halves(text)[0] else None
                                                                  for k in range(_halves(text)[1])])),
        Mistake("Without `</evi>`, you find no grounded events. A model that forgets the end marker has still pointed: "
                "the `<evi>` at the very beginning of the text count.",
                lambda text: _mentions(text) if END in text else (0, [None] * text.count(EVI))),
        Mistake("Without `</evi>`, you count only the first `<evi>`. All of them at the very beginning of the text are "
                "grounded.", _first_only),
        Mistake("With `</evi>`, you count only the `<evi>` at the very beginning of the text. All of them before the "
                "marker are grounded, whatever stands between them.", lambda text: _mentions(text.replace(END, "")))))


def _mask(n_start: int, n_frames: int, n_text: int) -> Tensor:
    n = n_start + n_frames + n_text
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[n_start:n_start + n_frames, n_start:n_start + n_frames] = True
    return mask


def _causal(a: int, b: int, c: int) -> Tensor:
    return torch.ones(a + b + c, a + b + c, dtype=torch.bool).tril()


def _rows_full(a: int, b: int, c: int) -> Tensor:
    mask = _causal(a, b, c)
    mask[a:a + b] = True
    return mask


def _all_before(a: int, b: int, c: int) -> Tensor:
    mask = _causal(a, b, c)
    mask[:a + b, :a + b] = True
    return mask


one_pass_mask = Comparison(
    "one_pass_mask", "06", "n_start n_frames n_text",
    hints=("Text is read from left to right: `torch.ones(n, n, dtype=torch.bool).tril()` is True where a token (row) "
           "may look at itself and at what stands before it (columns).",
           "Then open the square of the frames: their rows and their columns, from `n_start` to `n_start + n_frames`.",
           "Nothing else changes. Frames still do not see the text after them."),
    returns="(n, n) True and False, for n tokens in all",
    right=_mask, cases=[(0, 2, 1), (1, 2, 1), (2, 3, 2), (0, 1, 0), (3, 4, 5)],
    mistakes=(
        Mistake("Your frames only look backwards. A frame may also look at later frames: only they show whether "
                "something begins here.", _causal),
        Mistake("Your frames see the text after them. Their states would then depend on the question, and they could "
                "not be read once for all texts.", _rows_full),
        Mistake("The text before the frames may look ahead at the frames. Only the frames look at each other; text is "
                "always read from left to right.", _all_before),
        Mistake("Every token sees every other one, so that the model could copy the next word instead of predicting "
                "it.", lambda a, b, c: torch.ones(a + b + c, a + b + c, dtype=torch.bool)),
        Mistake("Your mask is transposed: the row is the token that looks, the column the token that it looks at.",
                lambda a, b, c: _mask(a, b, c).T),
        Mistake("A token may also look at itself; the diagonal is True.",
                lambda a, b, c: _mask(a, b, c) & ~torch.eye(a + b + c, dtype=torch.bool))))

pointing_states = Comparison(
    "pointing_states", "06", "ids evidence_id",
    hints=("First find the places at which `<evi>` stands: `(ids == evidence_id).nonzero()`.",
           "A language model predicts each token from the state one place before it.",
           "So the state that decides where `<evi>` points stands one place before it."),
    returns="(E,) whole numbers, one place for each evidence token",
    right=lambda ids, evidence_id: (ids == evidence_id).nonzero().flatten() - 1,
    cases=[(torch.tensor([4, 9, 5]), 9), (torch.tensor([4, 9, 9, 8, 5, 9]), 9), (torch.tensor([1, 2, 3]), 9),
           (torch.randint(0, 4, (12,), generator=generator).index_fill(0, torch.tensor([0]), 1), 3)],
    mistakes=(
        Mistake("You take the state of `<evi>` itself. Its embedding already contains the mean of the event's frames, "
                "so the frames would have to be known before they are found.",
                lambda ids, evidence_id: (ids == evidence_id).nonzero().flatten()),
        Mistake("You take the state after `<evi>`. By then the model has already read what was seen there.",
                lambda ids, evidence_id: (ids == evidence_id).nonzero().flatten() + 1),
        Mistake("You return one column for each dimension: `.flatten()` makes a simple list of places.",
                lambda ids, evidence_id: (ids == evidence_id).nonzero() - 1),
        Mistake("You return the tokens that stand before `<evi>`. Return their places.",
                lambda ids, evidence_id: ids[(ids == evidence_id).nonzero().flatten() - 1])))


def _step(meaning_of=None, always=False, replaces=False, curve_of=lambda dots, width: (dots / width ** 0.5).sigmoid()):
    """One decoding step, or one that goes wrong in a certain way."""
    def step(state: Tensor, keys: Tensor, values: Tensor, table: Tensor, evidence_id: int):
        token = int((table @ state).argmax())
        first, last = rule_of_the_page(curve_of(keys @ state, len(state)))
        seen = values[first:last + 1] if meaning_of is None else meaning_of(values, first, last)
        embedding = table[token]
        if token == evidence_id or always:
            embedding = seen.mean(0) if replaces else embedding + seen.mean(0)
        return token, (first, last), embedding
    return step


def _situation(token: int, seed: int) -> tuple:
    """A state that predicts a given token of a small vocabulary and looks at some of six frames; `<evi>` is 2."""
    rng = torch.Generator().manual_seed(seed)
    table = torch.eye(4) * 2 + torch.rand(4, 4, generator=rng) / 10
    state = torch.eye(4)[token] * 3 + torch.randn(4, generator=rng) / 4
    keys = torch.randn(6, 4, generator=rng) / 4 + torch.tensor([-3.0, -3, 3, 3, -3, -3])[:, None] * torch.eye(4)[token]
    return state, keys, torch.randn(6, 4, generator=rng).round(decimals=1), table, 2


def _faint() -> tuple:
    """A curve that is low everywhere: without the root or the sigmoid, or with a softmax, other frames are kept."""
    state, _, values, table, evidence_id = _situation(2, 5)
    logits = torch.tensor([-4.0, -1.6, -1.4, -1.0, -4.0, -4.0])
    return state, logits[:, None] * 2 * state / (state @ state), values, table, evidence_id


decoding_step = Comparison(
    "decoding_step", "06", "state keys values table evidence_id",
    hints=("The next token is the row of `table` with the largest dot product with the state: `int((table @ state)"
           ".argmax())`.",
           "The curve is the sigmoid of `keys @ state / sqrt(D)`; the interval is read off it with `salient_interval`.",
           "The token enters as its row of `table`. If it is `<evi>`, and only then, add the mean of "
           "`values[first:last + 1]`."),
    returns="the token (a whole number), its interval (a pair), and the (D,) vector that enters the model",
    right=_step(), cases=[_situation(2, 0), _situation(1, 1), _situation(2, 2), _situation(0, 3), _situation(2, 4),
                           _faint()],
    mistakes=(
        Mistake("You add what was seen to every token. Ordinary words carry nothing; only `<evi>` does.",
                _step(always=True)),
        Mistake("Your `<evi>` carries the mean of the whole video, so that every event carries the same mean. Take "
                "the frames of the interval that was just found.", _step(lambda values, first, last: values)),
        Mistake("Your `<evi>` carries nothing. The text that follows has to know what was seen there.",
                _step(lambda values, first, last: values * 0)),
        Mistake("What was seen replaces the embedding of `<evi>`. It is added to it.", _step(replaces=True)),
        Mistake("The last frame of the interval is missing from the mean. Both ends belong to the event.",
                _step(lambda values, first, last: values[first:max(last, first + 1)])),
        Mistake("You add the sum of the states of the event's frames. Add their mean.",
                _step(lambda values, first, last: values[first:last + 1] * (last + 1 - first))),
        Mistake("Your curve is too steep: divide the dot products by the square root of the width D, as on page 03.",
                _step(curve_of=lambda dots, width: dots.sigmoid())),
        Mistake("You read the interval off the logits. The rule compares similarities between 0 and 1, so apply the "
                "sigmoid first.", _step(curve_of=lambda dots, width: dots / width ** 0.5)),
        Mistake("You use a softmax, in which the frames compete with each other. Each frame is a yes-or-no question "
                "of its own: take the sigmoid.",
                _step(curve_of=lambda dots, width: (dots / width ** 0.5).softmax(-1)))))


def frame_states(mask: Tensor, n_start: int, n_frames: int, seed: int) -> Tensor:
    """The states of the frames after two layers of attention, with a text that depends on the seed."""
    fixed, other = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    x = torch.randn(len(mask), 8, generator=fixed)
    x[n_start + n_frames:] = torch.randn(len(mask) - n_start - n_frames, 8, generator=other)
    for _ in range(2):
        x = x + torch.softmax((x @ x.T / 8 ** 0.5).masked_fill(~mask, -torch.inf), -1) @ x
    return x[n_start:n_start + n_frames]


def _leak(changed, mask: Tensor, n_start: int, n_frames: int) -> str | None:
    if not isinstance(changed, Tensor) or changed.shape != mask.shape or changed.dtype != torch.bool:
        return "Please return a mask of the same shape, with True and False in it."
    if (n := int((changed != mask).sum())) != 1:
        return f"You changed {n} entries of the mask. Change exactly one."
    if not changed.diagonal().all():
        return "A token that cannot look at itself is a different experiment. Please leave the diagonal as it is."
    row, column = (changed != mask).nonzero()[0].tolist()
    if torch.allclose(*(frame_states(changed, n_start, n_frames, seed) for seed in (1, 2))):
        parts = ["start"] * n_start + ["frame"] * n_frames + ["text"] * len(mask)
        return (f"You changed whether token {row} ({parts[row]}) may look at token {column} ({parts[column]}). We ran "
                "two different texts after the same frames, and the states of the frames are still equal.")
    return None


leak = Judgement(
    "leak", "06", "mask n_start n_frames", look=_leak, cases=((_mask(1, 3, 2), 1, 3),),
    hints=("Whatever the frames can see, directly or through another token, changes their states.",
           "Let one frame look at one token of the text: which row is it, and which column?",
           "Work on a copy, `mask.clone()`."))

EXERCISES = (mentions, one_pass_mask, pointing_states, decoding_step, leak)
