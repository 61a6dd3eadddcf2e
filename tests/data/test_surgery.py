"""The domain like surgical video: smoke and blur hide some frames and leave the others and the truth alone, and
held-out questions are asked in other words."""

from dataclasses import replace

import numpy as np
import pytest

from d2vlm_lab.data.world.config import from_preset
from d2vlm_lab.data.world.make import questions_of, sample_scenes
from d2vlm_lab.data.world.render import render
from d2vlm_lab.data.world.surgery import EPISODE, episodes

CONFIG = replace(from_preset("surgery"), videos=30, size=32)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.8, 1.0])
def test_about_this_share_of_frames_is_veiled_for_a_while_each_time(share):
    found = episodes(40_000, share, np.random.default_rng(0))
    frames, strengths = [frame for frame, _ in found], np.array([strength for _, strength in found])
    assert len(frames) == len(set(frames)) and len(frames) / 40_000 == pytest.approx(share, abs=0.02)
    assert ((strengths > 0) & (strengths <= 1)).all()
    if 0 < share < 0.2:
        runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
        assert min(map(len, runs[:-1])) >= EPISODE[0]


@pytest.mark.parametrize("knob", ["smoke", "blur"])
def test_a_veil_changes_the_frames_of_its_episodes_and_no_others(knob):
    plain = replace(CONFIG, smoke=0.0, blur=0.0, camera_noise=0.0)
    scene = sample_scenes(plain)[0]
    clear = render(scene, plain, np.random.default_rng(3))
    veiled = render(scene, replace(plain, **{knob: 0.4}), np.random.default_rng(3))
    changed = [(a != b).any() for a, b in zip(clear, veiled)]
    assert 8 <= sum(changed) <= 48 and clear.shape == veiled.shape
    if knob == "smoke":
        assert veiled[changed].mean() > clear[changed].mean() + 10
    else:
        assert veiled[changed].mean() == pytest.approx(clear[changed].mean(), abs=3)
        assert veiled[changed].std() < clear[changed].std()


def test_held_out_questions_have_other_words_and_the_same_answer():
    scenes = sample_scenes(CONFIG)
    always, never = replace(CONFIG, reworded=1.0), replace(CONFIG, reworded=0.0)
    stems = {"at which moment is the", "does something: find when it", "is there a moment when"}
    for split, other_words in (("train", False), ("val", True), ("test", True)):
        asked = [s for scene in scenes if scene.split == split for s in questions_of(scene, always)
                 if s.task == "tvg" and s.events and "time" not in s.question]
        assert asked and all(any(stem in s.question for stem in stems) == other_words for s in asked)
        usual = [s for scene in scenes if scene.split == split for s in questions_of(scene, never)]
        assert not any(stem in s.question for s in usual for stem in stems)
        truth = {(s.video, s.events[0].interval) for s in usual if s.task == "tvg" and s.events}
        assert {(s.video, s.events[0].interval) for s in asked} <= truth
