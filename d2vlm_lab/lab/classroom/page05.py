"""Exercises of page 05: what an evidence token carries."""

from __future__ import annotations

import torch
from torch import Tensor

from .exercise import Comparison, Judgement, Mistake, prediction

generator = torch.Generator().manual_seed(5)
STEPS = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 1.0], [4.0, 5.0]])


def event_means(intervals: Tensor, states: Tensor) -> Tensor:
    """(E, 2), (F, D) -> (E, D), as the library computes it for one video."""
    from ...model.d2vlm import interval_mean  # it brings the language models along

    video, mask = torch.zeros(len(intervals), dtype=torch.long), torch.ones(1, len(states), dtype=torch.bool)
    return interval_mean(intervals.float(), video, states[None], mask)


def _each(function):
    return lambda intervals, states: torch.stack([function(states, int(a), int(b)) for a, b in intervals.tolist()])


event_mean = Comparison(
    "event_mean", "05", "intervals states",
    hints=("For one event with the interval (a, b), its frames are `states[a:b + 1]`: frame b belongs to the event.",
           "The mean over the frames is `.mean(0)`: the width D stays.",
           "`torch.stack` makes one tensor of a list of means. The entries of `intervals` are tensors; `.tolist()` "
           "turns them into whole numbers."),
    returns="(E, D) one mean state for each event",
    right=event_means, learns=(1,),
    cases=[(torch.tensor([[0, 1]]), STEPS), (torch.tensor([[2, 2]]), STEPS), (torch.tensor([[0, 3], [1, 2]]), STEPS),
           (torch.randint(0, 9, (5, 2), generator=generator).sort(-1).values, torch.randn(9, 6, generator=generator))],
    mistakes=(
        Mistake("The last frame of the interval is missing: in Python, `states[a:b]` ends before b. With it, an event "
                "of one frame has no frames at all.", _each(lambda states, a, b: states[a:b].mean(0))),
        Mistake("You add the states up. A long event would then carry a longer vector than a short one, although both "
                "show the same; take the mean.", _each(lambda states, a, b: states[a:b + 1].sum(0))),
        Mistake("You average over the whole video, so that every event carries the same mean.",
                _each(lambda states, a, b: states.mean(0))),
        Mistake("You average over the width of the states, so that one number is left for each event. The mean is "
                "taken over frames.", _each(lambda states, a, b: states[a:b + 1].mean())),
        Mistake("You average the first and the last frame only. What happens between them was seen as well.",
                _each(lambda states, a, b: (states[a] + states[b]) / 2)),
        Mistake("You take one frame of the event. The token carries the mean of all of them.",
                _each(lambda states, a, b: states[a]))))


def _put(place=0, added=True):
    def function(embeddings: Tensor, columns: Tensor, meaning: Tensor) -> Tensor:
        out = embeddings.clone()
        out[columns + place] = meaning + (embeddings[columns + place] if added else 0)
        return out
    return function


def _row(n: int, *columns: int) -> tuple[Tensor, Tensor, Tensor]:
    return (torch.randn(n, 3, generator=generator), torch.tensor(columns),
            torch.randn(len(columns), 3, generator=generator))


carry = Comparison(
    "carry", "05", "embeddings columns meaning",
    hints=("Begin with a copy, `embeddings.clone()`: whoever called the function may still need the old ones.",
           "`columns` says in which rows the evidence tokens stand, and `out[columns]` are these rows.",
           "Add the meaning to them: `out[columns] = out[columns] + meaning`."),
    returns="(T, D) the vectors that the model reads",
    right=_put(), learns=(0, 2),
    cases=[(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1]), torch.tensor([[5.0, 5.0]])), _row(5, 1, 3),
           _row(4, 0), _row(4, 0, 1, 2, 3)],
    mistakes=(
        Mistake("You replace the embedding of `<evi>`. It stays, because it says *here is evidence*; the meaning is "
                "added to it.", _put(added=False)),
        Mistake("You add to the token before `<evi>`. The state at that place decides which frames are the evidence. "
                "What they show is known only afterwards, so it enters with `<evi>` itself.", _put(place=-1)),
        Mistake("You add the meaning to every token. Add it to the evidence tokens only; words carry nothing.",
                lambda e, c, m: e + m.sum(0)),
        Mistake("You average the embedding and the meaning. They are added; the model learns how to weigh them.",
                lambda e, c, m: _put(added=False)(e, c, (e[c] + m) / 2)),
        Mistake("Your result is the same as the input: nothing was added. Did you change a copy and return the "
                "original?", lambda e, c, m: e)))

RED, BLUE = [1.0, 0.0], [0.0, 1.0]


def _mean_of(*frames) -> Tensor:
    return torch.tensor(frames).mean(0)


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b))


mean_forgets = prediction(
    "mean_forgets", "05",
    truth=lambda: {"red, blue | blue, red": _equal(_mean_of(RED, BLUE), _mean_of(BLUE, RED)),
                   "red | red, red, red": _equal(_mean_of(RED), _mean_of(RED, RED, RED)),
                   "red, blue | red, blue, blue": _equal(_mean_of(RED, BLUE), _mean_of(RED, BLUE, BLUE)),
                   "red, red | blue, blue": _equal(_mean_of(RED, RED), _mean_of(BLUE, BLUE))},
    hints=("Write the state of a red frame as (1, 0) and that of a blue frame as (0, 1), and compute both means.",),
    explains={"red, blue | blue, red": "a sum does not depend on the order of what is added.",
              "red | red, red, red": "the mean of equal vectors is that vector, however many there are.",
              "red, blue | red, blue, blue": "the share of blue frames is one half on one side and two thirds on the "
                                             "other.",
              "red, red | blue, blue": "the means are (1, 0) and (0, 1)."})


def _blind_spot(pair, states: Tensor) -> str | None:
    intervals = torch.as_tensor(pair)
    if intervals.shape != (2, 2):
        return "Please return two intervals, each with a first and a last frame: [[a, b], [c, d]]."
    if (intervals < 0).any() or (intervals >= len(states)).any() or (intervals[:, 0] > intervals[:, 1]).any():
        return (f"Both intervals must lie inside the video, frames 0 to {len(states) - 1}, and must not end before "
                "they begin.")
    if intervals[0].tolist() == intervals[1].tolist():
        return "Your two intervals are the same one."
    first, second = event_means(intervals, states)
    if not _equal(first, second):
        return (f"The means differ: {[round(x, 2) for x in first.tolist()]} and "
                f"{[round(x, 2) for x in second.tolist()]}.")
    if len(set(map(tuple, states[intervals[0, 0]:intervals[0, 1] + 1].tolist()))) < 2:
        return "All frames of your first interval are equal. Choose one in which something changes."
    return None


blind_spot = Judgement(
    "blind_spot", "05", "states", look=_blind_spot,
    cases=((torch.tensor([RED, RED, BLUE, RED, RED, BLUE, BLUE, BLUE]),),),
    hints=("A mean depends on the shares of red and blue frames, but neither on their order nor on their number.",
           "Look for two intervals with the same share of red frames, for example one half."))

EXERCISES = (event_mean, carry, mean_forgets, blind_spot)
