"""The page of answers: worst first, complete in itself, every time in the colour of its bar."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from benchmark_files import save
from golden_metrics import GOLDEN, perfect

from d2vlm_lab.cli import main
from d2vlm_lab.data.video import write_frames
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.lab.plots.colors import TRUTH, event_color
from d2vlm_lab.lab.show import command as show
from d2vlm_lab.lab.show.card import Answered, Card, card_html, cards_html, lanes, text_html, text_pieces

CURVE = [0.1, 0.1, 0.9, 1.0, 0.8, 0.1, 0.1, 0.1]


def evidence(*curves):
    return [{"interval": [2.0, 4.0], "confidence": 0.9, "curve": list(curve)} for curve in curves]


@pytest.fixture
def folder(tmp_path):
    """What `evaluate` leaves: answers, and a note of settings and videos."""
    (tmp_path / "videos").mkdir()
    moving = np.stack([np.full((48, 64, 3), 25 * k, np.uint8) for k in range(8)])
    write_frames(tmp_path / "videos" / "v.mp4", moving, 1.0)
    records = [
        {**perfect("tvg", 0), "video": "v.mp4", "tgt": [2.0, 4.0], "shown": [0.0, 7.0], "q": "when?",
         "a": "2.0 - 4.0 </evi> It happens in 2.0 - 4.0.", "evidence": evidence(CURVE, CURVE)},
        {**perfect("tvg", 1), "video": "v.mp4", "tgt": [2.0, 4.0], "shown": [0.0, 7.0], "q": "<script>when?",
         "a": "6.0 - 7.0 </evi> It happens in 6.0 - 7.0.", "evidence": evidence(CURVE, CURVE)},
        {**perfect("tvg", 2), "video": "gone.mp4", "tgt": [2.0, 4.0], "a": "", "error": "gone.mp4: no such video file"},
        {**perfect("tal", 3), "video": "../../etc/passwd", "a": "nothing"}]
    out = tmp_path / "out"
    out.mkdir()
    (out / "answers_0_of_1.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    save(out / "run.json", {"videos": str(tmp_path / "videos"), "benchmark": "world", "annotations_sha256": "abc123",
                            "method": {"salience": "peak_share", "salience_value": None}})
    return out


class Links(HTMLParser):
    """What a page refers to, and which elements it leaves open."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br", "polygon", "polyline", "path", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_goes_from_the_worst_to_the_best_and_needs_no_other_file(folder, tmp_path, capsys):
    assert main(["show", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "4 of 4 answers" in capsys.readouterr().out
    scores = [float(score) for score in re.findall(r"<header><b>([\d.]+)</b>", text)]
    assert scores == [0, 0, 0, 1]
    page = Links(text)
    assert page.open == [] and page.found and all(link.startswith("data:image/jpeg;base64,") for link in page.found)
    assert "abc123" in text and "<script>" not in text and "gone.mp4: no such video file" in text


def test_equally_bad_answers_take_turns_between_tasks(folder):
    cards, *_ = show.read_cards(folder)
    assert [card.task for card in cards] == ["tal", "tvg", "tvg", "tvg"] and cards[-1].id == "0"


def test_frames_come_from_the_moment_and_a_path_out_of_the_folder_is_not_followed(folder, tmp_path):
    cards = {card.id: card for card in show.read_cards(folder)[0]}
    seen = show.with_frames(cards["0"], tmp_path / "videos").frames
    assert seen[0][0] >= 1.0 and seen[-1][0] <= 5.0 and len(seen) >= 3
    assert show.moment(cards["0"]) == (1.5, 4.5)
    assert show.with_frames(cards["3"], tmp_path / "videos") == cards["3"]
    assert "no such video" in show.with_frames(cards["2"], tmp_path / "videos").note


@pytest.mark.parametrize("events", [[(3600, 3630)], [(3600, 3600.5)], [(10, 20), (3600, 3630)]])
def test_each_event_of_a_long_video_has_a_frame(events):
    card = Card("when?", (Answered(""),), tuple(Event(*event) for event in events), shown=(0.0, 7200.0))
    seconds = show.seconds_shown(card)
    assert all(any(start <= at <= end for at in seconds) for start, end in events)
    assert len(seconds) <= show.FRAMES + len(events) and sorted(seconds) == list(seconds)
    if len(events) == 1:
        assert 3530 < seconds[0] < seconds[-1] < 3700


def test_curves_have_the_threshold_that_read_the_interval_off_them(folder):
    card = {card.id: card for card in show.read_cards(folder)[0]}["0"]
    answer, = card.answers
    assert answer.curves == (tuple(CURVE),) and answer.thresholds == (0.6,)
    drawn = card_html(card)
    assert drawn.count("<polyline") == 1 and "stroke-dasharray" in drawn


def test_one_task_may_be_chosen_and_an_unknown_one_is_an_error(folder, tmp_path, capsys):
    out = tmp_path / "tal.html"
    assert main(["show", str(folder), "--task", "tal", "--out", str(out)]) == 0
    assert out.read_text().count('class="answer"') == 1
    assert main(["show", str(folder), "--task", "tvx"]) == 2
    assert "there are tal, tvg" in capsys.readouterr().err
    assert main(["show", str(folder), "--videos", str(tmp_path / "no")]) == 2


@pytest.mark.parametrize("place", ["etbench/pred_evi", "charades/pred", "youcook2/pred", "videomme/pred/etbench_0.json",
                                   "mvbench/pred/moving_count.json"])
def test_predictions_of_every_benchmark_make_a_page(place, tmp_path, capsys):
    assert main(["show", str(GOLDEN / place), "--out", str(tmp_path / "page.html"), "--limit", "20"]) == 0
    text = (tmp_path / "page.html").read_text()
    assert text.count('class="answer"') == 20 and Links(text).open == []


def test_the_second_mention_of_an_event_has_the_colour_of_the_first():
    text = "1.0 - 2.0 5 - 6 </evi> first 1.0 - 2.0, then 5 - 6."
    timed = [piece for piece in text_pieces(text) if isinstance(piece, tuple)]
    assert [piece[1:] for piece in timed] == [((1, 2), 0), ((5, 6), 1), ((1, 2), 0), ((5, 6), 1)]
    assert "".join(piece if isinstance(piece, str) else piece[0] for piece in text_pieces(text)) == text
    colors = re.findall(r"background:(#\w+)", text_html(text))
    assert colors == [event_color(0), event_color(1)] * 2


BAR = r'<u style="left:([\d.]+)%;width:([\d.]+)%;top:0.0%;height:100.0%;background:(#\w+)" title="([^"]*)"'


def bars(card):
    """From when to when each bar lasts, its colour and its caption."""
    return [(round(float(left) * card.end / 100, 3), round((float(left) + float(width)) * card.end / 100, 3), color,
             caption) for left, width, color, caption in re.findall(BAR, card_html(card))]


def test_an_answer_lasts_as_long_as_its_frames_and_its_bars_have_the_colours_of_their_curves():
    answer = Answered("1.5 - 2.5 and 0.0 - 0.5", ((1.5, 2.5), (0.0, 0.5)), curves=(tuple(CURVE), tuple(CURVE[::-1])))
    card = Card("when?", (answer,), (Event(1.5, 3.0, "it <spins>"),), shown=(0.0, 3.5), step=0.5)
    first, second = event_color(0), event_color(1)
    assert bars(card) == [(1.5, 3.5, TRUTH, "1.5 - 3.0 s it &lt;spins&gt;"), (1.5, 3.0, first, "1.5 - 2.5 s"),
                          (0.0, 1.0, second, "0.0 - 0.5 s")]
    html = card_html(card)
    assert re.findall(r'stroke="(#\w+)"', html) == re.findall(r'fill="(#\w+)"', html) == [first, second]
    assert "1.5 - 3.0 s, it &lt;spins&gt;" in html and Links(html).open == []


def test_a_curve_stands_over_the_times_of_its_frames_however_uneven_they_are():
    card = Card("when?", (Answered("1.0 - 2.0", ((1.0, 2.0),), curves=((0.1, 0.9, 0.9, 0.1, 0.1),)),),
                shown=(0.0, 20.0), times=(0.0, 1.0, 2.0, 3.0, 20.0))
    points = re.search(r'<polyline points="([^"]+)"', card_html(card))[1].split()
    assert [float(point.split(",")[0]) for point in points] == [0, 5, 10, 15, 100]


@pytest.mark.parametrize("end", [0.01, 0.3, 59.0, 3_600.0, 3e6, 7.5e6, 1e12])
def test_a_time_line_of_any_length_has_a_few_round_seconds(end):
    """An absurd time in an answer must not take its card, and all cards after it, from the page."""
    cards = [Card("when?", (Answered("then", ((0.0, last),)),)) for last in (end, 5.0)]
    html = cards_html(cards)
    assert html.count('class="line"><span>answer<') == 2
    assert 1 <= len(re.findall(r'<s style="left', html.split("answer<")[1])) <= 8


def test_an_answer_has_no_row_for_an_unknown_truth_and_no_axes_for_curves_that_are_not_there():
    html = card_html(Card("when?", (Answered("0.0 - 1.0", ((0.0, 1.0),)),)))
    assert re.findall(r'class="line"><span>(\w+)<', html) == ["answer"] and "<svg" not in html and "truth" not in html


def test_an_answer_without_any_interval_still_has_its_row_where_there_is_a_truth():
    html = card_html(Card("when?", (Answered(""),), (Event(0.0, 1.0),)))
    assert re.findall(r'class="line"><span>(\w+)<', html) == ["truth", "answer"] and "no answer" in html


@pytest.mark.parametrize("share, top", [(0.1, True), (0.5, False)])
def test_curves_that_are_low_everywhere_fill_their_axes(share, top):
    curve = tuple(value * share for value in CURVE)
    html = card_html(Card("when?", (Answered("0.0 - 1.0", ((0.0, 1.0),), curves=(curve,)),)))
    heights = [float(y) for y in re.findall(r",([\d.]+)", re.search(r'<polyline points="([^"]+)"', html)[1])]
    assert (min(heights) < 10) is top


def test_several_answers_to_one_question_stand_under_the_same_truth_with_links_to_where_they_come_from():
    answers = (Answered("in 2.0 - 4.0", ((2.0, 4.0),), name="full", link="runs/<a>.html", score=1.0),
               Answered("in 6.0 - 7.0", ((6.0, 7.0),), name="with<out", score=0.0))
    html = card_html(Card("when?", answers, (Event(2.0, 4.0),), shown=(0.0, 16.0), task="tvg", video="v.mp4"))
    assert html.count('<article class="answer"') == 1 and Links(html).found == ["runs/<a>.html"]
    assert "with&lt;out" in html and "overlap 1.00" in html and html.index("truth") < html.index("with&lt;out")


def test_what_was_found_first_stands_on_a_line_of_its_own_without_the_marker():
    assert re.sub(r"<em[^>]*>|</em>", "", text_html("1.0 - 2.0 </evi> It is 1.0 - 2.0.")) == (
        "<i>found:</i> 1.0 - 2.0 <br> It is 1.0 - 2.0.")
    assert text_html("</evi> That does not happen.") == " That does not happen." and "no answer" in text_html("</evi>")


def test_intervals_that_overlap_are_drawn_in_lanes_of_their_own():
    assert lanes([(0, 4), (3, 5), (6, 7), (3, 3)]) == [0, 1, 0, 2] and lanes([]) == []


@pytest.mark.parametrize("target, right", [
    ([1, 2], [(1, 2)]), ([[1, 2], [3, 4]], [(1, 2), (3, 4)]), ([[[1, 2]], [[3, 4], [5, 6]]], [(1, 2), (3, 4), (5, 6)]),
    ([], [])])
def test_the_truth_is_read_in_each_of_its_shapes(target, right):
    assert [event.interval for event in show.true_events({"tgt": target})] == right


def test_a_right_option_that_is_an_interval_is_on_the_time_line():
    record = {"task": "eca", "o": [[1.0, 2.0], [3.0, 4.0]], "p": 1, "src": [1.0, 2.0, 3.0, 4.0], "a": "(A)"}
    assert show.true_events(record) == (Event(3.0, 4.0),)
    assert show._asked(record) == () and show._asked({"src": [1.0, 2.0]}) == ((1.0, 2.0),)


def test_only_a_card_with_a_video_has_bars_and_curves_to_click():
    card = Card("when?", (Answered("1.0 - 2.0", ((1.0, 2.0),), curves=((0.1, 0.9),)),), shown=(0.0, 4.0), step=0.5)
    assert "onclick" not in card_html(card)
    html = card_html(replace(card, player="video.mp4"))
    assert html.count("v.currentTime=1.000") == 2 and html.count("end=2.500") == 2  # the bar and the time in the text
    assert "v.currentTime=4.500*" in html  # a place on the curve
