"""Three ways to read a batch, the same states; and what may look at what."""

from dataclasses import replace

import pytest
import torch
from small import clip, mixed, model, text

from d2vlm_lab.data.batch import collate
from d2vlm_lab.data.branches import find_branches
from d2vlm_lab.model import passes


def answers_to_one_question(net):
    clips = [clip(12, 1), clip(7, 2)]
    texts = [[text(net, clips[0], "what?"), text(net, clips[0], "what?", ((0, 2), (3, 3.5)))],
             [text(net, clips[1], "when does it spin?"), text(net, clips[1], "when does it spin?", ((0, 2),))]]
    batch = collate(clips, texts, net.tokenizer, net.prompt)
    return replace(batch, preferred=torch.tensor([0, 0, 2, 2]), factors=["", "which", "", "when"])


@torch.no_grad()
def read(net, way, batch):
    prefix = net.read(batch)
    return way(net.language, batch, prefix, net.embed(batch, prefix))


def test_all_passes_return_the_same_states(monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.branches.MIN_SPARED", 0)
    net = model()
    batch = answers_to_one_question(net)
    branches = find_branches(batch)
    expected = read(net, passes.one_pass, batch)
    for way in (passes.two_passes, lambda *given: passes.branching_pass(*given, branches)):
        states = read(net, way, batch)
        for name in ("head", "last"):
            torch.testing.assert_close(getattr(states, name)[batch.mask], getattr(expected, name)[batch.mask],
                                       atol=1e-4, rtol=1e-4)
        for n, video in enumerate(batch.video):
            frames = slice(0, len(batch.features[video]))
            torch.testing.assert_close(states.frames[states.frames_row[n], frames],
                                       expected.frames[expected.frames_row[n], frames], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_frames_look_at_the_start_and_at_frames_that_exist(bidirectional):
    net = model(bidirectional_frames=bidirectional)
    batch = mixed(net)[2]
    prefix, start = net.read(batch), batch.before_ids.shape[1]
    n_frames = [len(features) for features in batch.features]
    for attend, frames in zip(prefix.attend, n_frames):
        assert attend[start:start + frames, :start].all()
        assert attend[:start].tril().equal(attend[:start]) and not attend[:start, start:].any()
        assert bool(attend[start, start + frames - 1]) is bidirectional
        assert not attend[:start + frames, start + frames:].any()


def test_a_shortened_decoder_gives_the_same_states_up_to_its_layer_and_is_whole_again():
    net = model()
    embeddings = net.embed_words(torch.arange(7)[None])
    mask = torch.ones(1, 7, dtype=torch.bool)
    given = net.language, embeddings, passes.causal(mask), passes.positions(mask)
    whole, part = passes.decode(*given), passes.decode(*given, up_to=2)
    assert len(whole) == 5 and len(part) == 4
    assert all(torch.equal(whole[layer], part[layer]) for layer in range(3))
    assert len(net.language.get_decoder().layers) == 4
