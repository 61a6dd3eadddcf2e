"""The base: what it is taught is true, it never sees an interval, and its recipe gives it back."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import weights

from d2vlm_lab.cli import main
from d2vlm_lab.data.world import load as load_world
from d2vlm_lab.data.world.config import WorldConfig, from_preset
from d2vlm_lab.data.world.lessons import ALL, NOW, is_right, lessons, without_times
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.data.world.scene import Scene, SceneEvent, Thing
from d2vlm_lab.learning.clocks import Clocks, digits
from d2vlm_lab.learning.pretrain import BaseRecipe, assemble, pretrain
from d2vlm_lab.model.checkpoint import load
from d2vlm_lab.model.towers.tiny import TinyFrames
from d2vlm_lab.settings import from_dict

SCENE = Scene("v.mp4", "train", 2.0, 32, 64, (Thing("red", "disc"), Thing("blue", "square")),
              (SceneEvent(0, "spins", 4, 9), SceneEvent(1, "blinks", 15, 20), SceneEvent(0, "moves left", 24, 30)))


def taught(window, questions=(), n=500):
    rng = np.random.default_rng(0)
    asked = lessons(SCENE, window, questions, rng)
    return {(question, answer) for _, (_, question, answer) in zip(range(n), asked)}


def test_lessons_about_the_whole_video_are_true():
    pairs = taught((0, 31))
    assert (ALL, "the red disc spins, then the blue square blinks, then the red disc moves left.") in pairs
    assert ("what does the red disc do?", "it spins, then moves left.") in pairs
    assert ("what does the red disc do second?", "it moves left.") in pairs
    assert ("what happens second?", "the blue square blinks.") in pairs and ("what spins?", "the red disc.") in pairs
    assert ("does the blue square blink?", "yes") in pairs and ("does the blue square spin?", "no") in pairs
    assert ("what happens after the blue square blinks?", "the red disc moves left.") in pairs
    assert ("what happens after the red disc moves left?", "nothing.") in pairs


def test_lessons_about_a_cut_tell_only_what_is_in_it():
    pairs = taught((16, 18))
    assert (NOW, "the blue square blinks.") in pairs and ("what does the red disc do?", "nothing.") in pairs
    assert ("does the red disc spin?", "no") in pairs
    assert (NOW, "nothing.") in taught((11, 13))


def test_what_is_told_opens_with_what_the_question_names_in_any_order():
    questions = [("when does the red disc spin for the second time?", "The second time is in .")]
    answers = {answer for _, answer in taught((0, 31), questions) if answer.endswith("The second time is in .")}
    words = {tuple(sorted(answer.split(".")[0].split())) for answer in answers}
    assert words == {("disc", "red", "second", "spins")} and len(answers) > 5
    assert is_right("world", " spins disc red. It is in .", "red disc spins. It is in .")
    assert not is_right("world", "spins disc. It is in .", "red disc spins. It is in .")
    assert is_right("thing", " it spins.", "it spins.") and not is_right("thing", "spins it.", "it spins.")


def test_no_lesson_holds_a_time_or_an_evidence_token(base):
    folder, _ = base
    questions = [pair for pair in map(without_times, load_world(folder / "world").samples("train")) if pair]
    pairs = taught((0, 31), questions, 2000)
    assert len({question for question, _ in pairs} & {question for question, _ in questions}) > 20
    assert not {question for question, _ in taught((0, 30), questions)} & {"describe every event and when it happens."}
    assert not any(character.isdigit() or "<" in word for pair in pairs for word in pair for character in word)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 10}), workers=1)
    recipe = BaseRecipe(world=str(folder / "world"), out=str(folder / "a"), frame_steps=4, frame_videos=2,
                        language_steps=4, width=32, layers=2, features=16, channels=8, vocabulary=400)
    pretrain(recipe, str)
    return folder, recipe


def test_the_same_recipe_gives_the_same_weights(base):
    folder, recipe = base
    pretrain(BaseRecipe(**vars(recipe) | {"out": str(folder / "b")}), str)
    a, b = (weights(folder / name) for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a) and not load(folder / "a").can_ground


def test_a_base_of_before_is_made_bit_by_bit_without_clocks_and_another_one_with_them(base):
    folder, recipe = base
    pretrain(BaseRecipe(**vars(recipe) | {"out": str(folder / "c"), "clock": 0.5}), str)
    a, c = (weights(folder / name) for name in "ac")
    probe = "d2vlm.safetensors", "frames.probe.weight"
    assert a.keys() == c.keys() and not torch.equal(a[probe], c[probe])
    scores = json.loads((folder / "c" / "recipe.json").read_text())["scores"]
    assert {"frame action", "frame action, with a clock"} <= scores.keys()


def test_clocks_are_drawn_on_a_share_of_videos_and_their_digits_are_learned():
    torch.manual_seed(0)
    rng, times = np.random.default_rng(0), np.array([0.0, 9.5, 12.3])
    assert digits(times).tolist() == [[0, 0, 0], [0, 9, 5], [1, 2, 3]]
    videos = np.zeros((400, 3, 32, 32, 3), np.uint8)
    clocks = Clocks(4, 0.25)
    shown = clocks.draw(videos, times, rng)
    assert 70 < shown.sum() < 130 and np.array_equal(videos.any((1, 2, 3, 4)), shown.numpy())
    summary = torch.randn(1, 3, 4)
    optimizer = torch.optim.Adam(clocks.parameters(), 0.3)
    for _ in range(100):
        loss = clocks.loss(summary, times, torch.tensor([True]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 and clocks.loss(summary, times, torch.tensor([False])) == 0


def test_each_word_of_the_world_is_one_token_and_frames_begin_as_words(base):
    folder, _ = base
    model, world = load(folder / "a"), load_world(folder / "world")
    spelled = {word: len(model.tokenizer.encode(" " + word, add_special_tokens=False)) for word in world.words}
    assert set(spelled.values()) == {1}, spelled


def test_the_encoder_sees_motion_and_its_id_follows_its_frozen_weights():
    torch.manual_seed(0)
    net = TinyFrames(("red",), width=8, features=8, channels=4).eval()
    still = torch.zeros(5, 64, 64, 3, dtype=torch.uint8)
    moved = still.clone()
    moved[3, 20:30, 20:30] = 255
    features = net.encode(torch.stack([*still])), net.encode(moved)
    changed = (features[0] - features[1]).abs().amax(-1) > 1e-6
    assert changed.tolist() == [False, True, True, True, True]  # frame 0 is three frames away
    other = TinyFrames(("red",), width=8, features=8, channels=4)
    other.load_state_dict(net.state_dict())
    assert other.id == net.id
    again = TinyFrames(("red",), width=8, features=8, channels=4)
    assert again.id != net.id


def test_the_command_changes_its_usual_recipe_when_only_settings_are_given(tmp_path, capsys):
    assert main(["pretrain-base", f"world={tmp_path / 'no-such-world'}"]) == 2
    assert "no-such-world" in capsys.readouterr().err


@pytest.mark.parametrize("change, message", [
    ("channels=2", "channels is 2; it must be a multiple of 4"),
    ("width=12", "width is 12; it must be a multiple of 8"),
    ("semantic_layer=4", "semantic_layer is 4; the language model has 3 layers"),
    ("channels=100000", "from 1 to 4,096")])
def test_sizes_that_do_not_fit_each_other_are_named_before_anything_is_made(change, message, tmp_path, capsys):
    assert main(["pretrain-base", f"world={tmp_path / 'no-such-world'}", change]) == 2
    assert message in capsys.readouterr().err


def test_a_base_goes_on_from_another_one_whose_words_it_keeps(base, tmp_path):
    folder, recipe = base
    old = load(folder / "a")
    world = load_world(make_world(tmp_path / "w", from_preset("small", ["videos=10", "detailed=1"]), workers=1))
    frames = TinyFrames(world.words, recipe.width, recipe.features, recipe.channels)
    new = assemble(replace(recipe, start=str(folder / "a")), world, frames)
    for table in ("get_input_embeddings", "get_output_embeddings"):
        rows, before = (getattr(model.language, table)().weight for model in (new, old))
        at, was = (model.tokenizer.encode(" red", add_special_tokens=False) for model in (new, old))
        assert torch.equal(rows[at], before[was])
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(new.language.state_dict()[name], old.language.state_dict()[name])
    color, = new.tokenizer.encode(" color", add_special_tokens=False)
    assert len(old.tokenizer.encode(" color", add_special_tokens=False)) > 1  # a new word
    assert 0.2 < new.language.get_input_embeddings().weight[color].std() / before.std() < 5
