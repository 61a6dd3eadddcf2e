"""The page of `d2vlm-lab show`: HTML of answers on their time lines, legible on a screen, a phone and paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ...ideas.evidence import END, Interval, seconds
from ...judging.metrics.reading import find_spans
from ..plots.answers import event_color
from ..plots.style import TRUTH, ink_on
from ..report.style import document

if TYPE_CHECKING:
    from .cards import Card

CSS = """
.answer { border: 1px solid #ddd; border-radius: 8px; padding: .9rem 1rem 1rem; margin: 1rem 0; break-inside: avoid; }
.answer header { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; font-size: .85rem;
                 color: #555; }
.answer header b { font-size: 1.25rem; color: #222; font-variant-numeric: tabular-nums; }
.ask { margin: .4rem 0 .6rem; white-space: pre-line; overflow-wrap: anywhere; font-weight: 600; }
.said { margin: .6rem 0 0; line-height: 1.9; overflow-wrap: anywhere; white-space: pre-line; }
.said em { font-style: normal; border-radius: 4px; padding: .1rem .35rem;
          -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.said i { color: #999; font-style: normal; font-size: .8rem; padding: 0 .25rem; }
.true { margin: .3rem 0 0; color: #00694f; font-size: .9rem; overflow-wrap: anywhere; }
.film { display: grid; grid-template-columns: repeat(8, 1fr); gap: 4px; margin: 0 0 .7rem 5.2rem; }
.film figure { flex: none; } .film img { display: block; width: 100%; border-radius: 3px; }
.film figcaption { font-size: .72rem; color: #666; text-align: center; font-variant-numeric: tabular-nums;
                   border-top: 4px solid #eee; margin-top: 2px; } .film .in { border-color: #009E73; color: #222; }
.line { display: grid; grid-template-columns: 4.8rem 1fr; gap: .4rem; align-items: center; font-size: .8rem; }
.line span { color: #555; text-align: right; }
.track { position: relative; height: 1.05rem; background: #f3f3f3; border-radius: 3px; margin: 2px 0; }
.track u { position: absolute; min-width: 3px; border-radius: 3px; }
.track .window { background: none; border: 1px solid #888; border-width: 0 1px; top: -2px; bottom: -2px; }
.curve svg { display: block; width: 100%; height: 4.2rem; background: #fafafa; border-radius: 3px; margin: 2px 0; }
.axis { position: relative; height: 1rem; font-size: .7rem; color: #777; font-variant-numeric: tabular-nums; }
.axis s { position: absolute; text-decoration: none; transform: translateX(-50%); white-space: nowrap; }
.axis s:first-child { transform: none; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; color: #444; }
.key u { display: inline-block; width: 1.4rem; height: .7rem; border-radius: 3px; margin-right: .3rem; }
.facts { font-size: .8rem; color: #666; overflow-wrap: anywhere; } select { font: inherit; }
@media (max-width: 40rem) {
  .film { grid-template-columns: repeat(4, 1fr); margin-left: 0; } .line { grid-template-columns: 1fr; gap: 0; }
  .line span { text-align: left; } .line span:empty { display: none; } .answer { padding: .7rem; } }
"""
FILTER = ("for (const a of document.querySelectorAll('.answer')) a.hidden = this.value && a.dataset.task != this.value")
ASKED = "#999999"
HEIGHT = 100  # of a curve, in its own units; so many across too
Piece = str | tuple[str, Interval, int]  # words, or a time as it is written, its seconds, and which event it is


def page(cards: Sequence[Card], total: int, notes: dict, name: str) -> str:
    tasks = list(dict.fromkeys(card.task for card in cards))
    choice = "".join(f"<option>{escape(task)}</option>" for task in sorted(tasks))
    pick = (f'<p><label>Task <select onchange="{escape(FILTER)}"><option value="">all</option>{choice}</select></label>'
            "</p>" if len(tasks) > 1 else "")
    mean = f"Their mean score is {np.mean([card.score for card in cards]):.2f}." if cards else ""
    return document(f"Answers: {name}", f"""<style>{CSS}</style>
<h1>Answers, worst first</h1>
<p>{len(cards):,} of {total:,} answers in <b>{escape(name)}</b>, each scored by itself under the protocol clean, from 0
to 1. {mean}</p>{_facts(notes)}
<div class="key"><span><u style="background:{TRUTH}"></u>truth</span>
<span><u style="background:{ASKED}"></u>asked about</span>
<span>{"".join(f'<u style="background:{event_color(k)}"></u>' for k in range(3))}events of the answer, in the colour of
their times in the text</span><span>- - - threshold of each curve</span></div>
{pick}{"".join(map(answer, cards))}""")


def answer(card: Card) -> str:
    timed = bool(card.intervals)
    error = f'<p class="failed">{escape(card.error)}</p>' if card.error else ""
    return (f'<article class="answer" data-task="{escape(card.task)}"><header><b>{card.score:.2f}</b>'
            f"<span>{escape(card.task)}</span><span>sample {escape(card.id)}</span><span>{escape(card.video)}</span>"
            f'</header><p class="ask">{escape(card.question)}</p>{film(card)}{_time_line(card) if timed else ""}'
            f'<p class="said">{said(card.text)}</p>{_true(card)}{error}</article>')


def said(text: str) -> str:
    """The text with its times in the colours of their events."""
    parts = []
    for piece in text_pieces(text):
        if isinstance(piece, tuple):
            color = event_color(piece[2])
            parts.append(f'<em style="background:{color};color:{ink_on(color)}">{escape(piece[0])}</em>')
        else:
            parts.append(f"<i>{escape(piece)}</i>" if piece == END else escape(piece))
    return "".join(parts) or '<span class="failed">no answer</span>'


def text_pieces(text: str) -> list[Piece]:
    """Words and times. The k-th time before `</evi>` and the k-th after it are about the same event."""
    pieces: list[Piece] = []
    for part in re.split(f"({END})", text):
        cut = 0
        for k, (interval, start, end) in enumerate(find_spans(part)):
            pieces += [part[cut:start], (part[start:end], interval, k)]
            cut = end
        pieces.append(part[cut:])
    return [piece for piece in pieces if piece]


def film(card: Card) -> str:
    """Frames of the moment; those inside the truth are marked."""
    pictures = "".join(
        f'<figure><img alt="frame at {at:.1f} s" src="data:image/jpeg;base64,{data}">'
        f'<figcaption{" class=in" if any(e.start <= at <= e.end for e in card.truth) else ""}>{at:.1f} s</figcaption>'
        "</figure>" for at, data in card.frames)
    return f'<div class="film">{pictures}</div>' if pictures else ""


def lanes(intervals: Sequence[Interval]) -> list[int]:
    """A lane for each, as few as it takes for none to cover another."""
    taken: list[list[Interval]] = []
    found = []
    for start, end in intervals:
        lane = next((k for k, row in enumerate(taken) if all(end < s or e < start for s, e in row)), len(taken))
        taken[lane:lane + 1] = [[*(taken[lane] if lane < len(taken) else []), (start, end)]]
        found.append(lane)
    return found


def track(name: str, bars: Sequence[tuple[Interval, str, str]], end: float, extra: str = "") -> str:
    """A row of the time line: (interval, colour, what it is) each."""
    where = lanes([span for span, _, _ in bars])
    share = 100 / (1 + max(where, default=0))
    drawn = "".join(f'<u style="{_place(span, end)};top:{lane * share:.1f}%;height:{share:.1f}%;background:{color}" '
                    f'title="{escape(title)}"></u>' for (span, color, title), lane in zip(bars, where))
    tall = f' style="height:{0.75 * 100 / share:.2f}rem"' if share < 100 else ""
    return f'<div class="line"><span>{name}</span><div class="track"{tall}>{drawn}{extra}</div></div>'


def curves(card: Card) -> str:
    """Similarity of every event with each frame, and what a frame has to reach."""
    peak = max(max(curve) for curve in card.curves)
    top = 1.0 if peak > 0.25 else peak or 1.0  # a curve that adds up to 1 over the frames is low everywhere
    parts = []
    for k, curve in enumerate(card.curves):
        x = np.linspace(*card.shown, len(curve)) / card.end * HEIGHT
        y = HEIGHT * (1 - 0.96 * np.asarray(curve) / top)
        points = " ".join(f"{a:.2f},{b:.1f}" for a, b in zip(x, y))
        color = event_color(k)
        parts.append(f'<polygon points="{x[0]:.2f},{HEIGHT} {points} {x[-1]:.2f},{HEIGHT}" fill="{color}" '
                     f'opacity=".13"/><polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8" '
                     'vector-effect="non-scaling-stroke"/>')
        if card.thresholds:
            level = HEIGHT * (1 - 0.96 * card.thresholds[k] / top)
            parts.append(f'<path d="M0 {level:.1f}H{HEIGHT}" stroke="{color}" stroke-dasharray="5 4" '
                         'vector-effect="non-scaling-stroke"/>')
    return (f'<div class="line curve"><span>similarity</span><svg viewBox="0 0 {HEIGHT} {HEIGHT}" '
            f'preserveAspectRatio="none" role="img" aria-label="similarity over time">{"".join(parts)}</svg></div>')


def _time_line(card: Card) -> str:
    window = ""
    if card.frames and (span := (card.frames[0][0], card.frames[-1][0])) and span[1] - span[0] < 0.9 * card.end:
        window = f'<u class="window" style="{_place(span, card.end)}" title="frames above"></u>'
    asked = [(span, ASKED, f"{seconds(span)} s") for span in card.asked]
    truth = [(event.interval, TRUTH, f"{seconds(event.interval)} s {event.caption}") for event in card.truth]
    rows = [track(name, bars, card.end, window) for name, bars in (("asked", asked), ("truth", truth)) if bars]
    both = card.grounded and card.answered and card.grounded != card.answered
    said = [("grounded", card.grounded)] * bool(both) + [("answer", card.answered or card.grounded)]
    said = said if said[-1][1] or card.truth else []
    rows += [track(name, [(span, event_color(k), f"{seconds(span)} s") for k, span in enumerate(intervals)], card.end)
             for name, intervals in said]
    rows += [curves(card)] if card.curves else []
    return "".join(rows) + f'<div class="line"><span></span><div class="axis">{_axis(card.end)}</div></div>'


def _axis(end: float) -> str:
    """Round seconds, three to six of them."""
    step = next(unit * 10.0**power for power in range(-2, 6) for unit in (1, 2, 5) if end / (unit * 10.0**power) < 6)
    ticks = np.arange(0, end * 1.001, step).round(2)
    return "".join(f'<s style="left:{100 * at / end:.2f}%">{at:g} s</s>' for at in ticks)


def _true(card: Card) -> str:
    """What would have been right, in words."""
    found = [escape(card.right)] if card.right else []
    found += [f"{seconds(event.interval)}{', ' + escape(event.caption) if event.caption else ''}"
              for event in card.truth if seconds(event.interval) not in card.right]
    return f'<p class="true">truth: {"; ".join(found)}</p>' if found else ""


def _facts(notes: dict) -> str:
    known = [f"{key.replace('_', ' ')} {notes[key]}" for key in
             ("benchmark", "checkpoint", "annotations", "annotations_sha256", "prompt_sha256", "fps", "library")
             if key in notes]
    known += [f"decoding {', '.join(f'{k} {v}' for k, v in notes['decoding'].items())}"] if "decoding" in notes else []
    return f'<p class="facts">{escape("; ".join(known))}</p>' if known else ""


def _place(span: Interval, end: float) -> str:
    return f"left:{100 * span[0] / end:.2f}%;width:{100 * (span[1] - span[0]) / end:.2f}%"
