"""Questions that are asked while the video still runs."""

import random
from dataclasses import replace

import pytest
import torch
from small import clip, model, text

from d2vlm_lab.config import RunConfig, read_config
from d2vlm_lab.data.batch import IGNORE, collate, encode_prompt
from d2vlm_lab.data.groups import Collator, Groups
from d2vlm_lab.data.live.early import asked_early, can_stand, standing
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.learning.fpo import Preferences
from d2vlm_lab.settings import override

EVENT = Event(1.0, 3.0, "it spins")


def sample(number=0, events=(EVENT,), **fields):
    answer = ("It happens in ", 0, ".") if events else ("That does not happen.",)
    return Sample(f"s{number}", "v", 6.0, "tvg", "world", "when does it spin?", tuple(events), answer, **fields)


def groups(net, samples, rejects=None, ask_early=0.0):
    return Groups([samples], lambda _: clip(12), net.tokenizer, net.prompt, net.method, rejects, ask_early=ask_early)


def test_an_early_question_comes_after_its_event_has_begun_and_the_event_ends_then():
    net = model(frame_block=2)
    shown, rng, ends = clip(12), random.Random(0), set()
    whole = text(net, shown, events=((1.0, 3.0),))  # frames 2 to 6
    for _ in range(200):
        early = asked_early(whole, shown, rng)
        assert early.ids == whole.ids and 4 <= early.asked <= 12
        assert set(early.intervals) == {(2.0, min(6.0, early.asked - 1.0))}
        ends.add(early.asked)
    assert ends == set(range(4, 13))
    assert asked_early(text(net, shown, events=()), shown, rng).asked >= 2
    last = text(net, shown, events=((5.5, 5.5),))
    assert asked_early(last, shown, rng).asked == 12 and asked_early(last, shown, rng).intervals == last.intervals


def test_a_standing_question_has_no_answer_and_waits_for_all_its_events():
    net = model(frame_block=2)
    shown = clip(12)
    answered = text(net, shown, events=((1.0, 2.0), (4.0, 5.0)))
    prompt = encode_prompt("when?", (), shown, net.tokenizer, net.prompt)
    waiting = standing(answered, prompt)
    assert waiting.standing == ((2.0, 4.0), (8.0, 10.0)) and waiting.ids == prompt.ids and waiting.asked == 0
    assert all(label == IGNORE for label in waiting.labels)
    assert can_stand(sample()) and not can_stand(sample(question_intervals=((0.0, 1.0),)))
    assert not can_stand(sample(options=("a", "b")))


def test_groups_ask_early_and_let_questions_stand_the_same_way_each_time_and_another_way_in_the_next_epoch():
    net = model(frame_block=2, standing_weight=1.0)
    made = groups(net, [sample(n) for n in range(4)], ask_early=0.8)
    first = made[0].group
    assert [each.standing is not None for each in first.texts] == [False, True] * 4
    assert first.names == tuple(f"s{n}" for n in range(4) for _ in range(2))
    assert {each.asked for each in first.texts[1::2]} == {0} and len({each.asked for each in first.texts[::2]}) > 1
    assert made[0].group.texts == first.texts
    made.epoch = 1
    assert made[0].group.texts != first.texts
    plain = groups(model(), [sample()])[0].group.texts
    assert [(each.asked, each.standing) for each in plain] == [(None, None)]


def test_a_question_about_what_never_happens_stands_for_nothing():
    net = model(frame_block=2, standing_weight=1.0)
    group = groups(net, [sample(events=())])[0].group
    batch = collate([group.clip], [group.texts], net.tokenizer, net.prompt)
    loss = net(batch).parts["standing"]
    assert batch.standing.interval.max() < -1e5
    with torch.no_grad():
        net.frame_head[-1].bias.zero_()
        net.frame_head[-1].weight.zero_()
    torch.testing.assert_close(net(batch).parts["standing"].detach(), torch.tensor(2.0).log()), "p is one half anywhere"
    assert loss > 0


def test_rejected_answers_stand_beside_standing_questions():
    net = model(frame_block=2, standing_weight=1.0)
    wrong = replace(sample(), events=(Event(4.0, 5.0, "it spins"),))
    loaded = groups(net, [sample(), sample(1)], lambda each: [(wrong, "when")], ask_early=1.0)[0]
    assert loaded.group.preferred == (0, 0, 2, 3, 3, 5) and loaded.group.factors == ("", "when", "") * 2
    batch = Collator(net.tokenizer, net.prompt)([loaded])["batch"]
    assert batch.supervised.tolist() == [True, False, True] * 2
    preferences = Preferences(read_config("tiny", {"preference.form": "fpo"}).preference, net)
    out, _ = preferences(net, batch, net(batch))
    assert out.loss.isfinite() and {"standing", "preference"} <= set(out.parts)


@pytest.mark.parametrize("changes, named", [
    ({"data.ask_early": 0.5}, "data.ask_early: .* set method.frame_block"),
    ({"method.standing_weight": 1.0}, "method.standing_weight: .* set method.frame_block"),
    ({"method.standing_weight": 1.0, "method.frame_block": 2, "method.formulation": "softmax"}, "found softmax"),
    ({"method.frame_block": 2, "method.bidirectional_frames": False}, "there are no blocks"),
    ({"method.frame_block": 0}, "frame_block"),
    ({"method.standing_weight": 1.0, "method.frame_block": 2, "method.style": "time_tokens"}, "found .* time_tokens"),
    ({"method.frame_block": 2, "data.ask_early": 0.5, "method.style": "digits"}, "not seen yet"),
    ({"method.frame_block": 2, "data.ask_early": 0.5, "method.style": "time_tokens"}, "not seen yet"),
    ({"method.frame_block": 2, "data.ask_early": 0.5, "preference.form": "fpo"}, "fpo .* whole videos only"),
    ({"method.frame_block": 2, "data.ask_early": 0.5, "reward.form": "grpo"}, "whole videos only")])
def test_settings_that_do_not_go_together_are_refused(changes, named):
    with pytest.raises(LabError, match=named):
        override(RunConfig(), changes)
