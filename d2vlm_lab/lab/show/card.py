"""How an answer is shown, wherever it is: frames, truth and answers on one time line, curves, the text.

The k-th event has one colour everywhere: its bar, its similarity curve, its times inside the text.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from ...ideas.evidence import END, Event, Interval, seconds
from ...judging.metrics.reading import find_spans, in_order
from ..plots.colors import TRUTH, event_color, ink_on

CSS = """
.answer { border: 1px solid #ddd; border-radius: 8px; padding: .9rem 1rem 1rem; margin: 1rem 0; break-inside: avoid; }
.answer header { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; font-size: .85rem;
                 color: #555; }
.answer header b { font-size: 1.25rem; color: #222; font-variant-numeric: tabular-nums; }
.answer p { overflow-wrap: anywhere; white-space: pre-line; margin: .4rem 0 .6rem; } .answer .ask { font-weight: 600; }
.answer .said { line-height: 1.9; } .answer .line .said { margin: 0; color: #444; line-height: 1.6; }
.answer .said em, .answer .said button { font: inherit; border: 0; border-radius: 4px; padding: .1rem .35rem;
                                         -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.answer button, .answer [onclick] { cursor: pointer; } .answer .said i { color: #777; font-style: normal; }
.answer .true { color: #00694f; font-size: .9rem; } .answer .failed { color: #8a2b00; }
.answer .film { display: grid; grid-template-columns: repeat(8, 1fr); gap: 4px; margin: 0 0 .7rem 5.2rem; }
.answer figure { margin: 0; } .answer img { display: block; width: 100%; border-radius: 3px; }
.answer figcaption { font-size: .72rem; color: #666; text-align: center; border-top: 4px solid #eee; margin-top: 2px; }
.answer figcaption.in { border-color: #009E73; color: #222; }
.answer video { display: block; width: 320px; max-width: 100%; margin-bottom: .5rem; }
.answer .line { display: grid; grid-template-columns: 4.8rem 1fr; gap: .4rem; align-items: center; font-size: .8rem; }
.answer .line > span { color: #555; text-align: right; overflow-wrap: anywhere; }
.answer .track { position: relative; height: 1.05rem; background: #f3f3f3; border-radius: 3px; margin: 2px 0; }
.answer u { position: absolute; min-width: 3px; border-radius: 3px; }
.answer .window { border: 1px solid #888; border-width: 0 1px; top: -2px; bottom: -2px; }
.answer svg { display: block; width: 100%; height: 4.2rem; background: #fafafa; border-radius: 3px; margin: 2px 0; }
.answer .axis { position: relative; height: 1rem; font-size: .7rem; color: #777; }
.answer s { position: absolute; text-decoration: none; transform: translateX(-50%); white-space: nowrap; }
.answer s:first-child { transform: none; }
@media (max-width: 40rem) {
  .answer { padding: .7rem; } .answer .film { grid-template-columns: repeat(4, 1fr); margin-left: 0; }
  .answer .line { grid-template-columns: 1fr; gap: 0; } .answer .line > span { text-align: left; } }
"""
ASKED = "#999999"
HEIGHT = 100  # of a curve, in its own units; so many across too
SEEK = ("var b=this.getBoundingClientRect(),v=this.closest('.answer').querySelector('video');v.ontimeupdate=null;"
        "v.currentTime={end:.3f}*(event.clientX-b.left)/b.width")
PLAY = ("var v=this.closest('.answer').querySelector('video'),end={end:.3f};v.currentTime={start:.3f};"
        "v.ontimeupdate=function(){{if(v.currentTime>=end){{v.pause();v.ontimeupdate=null}}}};v.play()")
Piece = str | tuple[str, Interval, int]  # words, or a time as it is written, its seconds, and which event it is


@dataclass(frozen=True)
class Answered:
    """One answer to the question of a card."""

    text: str
    intervals: tuple[Interval, ...] = ()
    grounded: tuple[Interval, ...] = ()  # before `</evi>`
    curves: tuple[tuple[float, ...], ...] = ()  # of the grounded events, or of those in the answer
    thresholds: tuple[float, ...] = ()
    score: float | None = None  # 0 to 1; of several answers to one question, the overlap with the truth
    name: str = "answer"
    link: str = ""  # where its name leads


@dataclass(frozen=True)
class Card:
    """A question about a video, what is true, and what was answered."""

    question: str
    answers: tuple[Answered, ...]
    truth: tuple[Event, ...] = ()
    right: str = ""  # the right answer in words
    asked: tuple[Interval, ...] = ()  # what the question points at
    shown: Interval = (0.0, 1.0)  # first and last frame that the model saw
    times: tuple[float, ...] = ()  # of all frames that the model saw, where they are known; else evenly spaced
    step: float = 0.0  # seconds for which a frame stays, where intervals end with a frame
    length: float = 0.0  # seconds of the video, where they are known
    frames: tuple[tuple[float, str], ...] = ()  # second, picture as base64
    id: str = ""
    task: str = ""
    video: str = ""
    player: str = ""  # address of the video: with it, every time in the text is a button that plays this part
    note: str = ""  # what went wrong, or what a reader should know

    @property
    def intervals(self) -> list[Interval]:
        """All there are."""
        return [*self.asked, *(event.interval for event in self.truth),
                *(interval for answer in self.answers for interval in (*answer.grounded, *answer.intervals))]

    @property
    def end(self) -> float:
        """Where the time line ends."""
        last = max(self.shown[1], *(end for _, end in self.intervals), 0.1)
        return max(self.length, last) if self.length else last + self.step


def cards_html(cards: Sequence[Card]) -> str:
    """Cards with the style that they need, to stand in a page or in a notebook."""
    return f"<style>{CSS}</style>{''.join(map(card_html, cards))}"


def card_html(card: Card) -> str:
    first, *others = card.answers
    facts = [card.task, f"sample {card.id}" if card.id else "", card.video]
    header = "".join(f"<span>{escape(fact)}</span>" for fact in facts if fact)
    rows, text = _true_rows(card), ""
    for answer in card.answers:
        rows += _rows(card, answer)
        if others:
            rows += [f'<div class="line"><span></span><p class="said">{text_html(answer.text)} '
                     f'<i>overlap {answer.score:.2f}</i></p></div>']
    if not others:
        header = header if first.score is None else f"<b>{first.score:.2f}</b>{header}"
        text = f'<p class="said">{text_html(first.text, card.step if card.player else None)}</p>'
    axis = f'<div class="line"><span></span><div class="axis">{_axis(card.end)}</div></div>'
    video = f'<video src="{escape(card.player)}" controls muted playsinline></video>' if card.player else ""
    note = f'<p class="failed">{escape(card.note)}</p>' if card.note else ""
    return (f'<article class="answer" data-task="{escape(card.task)}"><header>{header}</header>'
            f'<p class="ask">{escape(card.question)}</p>{video}{_film(card)}'
            f'{"".join([*rows, axis]) if card.intervals else ""}{text}{_truth(card)}{note}</article>')


def text_html(text: str, step: float | None = None) -> str:
    """The text with its times in the colours of their events; with `step` they are buttons that play their part.

    What is before `</evi>` is what the model found before it answered. A frame stays for `step` seconds, so an
    interval ends when its last frame is gone.
    """
    grounded = END in text and text.partition(END)[0].strip()
    parts = ["<i>found:</i> "] if grounded else []
    for piece in text_pieces(text):
        if isinstance(piece, str):
            parts.append(escape(piece) if piece != END else "<br>" if grounded else "")
            continue
        words, (start, end), k = piece
        style = f"background:{event_color(k)};color:{ink_on(event_color(k))}"
        if step is None:
            parts.append(f'<em style="{style}">{escape(words)}</em>')
        else:
            parts.append(f'<button style="{style}" title="play this part" onclick="{_play((start, end), step)}">'
                         f"▶ {escape(words)}</button>")
    return "".join(parts) or '<span class="failed">no answer</span>'


def text_pieces(text: str) -> list[Piece]:
    """Words and times. The k-th time before `</evi>` and the k-th after it are about the same event."""
    pieces: list[Piece] = []
    for part in re.split(f"({END})", text):
        cut = 0
        for k, (times, start, end) in enumerate(find_spans(part)):
            pieces += [part[cut:start], (part[start:end], in_order(times), k)]
            cut = end
        pieces.append(part[cut:])
    return [piece for piece in pieces if piece]


def picture(frame: np.ndarray) -> str:
    """A frame as base64, so that it travels inside the page."""
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=82)
    return base64.b64encode(out.getvalue()).decode()


def lanes(intervals: Sequence[Interval]) -> list[int]:
    """A lane for each, as few as it takes for none to cover another."""
    taken: list[list[Interval]] = []
    lane_of = []
    for start, end in intervals:
        lane = next((k for k, row in enumerate(taken) if all(end < s or e < start for s, e in row)), len(taken))
        taken += [[]] if lane == len(taken) else []
        taken[lane].append((start, end))
        lane_of.append(lane)
    return lane_of


def _track(card: Card, name: str, intervals: Sequence[Interval], colors: Sequence[str], captions: Sequence[str] = (),
           extra: str = "") -> str:
    """A row of the time line."""
    where = lanes(intervals)
    share = 100 / (1 + max(where, default=0))
    captions = captions or [""] * len(intervals)
    bars = "".join(f'<u style="{_place(span, card)};top:{lane * share:.1f}%;height:{share:.1f}%;background:{color}" '
                   f'title="{escape(f"{seconds(span)} s {caption}".strip())}"'
                   f"{_on_click(card, _play(span, card.step))}></u>"
                   for span, lane, color, caption in zip(intervals, where, colors, captions))
    tall = f' style="height:{0.75 * 100 / share:.2f}rem"' if share < 100 else ""
    return f'<div class="line"><span>{name}</span><div class="track"{tall}>{bars}{extra}</div></div>'


def _true_rows(card: Card) -> list[str]:
    window = ""
    if card.frames and (span := (card.frames[0][0], card.frames[-1][0])) and span[1] - span[0] < 0.9 * card.end:
        window = f'<u class="window" style="{_place(span, card)}" title="frames above"></u>'
    rows = [_track(card, "asked", card.asked, [ASKED] * len(card.asked), (), window)] if card.asked else []
    if card.truth:
        rows += [_track(card, "truth", [event.interval for event in card.truth], [TRUTH] * len(card.truth),
                        [event.caption for event in card.truth], window)]
    return rows


def _rows(card: Card, answer: Answered) -> list[str]:
    """The time lines of one answer: what it grounds, where that differs from what it says, and its curves."""
    name = escape(answer.name)
    name = f'<a href="{escape(answer.link)}">{name}</a>' if answer.link else name
    both = answer.grounded and answer.intervals and answer.grounded != answer.intervals
    lines = [("grounded", answer.grounded)] * bool(both) + [(name, answer.intervals or answer.grounded)]
    lines = lines if lines[-1][1] or card.truth else []
    rows = [_track(card, title, spans, [event_color(k) for k in range(len(spans))]) for title, spans in lines]
    return rows + ([_curves(card, answer)] if answer.curves else [])


def _curves(card: Card, answer: Answered) -> str:
    """Similarity of every event with each frame, and the threshold of each curve."""
    peak = max(max(curve) for curve in answer.curves)
    top = 1.0 if peak > 0.25 else peak or 1.0  # a curve that adds up to 1 over the frames is low everywhere
    parts = []
    for k, curve in enumerate(answer.curves):
        times = card.times if len(card.times) == len(curve) else np.linspace(*card.shown, len(curve))
        x = np.asarray(times) / card.end * HEIGHT
        y = HEIGHT * (1 - 0.96 * np.asarray(curve) / top)
        points = " ".join(f"{a:.2f},{b:.1f}" for a, b in zip(x, y))
        color = event_color(k)
        parts.append(f'<polygon points="{x[0]:.2f},{HEIGHT} {points} {x[-1]:.2f},{HEIGHT}" fill="{color}" '
                     f'opacity=".13"/><polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8" '
                     'vector-effect="non-scaling-stroke"/>')
        if answer.thresholds:
            level = HEIGHT * (1 - 0.96 * answer.thresholds[k] / top)
            parts.append(f'<path d="M0 {level:.1f}H{HEIGHT}" stroke="{color}" stroke-dasharray="5 4" '
                         'vector-effect="non-scaling-stroke"/>')
    seek = _on_click(card, SEEK.format(end=card.end))
    return (f'<div class="line"><span>similarity</span><svg viewBox="0 0 {HEIGHT} {HEIGHT}" preserveAspectRatio="none" '
            f'role="img" aria-label="similarity over time"{seek}>{"".join(parts)}</svg></div>')


def _play(span: Interval, step: float) -> str:
    """What plays a part of the video up to where its last frame is gone."""
    return escape(PLAY.format(start=span[0], end=span[1] + step))


def _on_click(card: Card, action: str) -> str:
    """Only a card with a video can do something with it."""
    return f' onclick="{action}"' if card.player else ""


def _film(card: Card) -> str:
    """Frames; those inside the truth are marked."""
    pictures = "".join(
        f'<figure><img alt="frame at {at:.1f} s" src="data:image/jpeg;base64,{data}">'
        f'<figcaption{" class=in" if any(e.start <= at <= e.end for e in card.truth) else ""}>{at:.1f} s</figcaption>'
        "</figure>" for at, data in card.frames)
    return f'<div class="film">{pictures}</div>' if pictures else ""


def _axis(end: float) -> str:
    """Round seconds, three to six of them."""
    power = 10.0 ** math.floor(math.log10(max(end, 0.06) / 6))
    step = next(unit * power for unit in (1, 2, 5, 10) if end / (unit * power) < 6)
    ticks = np.arange(0, end * 1.001, step).round(2)
    return "".join(f'<s style="left:{100 * at / end:.2f}%">{at:g} s</s>' for at in ticks)


def _truth(card: Card) -> str:
    """What would have been right, in words."""
    words = [escape(card.right)] if card.right else []
    words += [f"{seconds(event.interval)} s{', ' + escape(event.caption) if event.caption else ''}"
              for event in card.truth if seconds(event.interval) not in card.right]
    return f'<p class="true">truth: {"; ".join(words)}</p>' if words else ""


def _place(span: Interval, card: Card) -> str:
    end = min(span[1] + card.step, card.end)
    return f"left:{100 * span[0] / card.end:.2f}%;width:{100 * (end - span[0]) / card.end:.2f}%"
