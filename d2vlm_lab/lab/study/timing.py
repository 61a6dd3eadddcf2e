"""`ablate --timing`: what a grid spent its time on, and how long its slots worked and waited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .job import Job
from .progress import duration


@dataclass(frozen=True)
class Span:
    """A run in the time of the grid, in seconds since its begin."""

    job: Job
    start: float
    end: float

    @property
    def kind(self) -> str:
        if self.job.shared:
            return "shared trainings"
        return "runs that train and examine" if self.job.trains else "runs that only examine"


def timing(ended: Sequence[tuple[Job, dict]], slots: int, begin: float, end: float) -> str:
    """The phases and slots of a grid that ran from `begin` to `end`, in seconds as `time.time` gives them."""
    spans = [Span(job, state["started"] - begin, state["started"] - begin + state["seconds"]) for job, state in ended
             if not job.twin and "seconds" in state and state["started"] >= begin]
    spans.sort(key=lambda span: span.start)
    total = end - begin
    lines = [f"timing: {duration(total)} with {slots} slots"]
    for kind in dict.fromkeys(span.kind for span in spans):
        part = [span for span in spans if span.kind == kind]
        lines.append(f"  {kind}: {len(part)}, {duration(work(part))} of work, from {duration(part[0].start)} to "
                     f"{duration(max(span.end for span in part))}")
    used: list[list[Span]] = [[] for _ in range(max(slots, 1))]
    for span in spans:
        min(used, key=lambda slot: slot[-1].end if slot else 0.0).append(span)
    for number, slot in enumerate(used, 1):
        idle, last = total - work(slot), slot[-1].end if slot else 0.0
        lines.append(f"  slot {number}: worked {duration(work(slot))}, waited {duration(idle)}, of which "
                     f"{duration(total - last)} after its last run")
    if spans:
        last = max(spans, key=lambda span: span.end)
        before = next(slot[:slot.index(last)] for slot in used if last in slot)
        lines.append(f"  the last run to end was {last.job.title}; it took {duration(last.end - last.start)} and began "
                     f"{_after(last, before[-1:] + [span for span in spans if span.job in last.job.needs])}")
    return "\n".join(lines)


def work(spans: Sequence[Span]) -> float:
    return sum(span.end - span.start for span in spans)


def _after(span: Span, before: Sequence[Span]) -> str:
    """What a run waited for: the last one to end of those in its slot and those that it needs."""
    if not before:
        return "at the start"
    last = max(before, key=lambda span: span.end)
    relation = ", which it starts from," if last.job in span.job.needs else ", the run before it in its slot,"
    return f"after {last.job.title}{relation} had ended"
