"""What the page does while a video is watched live: the video in step, the curves that grow, the bars, the words."""

from __future__ import annotations

from ..plots.colors import EVENT_COLORS, PREDICTED, ink_on

COLORS = [(color, ink_on(color)) for color in EVENT_COLORS]  # background and ink of the k-th event
CSS = f"""
.live header button {{ margin-left: auto; font: inherit; border: 1px solid #8a2b00; color: #8a2b00; background: #fff;
                      border-radius: 6px; padding: .15rem .8rem; }}
.live svg {{ position: relative; }} .live polygon {{ fill: {PREDICTED}; opacity: .3; }}
.live u {{ top: 0; height: 100%; opacity: .35; }} .live u.closed {{ opacity: 1; }}
.live ol {{ list-style: none; margin: .3rem 0 .9rem; padding: 0; min-height: 1.9em; }}
.live li {{ line-height: 2; overflow-wrap: anywhere; }} .live li small {{ color: #666; }}
.answer.live li button {{ line-height: 1.5; }}
#standing {{ color: #555; font-size: .9rem; margin: .6rem 0 0; }}
"""
SCRIPT = """
function make(kind, place, name = '', text = '') {
  const made = document.createElement(kind);
  made.className = name; made.textContent = text; place.append(made);
  return made;
}
const span = ([start, end]) => `${start.toFixed(1)} - ${end.toFixed(1)}`;
class Live {  // one video while it runs, with its standing questions
  constructor(one) {
    this.end = 0.1; this.step = 0; this.rows = []; this.ticks = [];
    this.leaving = new AbortController();
    this.card = document.createElement('article'); this.card.className = 'answer live';
    at('answers').prepend(this.card);
    const header = make('header', this.card);
    this.clock = make('b', header, '', '0.0 s'); make('span', header, '', one.name);
    this.state = make('span', header, '', 'The video is being opened…'); this.state.setAttribute('role', 'status');
    this.stop = make('button', header, '', 'Stop'); this.stop.type = 'button';
    this.stop.onclick = () => this.leaving.abort();
    this.video = make('video', this.card);
    this.video.muted = this.video.playsInline = true; this.video.src = `videos/${one.id}`;
  }
  async run(body) {
    try {
      const reply = await fetch('live', {method: 'POST', body, signal: this.leaving.signal});
      if (!reply.ok) throw new Error((await reply.json()).error);
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = '', part; !(part = await reader.read()).done;) {
        const lines = (text + part.value).split('\\n');
        text = lines.pop();
        for (const line of lines) this.take(JSON.parse(line));
      }
      if (!this.over) throw new TypeError();
    } catch (error) {
      const lost = error instanceof TypeError ? 'The app does not answer. Is it still running?' : error.message;
      const stopped = error.name == 'AbortError';
      this.close(stopped ? 'Stopped.' : lost, !stopped);
    }
  }
  take(line) {
    if (line.over) this.close(line.over, line.failed);
    else if (line.questions) this.begin(line);
    else this.go(line);
  }
  begin({end, step, questions}) {
    this.end = Math.max(end, 0.1); this.step = step;
    this.rows = questions.map(({text, unknown}) => {
      make('p', this.card, 'ask', text);
      if (unknown.length) make('p', this.card, 'failed', `This checkpoint has never seen: ${unknown.join(', ')}.`);
      const line = name => { const made = make('div', this.card, 'line'); make('span', made, '', name); return made; };
      const track = make('div', line('events'), 'track'), place = line('evidence');
      place.insertAdjacentHTML('beforeend', '<svg viewBox="0 0 1 1" preserveAspectRatio="none" role="img" ' +
        'aria-label="evidence of each frame so far"><polygon></polygon></svg>');
      this.mark(make('div', line(''), 'axis'));
      const said = make('ol', this.card); said.setAttribute('aria-live', 'polite');
      return {track, curve: place.querySelector('polygon'), said, points: [], events: new Map()};
    });
    this.state.textContent = 'live'; this.card.scrollIntoView({block: 'nearest'});
    this.video.play().catch(() => {});  // where it cannot be played, a message says so
  }
  mark(axis) {
    for (const share of [0, 0.25, 0.5, 0.75]) {
      const tick = make('s', axis); tick.style.left = `${100 * share}%`;
      this.ticks.push(() => { tick.textContent = `${(share * this.end).toFixed(1)} s`; });
    }
  }
  go({now, curves, updates, notes}) {
    this.clock.textContent = `${now.toFixed(1)} s`; this.end = Math.max(this.end, now + this.step);
    const ahead = this.video.currentTime - now;  // of what the model has read, which takes longer on a slow machine
    if (ahead > 1) this.video.pause();
    else if (this.video.paused && !this.video.ended) this.video.play().catch(() => {});
    if (ahead < -1) this.video.currentTime = now;
    if (this.video.readyState < 2) this.card.style.setProperty('--at', `${100 * now / this.end}%`);
    if (notes.length) this.state.textContent = notes.at(-1);
    curves.forEach((curve, k) => this.rows[k].points.push(...curve));
    for (const update of updates) this.change(this.rows[update.question], update);
    this.rows.forEach(row => this.draw(row)); this.ticks.forEach(tick => tick());
  }
  change(row, update) {
    if (!row.events.has(update.number)) row.events.set(update.number, {bar: make('u', row.track)});
    const event = row.events.get(update.number), [color, ink] = facts.colors[update.number % facts.colors.length];
    if (update.kind == 'withdrawn') { event.bar.remove(); row.events.delete(update.number); return; }
    event.interval = update.interval; event.bar.style.background = color;
    event.bar.classList.toggle('closed', update.kind == 'closed');
    event.bar.title = `${span(update.interval)} s, confidence ${update.confidence.toFixed(2)}`;
    event.bar.onclick = () => this.part(update.interval);
    if (update.kind == 'revised') event.line?.remove();
    if (update.kind != 'closed') return;
    event.line = make('li', row.said);
    const time = make('button', event.line, '', `▶ ${span(update.interval)} s`); event.line.className = 'said';
    time.type = 'button'; time.title = 'play this part'; time.disabled = true;
    time.style.background = color; time.style.color = ink; time.onclick = event.bar.onclick;
    event.line.append(` ${update.text} `);
    make('small', event.line, '', `said ${update.latency.toFixed(1)} s later, ${event.bar.title.split(', ')[1]}`);
  }
  draw({curve, points, events}) {
    const x = seconds => Math.min(1, seconds / this.end), last = points.at(-1);
    const steps = points.flatMap(([seconds, value]) => [[seconds, value], [seconds + this.step, value]]);
    if (last) curve.setAttribute('points', [[steps[0][0], 0], ...steps, [last[0] + this.step, 0]]
      .map(([seconds, value]) => `${x(seconds).toFixed(4)},${(1 - 0.96 * value).toFixed(4)}`).join(' '));
    for (const {bar, interval: [start, end]} of events.values()) {
      bar.style.left = `${100 * x(start)}%`; bar.style.width = `${100 * (x(end + this.step) - x(start))}%`;
    }
  }
  part([start, end]) {  // once the video does not run any more, its events can be played
    if (!this.over) return;
    this.video.ontimeupdate = () => { if (this.video.currentTime >= end + this.step) {
      this.video.pause(); this.video.ontimeupdate = null; } };
    this.video.currentTime = start; this.video.play();
  }
  close(text, failed = false) {
    if (this.over) return;
    this.over = true; this.state.textContent = text; this.state.classList.toggle('failed', failed);
    for (const {said} of this.rows) if (!said.children.length && !failed)
      make('small', make('li', said), '', 'Nothing of this kind was noticed.');
    for (const button of this.card.querySelectorAll('.said button')) button.disabled = false;
    this.leaving.abort(); this.stop.remove(); this.video.pause(); this.video.controls = true;
    if (!this.rows.length) this.video.remove();  // it never began
  }
}
at('live').onclick = () => {
  const questions = [...new Set([at('question').value.trim(), facts.describe])].filter(Boolean);
  if (video) new Live(video).run(JSON.stringify({video: video.id, questions}));
};
"""
