"""When to speak about a video that is still running: the evidence curve of a question, read from left to right.

A curve p(t) says for each frame how much it looks like what a standing question waits for. With two thresholds
(*hysteresis*), an event begins where p rises to `open_at`, and it ends after p has stayed below `close_at` for some
frames. A curve that trembles between the two thresholds neither begins nor ends anything:

    p       .1 .2 .4 .8 .9 .5 .7 .2 .1 .1
    event         [------------]            opened at .8, with the frame before it, which was above close_at already
                                    ^       closed here, after two frames below close_at (patience 2)

Here open_at is .6 and close_at .35.

Nothing looks ahead: what is said at a frame follows from the curve up to this frame. So a closed event stays. It may
become longer (*revised*) if it goes on after a short pause, but it never gets lost. An event that ends before it has
lasted for `least` frames was a mistake and is *withdrawn*; it was never closed.

Positions are frames, counted from 0, both ends included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .evidence import overlap

Kind = Literal["opened", "extended", "closed", "revised", "withdrawn"]
Frames = tuple[int, int]
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # tried by `fit_rule`


@dataclass(frozen=True)
class Head:
    """A learned reading of the curve: the probability of an event on this frame, from its newest values."""

    weights: tuple[float, ...]  # of the newest value first; what was before the beginning of the curve counts as 0
    bias: float

    def __call__(self, newest: Sequence[float]) -> float:
        score = self.bias + sum(weight * value for weight, value in zip(self.weights, newest))
        return torch.tensor(score, dtype=torch.float64).sigmoid().item()


@dataclass(frozen=True)
class Rule:
    """When an event begins, when it ends, and what is too short to be one."""

    open_at: float = 0.7  # an event begins where the curve reaches this value
    close_at: float = 0.6  # an event goes on while the curve is at least this
    patience: int = 2  # an event ends once this many frames in a row are below `close_at`
    least: int = 2  # an event is withdrawn if it ends after fewer frames than this
    bridge: int = 0  # what begins at most this many frames after the end of an event is that event, revised
    head: Head | None = None  # reads the curve first; None: the curve itself is compared with the thresholds

    def __post_init__(self):
        if not (0 < self.close_at <= self.open_at and self.patience >= 1 and self.least >= 1 and self.bridge >= 0):
            raise ValueError(f"{self} is impossible: it needs 0 < close_at <= open_at, a patience and a least of at "
                             "least 1, and a bridge of at least 0")


@dataclass(frozen=True)
class Span:
    """An event as far as it is known."""

    number: int  # in the order in which events were opened, from 0
    first: int
    last: int
    total: float  # of the curve from `first` to `last`

    @property
    def confidence(self) -> float:
        """The mean of the curve from its first to its last frame."""
        return self.total / (self.last + 1 - self.first)


@dataclass(frozen=True)
class Change:
    """What a frame means for an event."""

    kind: Kind
    span: Span


@dataclass(frozen=True)
class Speaker:
    """All that has to be remembered of a curve, no matter how long the curve is."""

    frame: int = 0  # how many frames have been read
    opened: int = 0  # how many events have been opened
    newest: tuple[float, ...] = ()  # values for the head, the newest one first
    open: Span | None = None
    quiet: tuple[float, ...] = ()  # the values since the last frame of the open event
    rising: tuple[int, float] = (0, 0.0)  # number and sum of the newest values above `close_at`, while none is open
    closed: Span | None = None  # the event that was closed last


def step(speaker: Speaker, value: float, rule: Rule) -> tuple[Speaker, Change | None]:
    """Read one more frame of the curve."""
    if rule.head is not None:
        speaker = replace(speaker, newest=(value, *speaker.newest)[:len(rule.head.weights)])
        value = rule.head(speaker.newest)
    now = replace(speaker, frame=speaker.frame + 1)
    if now.open is None:
        return _waiting(now, value, rule)
    if value >= rule.close_at:
        span = replace(now.open, last=speaker.frame, total=now.open.total + sum(now.quiet) + value)
        return replace(now, open=span, quiet=()), Change("extended", span)
    now = replace(now, quiet=(*now.quiet, value))
    return end(now, rule) if len(now.quiet) >= rule.patience else (now, None)


def _waiting(now: Speaker, value: float, rule: Rule) -> tuple[Speaker, Change | None]:
    """No event is open: does one begin, or does the last one go on?"""
    if value < rule.close_at:
        return replace(now, rising=(0, 0.0)), None
    count, total = now.rising[0] + 1, now.rising[1] + value
    if value < rule.open_at:
        return replace(now, rising=(count, total)), None
    first, last, before = now.frame - count, now.frame - 1, now.closed
    now = replace(now, rising=(0, 0.0), quiet=())
    if before is not None and first - before.last <= rule.bridge:  # the pause counts as values of 0
        span = replace(before, last=last, total=before.total + total)
        return replace(now, open=span), Change("revised", span)
    span = Span(now.opened, first, last, total)
    return replace(now, open=span, opened=now.opened + 1), Change("opened", span)


def end(speaker: Speaker, rule: Rule) -> tuple[Speaker, Change | None]:
    """The open event, if there is one, ends: it has lasted long enough and is closed, or else it is withdrawn."""
    span = speaker.open
    if span is None:
        return speaker, None
    speaker = replace(speaker, open=None, quiet=())
    if span.last + 1 - span.first < rule.least:
        return speaker, Change("withdrawn", span)
    return replace(speaker, closed=span), Change("closed", span)


def speak(curve: Sequence[float], rule: Rule | None = None, ended: bool = True) -> Iterator[tuple[int, Change]]:
    """Everything that is said about a curve, with the frame at which it is said; `ended`: no frame follows."""
    rule, speaker = rule or Rule(), Speaker()
    for frame, value in enumerate(curve):
        speaker, change = step(speaker, float(value), rule)
        if change is not None:
            yield frame, change
    if ended and (change := end(speaker, rule)[1]) is not None:
        yield speaker.frame - 1, change


def closed_events(curve: Sequence[float], rule: Rule | None = None) -> list[Frames]:
    """First and last frame of the events of a whole curve."""
    last = {change.span.number: change.span for _, change in speak(curve, rule) if change.kind == "closed"}
    return [(span.first, span.last) for span in last.values()]


def fit_rule(curves: Sequence[Sequence[float]], events: Sequence[Sequence[Frames]], rule: Rule | None = None) -> Rule:
    """The two thresholds with which the events of these curves are found best, by F1 at an overlap of one half."""
    rule = rule or Rule()
    pairs = [(low, high) for low, high in product(THRESHOLDS, repeat=2) if low <= high]
    rules = [replace(rule, close_at=low, open_at=high) for low, high in pairs]
    return max(rules, key=lambda each: found(curves, events, each))


def found(curves: Sequence[Sequence[float]], events: Sequence[Sequence[Frames]], rule: Rule) -> float:
    """F1 of the events that a rule finds. A true event is found if one overlaps it by at least one half (IoU)."""
    hits = said = true = 0
    for curve, truth in zip(curves, events):
        spans = closed_events(curve, rule)
        hits += sum(max((overlap((a, b + 1), (c, d + 1)) for a, b in spans), default=0.0) >= 0.5 for c, d in truth)
        said, true = said + len(spans), true + len(truth)
    return 2 * hits / max(1, said + true)


def fit_head(curves: Sequence[Sequence[float]], events: Sequence[Sequence[Frames]], width: int = 4) -> Head:
    """Logistic regression of whether a frame lies in an event on the `width` newest values of the curve."""
    rows, targets = [], []
    for curve, truth in zip(curves, events):
        values = F.pad(torch.as_tensor(curve, dtype=torch.float64), (width - 1, 0))
        rows.append(values.unfold(0, width, 1).flip(-1))
        frame = torch.arange(len(curve))
        targets.append(sum(((first <= frame) & (frame <= last) for first, last in truth), torch.zeros_like(frame)) > 0)
    weights = logistic_regression(torch.cat(rows), torch.cat(targets).double())
    return Head(tuple(weights[1:].tolist()), weights[0].item())


def logistic_regression(rows: Tensor, targets: Tensor, shrink: float = 1e-3) -> Tensor:
    """(N, W), (N,) -> (1 + W,) bias and weights, by Newton's method; `shrink` keeps them finite."""
    rows = F.pad(rows, (1, 0), value=1.0)
    weights = rows.new_zeros(rows.shape[1])
    for _ in range(30):
        p = torch.sigmoid(rows @ weights)
        gradient = rows.T @ (targets - p) / len(rows) - shrink * weights
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows / len(rows)
        weights = weights + torch.linalg.solve(curvature + shrink * torch.eye(len(weights)).to(rows), gradient)
    return weights
