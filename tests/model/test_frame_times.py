"""Four ways for frames to carry their time; each gives the same numbers whichever way a batch is computed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from interruption import train_until_interrupted
from safetensors.torch import save_file
from small import clip, mixed, model, tiny_model

from d2vlm_lab.config import read_config
from d2vlm_lab.data import clock
from d2vlm_lab.data.batch import FRAME, Clip, PromptFormat, collate, encode_prompt, prefix_size
from d2vlm_lab.data.clock import draw_times, lettering
from d2vlm_lab.data.features import FeatureCache
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.data.pruning import prune
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.data.video import read_frames, write_frames
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.predict import Pending
from d2vlm_lab.lab.run import dry_run, train
from d2vlm_lab.learning.drawn import drawn_batch, prompts_of, read_drawn, truths_of
from d2vlm_lab.learning.grpo import Words
from d2vlm_lab.model.checkpoint import fill, load, save
from d2vlm_lab.model.decoding import Decoding, generate
from d2vlm_lab.model.drawing import draw_answers
from d2vlm_lab.model.encoder import start_encoder
from d2vlm_lab.settings import from_dict

WAYS = ("off", "text", "embedding", "drawn")


def told(way, **changes):
    """A small model in which the embedding of times is not zero any more."""
    net = model(frame_times=way, **changes).eval()
    if net.time_embedding is not None:
        torch.nn.init.normal_(net.time_embedding.linear.weight, generator=torch.Generator().manual_seed(5))
    return net


def same(one, other, rows=slice(None)):
    for name in ("logits", "similarity", "evidence"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name)[rows], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tokens_per_frame", [1, 3])
@pytest.mark.parametrize("way", WAYS)
def test_one_pass_two_passes_the_faster_form_and_a_video_alone_agree(way, tokens_per_frame):
    net = told(way, tokens_per_frame=tokens_per_frame)
    clips, texts, batch = mixed(net)
    with torch.no_grad():
        faster = net(batch)
        net.fast = False
        one = net(batch)
        net.two_pass = True
        two = net(batch)
        net.two_pass, net.fast = False, True
        alone = net(collate(clips[:1], texts[:1], net.tokenizer, net.prompt))
    same(faster, one)
    same(one, two)
    torch.testing.assert_close(alone.logits, one.logits[:len(alone.logits)], atol=1e-4, rtol=1e-4)
    n_frames = alone.similarity.shape[-1]
    torch.testing.assert_close(alone.similarity, one.similarity[:len(alone.similarity), :n_frames], atol=1e-4,
                               rtol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_one_pass_and_two_passes_have_the_same_gradients(way):
    net, grads = told(way), []
    _, _, batch = mixed(net)
    for two_pass in (False, True):
        net.two_pass = two_pass
        net.zero_grad()
        net(batch).loss.backward()
        grads.append({name: value.grad.clone() for name, value in net.named_parameters() if value.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    assert any(name.startswith("time_embedding.") for name in grads[0]) == (way == "embedding")
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_is_what_the_forward_pass_predicts_and_a_batch_writes_what_each_writes_alone(way):
    net = told(way, semantics="off")
    clips = [clip(6, 1), clip(4, 2)]
    prompts = [[encode_prompt(q, (), each, net.tokenizer, net.prompt) for q in ("when?", "what is seen here?")]
               for each in clips]
    decoding = Decoding(max_new_tokens=8)
    together = generate(net, clips, prompts, decoding)
    alone = [generate(net, [each], [[prompt]], decoding)[0] for each, group in zip(clips, prompts) for prompt in group]
    assert [answer.ids for answer in together] == [answer.ids for answer in alone]
    net.fast = False
    assert [answer.ids for answer in together] == [answer.ids for answer in generate(net, clips, prompts, decoding)]
    prompt = prompts[1][0]
    written = replace(prompt, ids=prompt.ids + list(together[2].ids), labels=prompt.labels + list(together[2].ids))
    with torch.no_grad():
        logits = net(collate([clips[1]], [[written]], net.tokenizer, net.prompt)).logits
    assert logits.argmax(-1).tolist() == list(together[2].ids)


@pytest.mark.parametrize("way", ["off", "text", "embedding"])
def test_the_time_reaches_the_language_model_and_only_if_it_is_told(way):
    net, shown = told(way), clip(6)
    later = replace(shown, timestamps=shown.timestamps + 40)
    outs = []
    for each in (shown, later):
        prompt = encode_prompt("when?", (), each, net.tokenizer, net.prompt)
        batch = collate([each], [[prompt]], net.tokenizer, net.prompt)
        with torch.no_grad():
            outs.append(net.read(batch).frame_states)
    assert torch.equal(*outs) == (way == "off")


def test_words_stand_before_each_frame_and_the_heads_read_the_frames_alone():
    net, shown = told("text", tokens_per_frame=2), Clip(clip(3).features, np.array([0.0, 3.5, 12.25]))
    assert net.prompt.around_frame == "{seconds:.1f} s{frame}"
    prompt = encode_prompt("when?", (), shown, net.tokenizer, net.prompt)
    batch = collate([shown], [[prompt]], net.tokenizer, net.prompt)
    words = ["[F]" if token == FRAME else net.tokenizer.decode([token]) for token in batch.layout[0][0].tolist()]
    assert "".join(words) == "0.0 s[F]3.5 s[F]12.2 s[F]"
    with torch.no_grad():
        prefix = net.read(batch)
        frames = net.frames.project(shown.features).unflatten(0, (3, 2)).mean(1)
    torch.testing.assert_close(prefix.projected[0], frames)
    assert prefix.frame_mask.tolist() == [[True] * 3]
    assert prefix.mask.shape[1] == len(batch.before_ids[0]) + len(words) + 3  # two tokens for each [F]


def test_tokens_that_were_projected_before_get_the_same_embedding():
    net, shown = told("embedding", tokens_per_frame=3), clip(5)
    before = Clip(net.frames.project(shown.features).detach(), shown.timestamps, projected=True)
    states = []
    for each in (shown, before):
        prompt = encode_prompt("when?", (), each, net.tokenizer, net.prompt)
        with torch.no_grad():
            states.append(net.read(collate([each], [[prompt]], net.tokenizer, net.prompt)).frame_states)
    torch.testing.assert_close(*states)


def test_a_dry_run_shows_the_words_around_the_frames(world, capsys):
    assert "watch:0.0 s<frame>0.5 s<frame> ... question:" in " ".join(dry_run(quick(world, "text")).split())
    assert "watch:<frames>" in dry_run(quick(world, "embedding"))


def test_frames_that_are_left_after_pruning_keep_their_own_times():
    net, shown = told("text"), prune(clip(9, fps=1.0), 3)
    batch = collate([shown], [[encode_prompt("when?", (), shown, net.tokenizer, net.prompt)]], net.tokenizer,
                    net.prompt)
    assert net.tokenizer.decode([token for token in batch.layout[0][0].tolist() if token != FRAME]) == "0.0 s4.0 s8.0 s"


def test_an_embedding_of_times_begins_as_nothing_and_tells_seconds_and_hours_apart():
    off, zero = model().eval(), model(frame_times="embedding").eval()
    zero.load_state_dict(off.state_dict(), strict=False)
    with torch.no_grad():
        same(off(mixed(off)[2]), zero(mixed(zero)[2]))
        told_apart = told("embedding").time_embedding(torch.tensor([0.0, 0.5, 1.0, 7200.0, 7200.5]))
    distance = torch.cdist(told_apart, told_apart) + 99 * torch.eye(5)
    assert told_apart.dtype == torch.float32 and distance.min() > 1


def test_questions_answered_together_are_counted_with_the_words_between_their_frames(monkeypatch):
    net, shown = told("text"), clip(10)
    assert prefix_size(shown.timestamps, 2, net.tokenizer, net.prompt) == 10 * (2 + len("4.5 s"))
    assert prefix_size(shown.timestamps, 2, net.tokenizer, told("off").prompt) == 20
    monkeypatch.setattr("d2vlm_lab.judging.predict.FRAME_TOKENS", 100)
    fits = {}
    for way in ("off", "text"):
        pending = Pending(told(way), 100)
        pending.add([None], shown)
        fits[way] = pending.fits([None], shown)
    assert fits == {"off": True, "text": False}


def test_drawn_answers_have_the_probability_with_which_they_are_learned():
    net = told("text")
    _, _, batch = mixed(net)
    batch = replace(batch, names=[str(n) for n in range(len(batch.ids))])
    drawn, truths = draw_answers(net, prompts_of(net, batch), batch.names, 2, 10), truths_of(net, batch)
    answers = [read_drawn(net, one, truths[n // 2]) for n, one in enumerate(drawn)]
    selected = drawn_batch(net, batch, answers, range(len(batch.ids)), with_truth=False)
    with torch.no_grad():
        words = Words.of(net(selected.batch), selected)
    total = torch.zeros(len(answers)).index_add(0, words.answer, words.log_p)
    torch.testing.assert_close(total, torch.tensor([answer.log_p for answer in answers]), atol=1e-3, rtol=1e-4)


# Drawn on the picture.

def read_clock(frame):
    """The text that is drawn on a frame, by trying every digit at its place."""
    size = clock.dot_size(*frame.shape[:2])
    dots, text, column = frame[::size, ::size, 0] > 127, "", 0
    while True:
        fits = [digit for digit in clock.FONT
                if np.array_equal(lettering(digit)[1:6, 1:], dots[1:6, column + 1:column + lettering(digit).shape[1]])]
        if not fits:
            return text
        text += fits[0]
        column += lettering(fits[0]).shape[1] - 1


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (64, 96), (224, 224), (384, 384)])
def test_a_drawn_time_can_be_read_at_every_size_and_covers_only_a_corner(size):
    rng, times = np.random.default_rng(0), np.array([0.0, 3.5, 12.26, 987.6, 4012.0])
    plain = rng.integers(0, 90, (5, *size, 3)).astype(np.uint8)
    frames = plain.copy()
    draw_times(frames, times)
    assert [read_clock(frame) for frame in frames] == ["0.0", "3.5", "12.3", "987.6", "4012.0"]
    changed = (frames != plain).any((0, 3))
    assert changed.any() and not changed[size[0] // 3:].any()


def test_a_clock_is_cut_off_and_not_an_error_where_a_picture_is_smaller_than_it():
    frames = np.full((1, 8, 8, 3), 90, np.uint8)
    draw_times(frames, np.array([123.4]))
    assert set(np.unique(frames)) == {0, 90, 255}


@pytest.fixture
def film(tmp_path):
    write_frames(tmp_path / "film.mp4", np.full((40, 64, 64, 3), 120, np.uint8), 4)
    return tmp_path / "film.mp4"


def test_the_reader_of_videos_draws_the_time_at_which_each_frame_is_shown(film):
    video = read_frames(film, 2.0, clock=True)
    assert [read_clock(frame) for frame in video.frames] == [f"{t:.1f}" for t in video.timestamps]
    assert np.array_equal(read_frames(film, 2.0).frames[0, 20:], video.frames[0, 20:])


def test_kept_features_of_pictures_with_and_without_times_are_never_mixed(film, tmp_path):
    def look(frames):
        return frames.float().mean(-1)

    plain, drawn = (FeatureCache(tmp_path / "cache", "encoder", 2.0, Preparation(64, clock=on)) for on in (False, True))
    assert plain.folder != drawn.folder
    with_times, without = drawn.get(film, look)[0], plain.get(film, look)[0]
    assert np.abs(with_times - without).max() > 50 and np.array_equal(drawn.get(film, look)[0], with_times)
    expected = look(torch.from_numpy(read_frames(film, 2.0, clock=True).frames))
    assert np.array_equal(with_times, expected.numpy())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("times")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 10, "seed": 5}), workers=1)
    return folder / "world"


def quick(world, way, *more):
    return read_config("tiny", [
        "parts.start=data/tiny-sft", "training.steps=3", "training.videos=2", "training.log_every=1",
        "training.eval_every=3", "training.save_every=1", "evaluation.samples=2", "evaluation.tasks=[tvg]",
        "evaluation.max_new_tokens=20", f"data.world={world}", f"method.frame_times={way}", *more])


@pytest.mark.parametrize("way", ["off", "drawn"])
def test_features_that_are_kept_are_those_that_are_made_anew(world, way):
    encoder = start_encoder(quick(world, way))
    config, anew = quick(world, way), quick(world, way, "data.cache=off")
    split, _ = splits(config)
    sample = split.samples[0]
    kept, fresh = (reader(each, encoder, split.videos)(sample) for each in (config, anew))
    torch.testing.assert_close(kept.features, encoder.encode(fresh.features), atol=1e-6, rtol=1e-5)
    shown = [read_clock(frame) for frame in fresh.features.numpy()]
    assert (shown == [f"{t:.1f}" for t in fresh.timestamps]) == (way == "drawn")


# In checkpoints and runs.

@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_carries_the_way_and_one_of_before_can_start_each(tmp_path, way):
    before = load("data/tiny-sft")
    assert before.method.frame_times == "off"
    started = load("data/tiny-sft", replace(before.method, frame_times=way))
    if started.time_embedding is not None:
        torch.nn.init.normal_(started.time_embedding.linear.weight)
    again = load(save(started, tmp_path / "model"))
    assert again.method.frame_times == way and again.prompt == started.prompt
    assert again.prompt.tells_times == (way == "text") and again.frames.preparation.clock == (way == "drawn")
    assert all(torch.equal(value, started.state_dict()[name]) for name, value in again.state_dict().items())
    back = load(tmp_path / "model", before.method)  # the way may be left again
    assert back.prompt == before.prompt and not back.frames.preparation.clock and back.time_embedding is None
    assert back.state_dict().keys() == before.state_dict().keys()


def test_a_checkpoint_of_before_that_told_times_in_words_still_does(tmp_path):
    form = PromptFormat("watch: ", "\n{question}", "<end>", "<{seconds:.1f} seconds>{frame}")
    old = tiny_model()
    old.prompt = form
    save(old, tmp_path / "model")
    path = tmp_path / "model" / "d2vlm.json"
    description = json.loads(path.read_text())
    del description["method"]["frame_times"], description["prompt"]["time"], description["hashes"]
    path.write_text(json.dumps(description))
    again = load(tmp_path / "model")
    assert again.method.frame_times == "text" and again.prompt.around_frame == form.around_frame


def test_a_damaged_checkpoint_without_a_part_of_its_embedding_is_refused(tmp_path):
    net = told("embedding")
    tensors = {name: value.contiguous() for name, value in net.state_dict().items()}
    del tensors["time_embedding.linear.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(LabError, match="1 tensors .* missing, such as time_embedding.linear.bias"):
        fill(net, tmp_path, whole=False)


@pytest.mark.parametrize("way", ["text", "embedding", "drawn"])
def test_a_run_trains_with_each_way_and_goes_on_exactly_where_it_was_interrupted(world, tmp_path, monkeypatch, way):
    config = quick(world, way)
    whole = train(config, tmp_path / "whole", str)
    assert load(tmp_path / "whole" / "model").method.frame_times == way
    train_until_interrupted(config, tmp_path / "interrupted", monkeypatch)
    assert train(config, tmp_path / "interrupted", str)["checkpoint"] == whole["checkpoint"]
    if way == "embedding":
        moved = load(tmp_path / "whole" / "model").time_embedding.linear.weight
        assert moved.abs().max() > 0 and moved.dtype == torch.float32
