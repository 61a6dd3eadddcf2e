"""Three ways to read a batch, the same states; and what may look at what."""

from dataclasses import replace

import pytest
import torch
from small import clip, language, mixed, model, text

from d2vlm_lab.data.batch import collate
from d2vlm_lab.data.branches import find_branches
from d2vlm_lab.errors import LabError
from d2vlm_lab.model import passes

LIMIT = 80  # positions


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


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_positions_that_turn_all_tokens_differently_in_longer_texts_are_an_error_there(kind):
    """Such rotary embeddings look at how long a text is, and the keys of the frames are kept before that is known."""
    net = model()
    net.language = language(max_position_embeddings=LIMIT if kind == "dynamic" else 4 * LIMIT, rope_parameters={
        "rope_type": kind, "rope_theta": 10_000.0, "factor": 4.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
        "original_max_position_embeddings": LIMIT})
    short, long = (answers_to_one_question(net) if n == 0 else
                   collate([clip(90)], [[text(net, clip(90))]], net.tokenizer, net.prompt) for n in (0, 1))
    one, two = (read(net, way, short) for way in (passes.one_pass, passes.two_passes))
    torch.testing.assert_close(one.last[short.mask], two.last[short.mask], atol=1e-4, rtol=1e-4)
    with pytest.raises(LabError, match=f"positions, but this language model .* up to {LIMIT} only; use fewer frames"):
        net(long)


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


@pytest.mark.parametrize("per_frame", [1, 2])
@pytest.mark.parametrize("block", [1, 3, 5, 100])
def test_frames_look_at_their_own_block_and_at_earlier_ones(block, per_frame):
    net = model(per_frame, frame_block=block)
    batch = mixed(net)[2]
    prefix, start = net.read(batch), batch.before_ids.shape[1]
    for attend, features in zip(prefix.attend, batch.features):
        tokens = len(features) * per_frame
        blocks = torch.arange(tokens) // (block * per_frame)
        assert attend[start:start + tokens, start:start + tokens].equal(blocks[:, None] >= blocks)


@pytest.mark.parametrize("block", [1, 3])
def test_frames_of_a_block_do_not_depend_on_later_blocks(block):
    net = model(frame_block=block)
    whole, part = clip(12, 1), clip(12, 1)
    part = replace(part, features=part.features[:6], timestamps=part.timestamps[:6])
    read = [net.read(collate([each], [[text(net, each)]], net.tokenizer, net.prompt)) for each in (whole, part)]
    for name in ("meaning", "frame_states"):
        torch.testing.assert_close(getattr(read[0], name)[:, :6], getattr(read[1], name), atol=1e-5, rtol=1e-5)


def test_a_shortened_decoder_gives_the_same_states_up_to_its_layer_and_is_whole_again():
    net = model()
    embeddings = net.embed_words(torch.arange(7)[None])
    mask = torch.ones(1, 7, dtype=torch.bool)
    given = net.language, embeddings, passes.causal(mask), passes.position_ids_of(mask)
    whole, part = passes.decode(*given), passes.decode(*given, up_to=2)
    assert len(whole) == 5 and len(part) == 4
    assert all(torch.equal(whole[layer], part[layer]) for layer in range(3))
    assert len(net.language.get_decoder().layers) == 4
