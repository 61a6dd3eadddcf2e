"""The app used by hand: a file is chosen, a question typed, the evidence clicked."""

import pytest
from browser import FOUND, browser
from test_app import MODEL, QUESTION, running
from test_app_live import film, wait_until

from d2vlm_lab.data.video import length
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world import load as load_world
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.lab import ask
from d2vlm_lab.lab.app.live import AT_ONCE
from d2vlm_lab.lab.app.shelf import Shelf
from d2vlm_lab.settings import override

VIDEO, PLAYER = (f"document.querySelector('.{kind} video')" for kind in ("answer", "live"))


@pytest.mark.slow
@pytest.mark.skipif(FOUND is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_video_is_dropped_asked_about_and_its_evidence_played(tmp_path, width):
    for name in ("shelf", "profile"):
        (tmp_path / name).mkdir()
    world = load_world(make_world(tmp_path / "world", override(WorldConfig(), {"videos": 10}), 1))
    first, second = (world.video_path(scene) for scene in world.truth("train")[:2])
    (tmp_path / "notes.mp4").write_text("this is no video")
    lab = ask.load(MODEL)
    said = lab.watch(second).ask(QUESTION)
    shelf = Shelf(lab, tmp_path / "shelf")
    shelf.add_example(first, (("when does the red disc spin?", ()),))
    with running(shelf) as app, browser(tmp_path / "profile") as page:
        page.size(width, 900)
        page.open(app.url)
        page.choose_file("#file", tmp_path / "notes.mp4")
        page.wait("document.querySelector('#state.failed')?.textContent.includes('notes.mp4')")
        page.choose_file("#file", second)
        page.wait(f"document.querySelector('#videos [aria-pressed=true]').textContent == '{second.name}'")
        page.wait("document.activeElement.id == 'question' && !document.getElementById('send').disabled")
        page.send("Input.insertText", text=QUESTION)
        page.click("document.getElementById('send')")
        page.wait(f"{VIDEO} && {VIDEO}.readyState >= 1")
        page.run(f"window.sought = null; {VIDEO}.addEventListener('seeking', () => sought = {VIDEO}.currentTime); 0")
        for k, (start, end) in enumerate(said.intervals[:2]):
            page.click(f"document.querySelectorAll('.answer .said button')[{k}]")
            page.wait(f"Math.abs(sought - {start}) < 0.01 && !{VIDEO}.paused")
            page.wait(f"{VIDEO}.paused && {VIDEO}.currentTime >= {end} || {VIDEO}.ended")
        page.click("document.querySelector('.answer svg')")
        page.wait(f"Math.abs(sought - {length(second)} / 2) < 0.3")
        page.click("[...document.querySelectorAll('.answer .track u')].at(-1)")
        page.wait(f"Math.abs(sought - {said.intervals[-1][0]}) < 0.01")
        page.wait("parseFloat(document.querySelector('.answer').style.getPropertyValue('--at')) > 0")
        assert page.run("document.documentElement.scrollWidth") <= width
        page.click("document.querySelectorAll('#videos button')[0]")
        page.click("document.querySelector('#questions button')")
        page.wait("document.querySelectorAll('.answer').length == 2")
        assert page.run("document.querySelector('.answer .ask').textContent") == "when does the red disc spin?"
        page.picture(tmp_path / "page.png")
        assert [told for told in page.complaints if "400 (Bad Request)" not in told] == []
    assert [video.name for video in shelf.dropped.values()] == [second.name]


@pytest.mark.slow
@pytest.mark.skipif(FOUND is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_video_is_watched_live_its_bars_grow_and_close_and_it_can_be_stopped_and_left(tmp_path, width):
    for name in ("shelf", "profile"):
        (tmp_path / name).mkdir()
    film(tmp_path / "world.mp4", 4)
    shelf = Shelf(ask.load(MODEL.with_name("tiny-live"), fps=4), tmp_path / "shelf")
    shelf.add_example(tmp_path / "world.mp4")
    with running(shelf) as app, browser(tmp_path / "profile") as page:
        page.size(width, 900)
        page.open(app.url)
        page.run("document.getElementById('question').value = 'when does the red dinosaur spin?'")
        page.click("document.getElementById('live')")
        page.wait("document.querySelector('.live u:not(.closed)')")
        early = page.run("document.querySelector('.live u').getBoundingClientRect().width")
        assert page.run("document.querySelectorAll('.live .said').length") == 0, "words are due when it is over"
        page.wait(f"document.querySelector('.live u').getBoundingClientRect().width > {early}")
        page.wait("document.querySelector('.live .said') && document.querySelector('.live u.closed')")
        page.wait(f"Math.abs({PLAYER}.currentTime - "
                  "parseFloat(document.querySelector('.live header b').textContent)) < 1")
        assert page.run("document.querySelector('.live header span + span').textContent") == "live"
        assert "dinosaur" in page.run("document.querySelector('.live .failed').textContent")
        assert page.run("document.documentElement.scrollWidth") <= width
        page.picture(tmp_path / "live.png")
        page.wait("document.querySelector('.live header').textContent.includes('The video has ended.')")
        assert not page.run("document.querySelector('.live u:not(.closed), .live header button')")
        page.run(f"{PLAYER}.currentTime = 0")
        page.click("document.querySelector('.live .said button')")
        page.wait(f"{PLAYER}.currentTime > 0 && !{PLAYER}.paused")
        wait_until(lambda: not app.sessions.running)
        page.click("document.getElementById('live')")
        page.wait("document.querySelector('.live polygon')?.points.length")
        page.click("document.querySelector('.live header button')")
        page.wait("document.querySelector('.live header').textContent.includes('Stopped.')")
        wait_until(lambda: not app.sessions.running)
        page.click("document.getElementById('live')")
        page.wait("document.querySelector('.live polygon')?.points.length")
        for _ in range(AT_ONCE):
            page.click("document.getElementById('live')")
        page.wait("document.querySelector('.live .failed')?.textContent.includes('stop one of them first')")
        assert page.run("document.querySelector('.live').querySelector('video') == null")
        assert len(app.sessions.running) == AT_ONCE
        page.open(app.url)
        wait_until(lambda: not app.sessions.running)
        assert [told for told in page.complaints if "503 (Service Unavailable)" not in told] == []
