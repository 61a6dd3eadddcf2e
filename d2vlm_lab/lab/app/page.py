"""The one page of the app: a video, a question, the answers, the newest first."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape

from ..show.card import CSS as CARD
from ..show.document import document
from .live import DESCRIBE, why_not
from .live_page import COLORS
from .live_page import CSS as LIVE_CSS
from .live_page import SCRIPT as LIVE_SCRIPT
from .shelf import SUFFIXES, Shelf

CSS = """
main { display: grid; gap: 1rem; } section { border: 1px solid #ddd; border-radius: 8px; padding: .9rem 1rem; }
section h2 { margin: 0 0 .6rem; font-size: 1.05rem; } [hidden] { display: none !important; }
#drop { display: block; border: 2px dashed #999; border-radius: 8px; padding: 1.1rem; text-align: center;
        cursor: pointer; }
#drop.over, #drop:hover, #drop:focus-within { border-color: #0072B2; background: #f2f8fc; }
#drop input { position: absolute; opacity: 0; width: 1px; height: 1px; } #drop small { display: block; color: #555; }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; margin: .6rem 0 0; } .chips:empty { display: none; }
.chips button { font: inherit; font-size: .9rem; border: 1px solid #bbb; background: #fff; border-radius: 1rem;
                padding: .25rem .7rem; cursor: pointer; overflow-wrap: anywhere; text-align: left; }
.chips button[aria-pressed=true] { background: #0072B2; border-color: #0072B2; color: #fff; }
form { display: flex; gap: .5rem; flex-wrap: wrap; }
form input { flex: 1 1 14rem; min-width: 0; font: inherit; padding: .45rem .6rem; border: 1px solid #999;
             border-radius: 6px; }
form button { font: inherit; padding: .45rem 1.1rem; border: 0; border-radius: 6px; background: #0072B2; color: #fff;
              cursor: pointer; } form button:disabled { background: #888; cursor: default; }
#preview { display: block; height: 200px; max-width: 100%; margin-top: .8rem; }
#state { min-height: 1.5em; margin: 0; } #state.failed { color: #8a2b00; }
#answers .answer video { width: auto; height: 260px; }
.answer[style] .track::after { content: ""; position: absolute; left: var(--at); top: 0; bottom: 0;
                               border-left: 1px solid; }
.answer[style] svg { background: linear-gradient(#222, #222) no-repeat var(--at) 0 / 1px 100%, #fafafa; }
"""
SCRIPT = """
const at = id => document.getElementById(id), facts = JSON.parse(at('facts').textContent);
let video = null, busy = 0;
function say(text, failed = false) { at('state').textContent = text; at('state').classList.toggle('failed', failed); }
async function post(where, body, headers) {
  say(where == 'ask' ? 'The model is looking for the evidence…' : 'The video is being read…');
  busy += 1; at('send').disabled = true;
  try {
    const reply = await fetch(where, {method: 'POST', body, headers});
    const found = await reply.json();
    if (!reply.ok) throw new Error(found.error);
    say('');
    return found;
  } catch (error) {
    say(error instanceof TypeError ? 'The app does not answer. Is it still running?' : error.message, true);
  } finally { busy -= 1; at('send').disabled = busy > 0 || !video; }
}
function chip(place, text, pressed, action) {
  const button = document.createElement('button');
  button.type = 'button'; button.textContent = text; button.onclick = action;
  if (pressed !== null) button.setAttribute('aria-pressed', pressed);
  place.append(button);
}
function choose(one) {
  video = one;
  at('preview').hidden = false; at('preview').src = `videos/${one.id}`;
  at('videos').replaceChildren(); at('questions').replaceChildren();
  for (const other of facts.videos) chip(at('videos'), other.name, other.id == one.id, () => choose(other));
  for (const text of one.questions)
    chip(at('questions'), text, null, () => { at('question').value = text; at('ask').requestSubmit(); });
  at('send').disabled = busy > 0; at('live').disabled = false;
}
async function drop(files) {
  for (const file of files) {
    if (file.size > facts.limit) {
      say(`${file.name} has ${(file.size / 2**20).toFixed(1)} MB; a video may have up to ` +
          `${Math.round(facts.limit / 2**20)} MB.`, true);
      continue;
    }
    const kept = await post('videos', file, {'X-Name': encodeURIComponent(file.name)});
    if (kept) { facts.videos.push(kept); choose(kept); at('question').focus(); }
  }
}
at('file').onchange = event => { drop([...event.target.files]); event.target.value = ''; };
for (const name of ['dragover', 'dragleave', 'drop']) document.addEventListener(name, event => {
  event.preventDefault();
  at('drop').classList.toggle('over', name == 'dragover');
  if (name == 'drop') drop([...event.dataTransfer.files]);
});
at('ask').onsubmit = async event => {
  event.preventDefault();
  if (!video || busy) return;
  const found = await post('ask', JSON.stringify({video: video.id, question: at('question').value}));
  if (!found) return;
  at('answers').insertAdjacentHTML('afterbegin', found.html);
  at('answers').firstChild.scrollIntoView({block: 'nearest'});
};
document.addEventListener('timeupdate', event => {  // where the video is, on the bars and the curve
  const share = event.target.currentTime / event.target.duration;
  event.target.closest('.answer')?.style.setProperty('--at', `${100 * share}%`);
}, true);
document.addEventListener('error', event => {
  if (event.target.tagName == 'VIDEO' && event.target.error)
    say('This browser cannot play the video. You can still ask about it, and see its frames.', true);
}, true);
for (const one of facts.videos) chip(at('videos'), one.name, false, () => choose(one));
if (facts.videos.length) choose(facts.videos[0]);
""" + LIVE_SCRIPT
HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
# Only this script, the buttons of an answer, and what this server sends; nothing may be loaded from elsewhere.
POLICY = (f"default-src 'none'; script-src 'sha256-{HASH}'; script-src-attr 'unsafe-inline'; "
          "style-src 'unsafe-inline'; img-src data:; media-src 'self'; connect-src 'self'; form-action 'none'; "
          "base-uri 'none'; frame-ancestors 'none'")


def page(shelf: Shelf) -> str:
    """The page with the examples; a video that was dropped before belongs to the page on which it was dropped."""
    facts = json.dumps({"videos": [video.about for video in shelf.examples.values()], "limit": shelf.limit,
                        "colors": COLORS, "describe": DESCRIBE})
    facts = facts.replace("<", "\\u003c")
    kinds, reason = ", ".join(SUFFIXES), why_not(shelf.lab.model)
    live = (f"No video can be watched live with this checkpoint: {reason}." if reason else "Watch live: the video "
            "plays, and your question waits from the first frame on. When an event that fits is over, the answer "
            "appears a moment later. All other events are reported, too.")
    return document("Ask a video", f"""<style>{CARD}{CSS}{LIVE_CSS}</style>
<h1>Ask a video</h1>
<p class="note">{escape(str(shelf.lab))}</p>
<main>
<section aria-labelledby="one"><h2 id="one">1. A video</h2>
<label id="drop">Drop a video here, or click to choose a file<small>{kinds}; up to {shelf.limit / 2**20:,.0f} MB. It
stays on this machine, and is removed when the app ends or when {shelf.keep} newer ones are there.</small>
<input id="file" type="file" accept="{kinds}"></label>
<div class="chips" id="videos" role="group" aria-label="videos"></div>
<video id="preview" controls muted playsinline hidden></video></section>
<section aria-labelledby="two"><h2 id="two">2. A question</h2>
<form id="ask"><input id="question" aria-label="question" maxlength="2000" required
placeholder="when does the red disc spin?">
<button id="send" disabled>Ask</button>
<button id="live" type="button" disabled{" hidden" * bool(reason)}>Watch live</button></form>
<p id="standing">{escape(live)}</p>
<div class="chips" id="questions" role="group" aria-label="questions that fit this video"></div></section>
<p id="state" role="status" aria-live="polite"></p>
<div id="answers" aria-label="answers"></div>
</main>
<p class="note">Click on a time in an answer, or on a bar under it, to play this part of the video. Click on the curve
to go to that moment. The curve shows how similar each frame is to the evidence.</p>
<script id="facts" type="application/json">{facts}</script>
<script>{SCRIPT}</script>""")
