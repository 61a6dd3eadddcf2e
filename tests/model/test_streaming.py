"""A video that is read while it runs is read as the whole video would be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import WORDS, LinearFrames, clip, model, text, tiny_model

from d2vlm_lab.data.batch import Clip, PromptFormat, collate, encode_prompt
from d2vlm_lab.data.clock import draw_times
from d2vlm_lab.data.live.sources import TimedFrame
from d2vlm_lab.errors import LabError
from d2vlm_lab.model import passes
from d2vlm_lab.model.decoding import Decoding, generate
from d2vlm_lab.model.streaming.memory import Memory, forget
from d2vlm_lab.model.streaming.standing import StandingQuestion
from d2vlm_lab.model.streaming.stream import Stream, extended, start
from d2vlm_lab.model.towers.tiny import TinyFrames

FPS = 2.0
SAME = {"atol": 2e-5, "rtol": 2e-5}


def pictures(n, seed=0, size=16):
    rng = np.random.default_rng(seed)
    return [TimedFrame(k, k / FPS, rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for k in range(n)]


def tiny(**method):
    net = tiny_model(TinyFrames(WORDS, width=32, features=16, channels=8, size=16)).eval()
    net.method = replace(net.method, **method)
    return net


def whole(net, frames):
    """What a model makes of all frames at once."""
    seen = torch.from_numpy(np.stack([net.frames.preparation.frames(frame.pixels[None])[0] for frame in frames]))
    return Clip(net.frames.encode(seen), np.array([frame.seconds for frame in frames]))


def streamed(net, frames, memory=None, end=True):
    stream = Stream(net, memory)
    blocks = [block for frame in frames if (block := stream.add(frame)) is not None]
    return stream, blocks + (stream.end() if end else [])


@torch.no_grad()
def read(net, shown):
    return net.read(collate([shown], [[text(net, shown)]], net.tokenizer, net.prompt))


@pytest.mark.parametrize("switch", [{"bidirectional_frames": False}, {"frame_block": 1}, {"frame_block": 3},
                                    {"frame_block": 50}])
def test_streamed_and_whole_give_the_same_states(switch):
    net, frames = tiny(**switch), pictures(17)
    prefix, (stream, blocks) = read(net, whole(net, frames)), streamed(net, frames)
    assert stream.waiting == []
    torch.testing.assert_close(stream.kept.states, prefix.frame_states[0], **SAME)
    torch.testing.assert_close(torch.cat([block.states for block in blocks]), prefix.frame_states[0], **SAME)
    torch.testing.assert_close(stream.kept.meaning, prefix.meaning[0], **SAME)
    torch.testing.assert_close(stream.kept.projected, prefix.projected[0], **SAME)
    for kept, expected in zip(stream.kept.cache.layers, prefix.cache.layers, strict=True):
        torch.testing.assert_close(kept.keys, expected.keys, **SAME)
        torch.testing.assert_close(kept.values, expected.values, **SAME)


@pytest.mark.parametrize("prompt", [PromptFormat("", " {question}", "<end>"),
                                    PromptFormat("watch: ", " {question}", "<end>", "<{seconds:.1f} s>{frame}")])
@pytest.mark.parametrize("per_frame", [1, 2])
def test_frames_of_several_tokens_with_their_times_in_words(per_frame, prompt):
    net = model(per_frame, prompt, frame_block=4).eval()
    frames = pictures(10)
    prefix, (stream, _) = read(net, whole(net, frames)), streamed(net, frames)
    torch.testing.assert_close(stream.kept.states, prefix.frame_states[0], **SAME)
    assert stream.kept.frame.max() == 9 and stream.kept.position_ids.equal(prefix.position_ids)


@pytest.mark.parametrize("way", ["text", "embedding", "drawn"])
def test_frames_that_carry_their_time(way):
    net, frames = model(1, frame_block=4, frame_times=way).eval(), pictures(10, size=32)
    if way == "embedding":
        torch.nn.init.normal_(net.time_embedding.linear.weight, generator=torch.Generator().manual_seed(5))
    seen = whole(net, frames)
    if way == "drawn":
        drawn = net.frames.preparation.frames(np.stack([frame.pixels for frame in frames])).copy()
        draw_times(drawn, seen.timestamps)
        seen = replace(seen, features=net.frames.encode(torch.from_numpy(drawn)))
    prefix, (stream, _) = read(net, seen), streamed(net, frames)
    torch.testing.assert_close(stream.kept.states, prefix.frame_states[0], **SAME)
    plain = whole(net, [replace(frame, seconds=0.0) for frame in frames])
    assert not torch.allclose(read(net, plain).frame_states[0], prefix.frame_states[0], atol=1e-3)


def test_each_frame_goes_through_tower_and_language_model_once():
    net, frames = tiny(frame_block=3), pictures(14)
    tower, tokens = [], []
    net.frames.look.register_forward_pre_hook(lambda module, given: tower.append(len(given[0])))
    net.language.get_decoder().layers[0].register_forward_pre_hook(
        lambda module, given: tokens.append(given[0].shape[1]))
    stream, _ = streamed(net, frames)
    assert sum(tower) == 14 and sum(tokens[1:]) == 14, "the first call reads the start of the prompt"
    stream.so_far()
    assert sum(tower) == 14, "nothing waits any more"


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("n", [1, 5, 8, 11])
def test_a_question_asked_now_is_answered_as_about_a_video_that_ends_now(n, block):
    net, frames = tiny(frame_block=block), pictures(16)
    stream, _ = streamed(net, frames[:n], end=False)
    kept, so_far = stream.so_far(), whole(net, frames[:n])
    prompt = encode_prompt("when does the red disc spin?", (), so_far, net.tokenizer, net.prompt)
    decoding = Decoding(max_new_tokens=12)
    live, = generate(net, [Clip(kept.projected, kept.timestamps, True)], [[prompt]], decoding, prefix=kept.prefix())
    offline, = generate(net, [so_far], [[prompt]], decoding)
    assert live.ids == offline.ids
    for one, other in zip(live.evidence, offline.evidence, strict=True):
        assert one.frames == other.frames and one.interval == other.interval
        np.testing.assert_allclose(one.curve, other.curve, atol=1e-5)
    # The stream goes on as if nothing had been asked.
    for frame in frames[n:]:
        stream.add(frame)
    stream.end()
    torch.testing.assert_close(stream.kept.states, read(net, whole(net, frames)).frame_states[0], **SAME)


@pytest.mark.parametrize("times", ["off", "text"])
def test_answers_that_see_no_frame_see_none_in_a_stream_either(times):
    net = model(answer_view="evidence", frame_times=times, frame_block=4).eval()
    frames = pictures(10)
    seen, (stream, _) = whole(net, frames), streamed(net, frames)
    kept, prompt = stream.kept, encode_prompt("what happens here?", (), seen, net.tokenizer, net.prompt)
    assert kept.prefix().hidden.equal(read(net, seen).hidden)
    live, = generate(net, [kept.clip()], [[prompt]], Decoding(12), prefix=kept.prefix())
    offline, = generate(net, [seen], [[prompt]], Decoding(12))
    assert live.ids == offline.ids
    few = forget(kept, Memory(frames=3)).prefix()
    assert few.hidden.sum() == few.mask.sum() - kept.seen and kept.seen == len(net.tokenizer.encode("watch: "))


@torch.no_grad()
def with_mask(net, shown, attend):
    """What the frame head reads where each token looks at what it may by (P, P) `attend`."""
    prefix = read(net, shown)
    layers = passes.decode(net.language, prefix.embeddings, attend[None], prefix.position_ids)
    return passes.pool_frames(layers[passes.HEAD_LAYER], prefix.columns)[0]


@pytest.mark.parametrize("block, sinks", [(1, 0), (3, 0), (3, 4), (1, 2)])
def test_a_bounded_stream_is_the_whole_video_with_a_window(block, sinks):
    """A block sees the start, the sinks, itself, and what is at most 4 s older than the block before it."""
    net, frames = tiny(frame_block=block), pictures(30)
    stream, blocks = streamed(net, frames, Memory(seconds=4.0, sinks=sinks))
    begun = len(net.tokenizer.encode(net.prompt.before))
    attend = torch.ones(begun + 30, begun + 30, dtype=torch.bool).tril()
    for k in range(30):
        first = k // block * block
        oldest = (first - 1) / FPS - 4.0
        sees = [j < first + block and (j < sinks or j / FPS >= oldest) for j in range(30)]
        attend[begun + k, begun:] = torch.tensor(sees)
    expected = with_mask(net, whole(net, frames), attend)
    torch.testing.assert_close(torch.cat([each.states for each in blocks]), expected, **SAME)
    assert stream.kept.index.tolist() == list(range(21, 30)), "4 s of 2 frames each, before the newest one"
    assert stream.kept.position_ids.shape[1] == begun + sinks + 9


@pytest.mark.parametrize("forgets", ["oldest", "change", "merge"])
def test_a_stream_of_an_hour_keeps_as_much_as_one_of_a_minute(forgets):
    net = model(frame_block=16).eval()
    kept, memory, sizes = start(net), Memory(frames=32, forget=forgets), []
    features = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for first in range(0, 3600, 16):
            frames = [TimedFrame(first + k, float(first + k), np.zeros(0)) for k in range(16)]
            kept = forget(extended(net, kept, features.roll(first // 16, 0), frames), memory)
            sizes.append((kept.position_ids.shape[1], kept.cache.layers[0].keys.shape[2], len(kept.states)))
    begun = start(net).next_position
    assert all(tokens == keys <= begun + 4 + 32 and frames <= 32 for tokens, keys, frames in sizes)
    assert sizes[-1][2] == 32
    assert kept.seconds[-1] >= 3584 and kept.weight.sum() == (3600 if forgets == "merge" else 32)
    for tensor in (kept.states, kept.meaning, *(layer.keys for layer in kept.cache.layers)):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, "no view holds what was forgotten"
        assert torch.isfinite(tensor).all()


def test_by_change_the_still_frames_are_forgotten_and_by_merging_they_become_one():
    net = model(frame_block=1).eval()
    still, moving = torch.zeros(1, 6), torch.eye(6)
    features = torch.cat([still, moving[:2], still, still, still, moving[2:4]])
    frames = [TimedFrame(k, k / FPS, np.zeros(0)) for k in range(8)]
    with torch.no_grad():
        kept = extended(net, start(net), features, frames)
    changed, together = (forget(kept, Memory(frames=6, forget=rule)) for rule in ("change", "merge"))
    assert changed.index.tolist() == [0, 1, 2, 3, 6, 7]
    assert together.index.tolist() == [0, 1, 2, 3, 6, 7] and together.weight.tolist() == [1, 1, 1, 3, 1, 1]
    tokens = [(kept.frame == n).nonzero()[0, 0] for n in (3, 4, 5)]
    mean = torch.stack([kept.cache.layers[1].keys[:, :, token] for token in tokens]).mean(0)
    token = (together.frame == 3).nonzero()[0, 0]
    torch.testing.assert_close(together.cache.layers[1].keys[:, :, token], mean)
    torch.testing.assert_close(together.meaning[3], kept.meaning[3:6].mean(0))
    assert kept.weight.sum() == 8 and len(kept.index) == 8, "what was kept before is as it was"


@pytest.mark.parametrize("block", [1, 2, 4])
def test_text_behind_a_frame_goes_and_is_merged_with_it(block):
    net = model(1, PromptFormat("w", "{question}", "<end>", "[{frame}]"), frame_block=block).eval()
    features = torch.tensor([[1.0, 0, 0, 0, 0, 0], [1.0, 0.01, 0, 0, 0, 0], [-1.0, 3, 0, 0, 0, 0], [0, 0, 5, -5, 0, 0]])
    kept = start(net)
    assert not kept.cache.layers[0].keys.requires_grad
    with torch.no_grad():
        for k in range(0, 4, block):
            frames = [TimedFrame(n, n / FPS, np.zeros(0)) for n in range(k, k + block)]
            kept = extended(net, kept, features[k:k + block], frames)
    assert kept.frame.tolist() == [-1, *[n for n in range(4) for _ in range(3)]]
    together = forget(kept, Memory(frames=3, forget="merge"))
    assert together.index.tolist() == [0, 2, 3] and together.frame.tolist() == kept.frame[:10].tolist()
    keys = kept.cache.layers[1].keys
    torch.testing.assert_close(together.cache.layers[1].keys[:, :, 1:4], (keys[:, :, 1:4] + keys[:, :, 4:7]) / 2)


def test_a_frame_of_another_size_is_stretched_to_the_size_of_the_others():
    net, frames = tiny(frame_block=2), pictures(6)
    wide = [replace(frame, pixels=np.repeat(frame.pixels, 2, 1)) for frame in frames[3:]]
    stream, blocks = streamed(net, [*frames[:3], *wide])
    assert sum(len(block.index) for block in blocks) == 6
    assert stream.newest.pixels.shape == (16, 16, 3)


def test_a_standing_question_is_compared_with_each_frame_once_and_its_curve_is_only_extended():
    net, frames = tiny(frame_block=2), pictures(20)
    everything = whole(net, frames)
    prompt = encode_prompt("when does the red disc spin?", (), everything, net.tokenizer, net.prompt)
    stream, standing, curves = Stream(net), StandingQuestion(net, "when?", prompt, start(net)), []
    for block in [each for frame in frames if (each := stream.add(frame)) is not None] + stream.end():
        standing.extend(block, 0.0)
        curves.append(list(standing.curve))
    assert all(longer[:len(shorter)] == shorter for shorter, longer in zip(curves, curves[1:]))
    # The same numbers as in training: a text that sees no frame, compared with all of them.
    batch = collate([everything], [[replace(prompt, asked=0, standing=())]], net.tokenizer, net.prompt)
    with torch.no_grad():
        prefix = net.read(batch)
        states = net.read_texts(batch, prefix, net.embed(batch, prefix))
        g = net.evidence_head(states.head[batch.standing.row, batch.standing.column])
        expected = net.compare(g, net.frame_head(prefix.frame_states), batch.video)[0].sigmoid()
    np.testing.assert_allclose(standing.curve, expected, atol=1e-5)


BINS = {"formulation": "bins", "consistency_weight": 0.0}  # a time is a part of what has been seen of the video
MARKED = PromptFormat("watch: ", "\nask: {question}\nsay:", "<end>", "<img>{frame}</img>")
TOLD_BEHIND = replace(MARKED, around_frame="{frame}{seconds:.1f};")


@pytest.mark.parametrize("prompt, method", [(None, {}), (None, BINS), (MARKED, {}), (TOLD_BEHIND, {})], ids=str)
@pytest.mark.parametrize("way", ["packed", "one", "two"])
def test_a_text_that_was_asked_early_does_not_see_later_frames(way, prompt, method):
    net = model(1, prompt, frame_block=3, **method)
    net.fast, net.two_pass = way == "packed", way == "two"
    shown = clip(12)
    asked = replace(text(net, shown, events=((0.5, 2.0),)), asked=6)
    short = Clip(shown.features[:6], shown.timestamps[:6])
    early, alone = (net(collate([each], [[written]], net.tokenizer, net.prompt))
                    for each, written in ((shown, asked), (short, replace(asked, asked=None))))
    torch.testing.assert_close(early.logits, alone.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(early.loss, alone.loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_all_passes_agree_on_early_and_standing_questions(padding):
    net = model(frame_block=3, standing_weight=10.0)
    shown = [clip(12, 1), clip(7, 2)]
    prompt = encode_prompt("tell me when", (), shown[0], net.tokenizer, net.prompt)
    texts = [[replace(text(net, shown[0]), asked=7), replace(prompt, asked=0, standing=((1.0, 2.0), (6.0, 8.5))),
              text(net, shown[0])], [replace(prompt, asked=3, standing=()), text(net, shown[1])]]
    batch = collate(shown, texts, net.tokenizer, net.prompt, padding=padding)
    parts = []
    for net.fast, net.two_pass in ((True, False), (False, False), (False, True)):
        net.zero_grad()
        out = net(batch)
        out.loss.backward()
        parts.append({name: value.detach() for name, value in out.parts.items()}
                     | {"gradient": net.evidence_head[1].weight.grad.clone()})
    for other in parts[1:]:
        torch.testing.assert_close(other, parts[0], atol=1e-4, rtol=1e-4)
    assert parts[0]["standing"] > 0


def test_what_cannot_be_read_while_it_runs_is_an_error():
    with pytest.raises(LabError, match="block=8"):
        Stream(tiny())
    net = tiny(frame_block=1)
    net.frames.reads_question = True
    with pytest.raises(LabError, match="reads the question"):
        Stream(net)
    for wrong in ({"seconds": -1.0}, {"frames": 1}, {"sinks": -1}, {"forget": "all"}):
        with pytest.raises(LabError, match="it "):
            Memory(**wrong)


def test_positions_that_are_used_up_are_an_error(monkeypatch):
    net = tiny(frame_block=1)
    monkeypatch.setattr("d2vlm_lab.model.backbone.FIXED", ())
    net.language.config.max_position_embeddings = 8
    with pytest.raises(LabError, match="8 positions"):
        streamed(net, pictures(20))


def test_the_linear_encoder_of_the_tests_sees_frames_by_themselves():
    assert LinearFrames.around == 0 and TinyFrames.around == 2
