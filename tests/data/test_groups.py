"""Samples as a notebook hands them to a model."""

import pytest
import torch
from small import tiny_model

from d2vlm_lab.config import Data, RunConfig
from d2vlm_lab.data.groups import batch_of, usable, with_share_of_nothing
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.data.skips import Skips
from d2vlm_lab.data.splits import reader
from d2vlm_lab.data.world import WorldConfig, load
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.settings import override


def test_a_batch_of_samples_keeps_their_order_and_each_ones_own_result(tmp_path):
    world = load(make_world(tmp_path / "world", override(WorldConfig(), {"videos": 10, "seed": 3}), workers=1))
    model = tiny_model().eval()
    samples = [sample for sample in world.samples("train") if sample.events][:7:2]
    read = reader(RunConfig(), model.frames, world.videos)
    batch = batch_of(model, samples, read)
    assert batch.names == [sample.id for sample in samples]
    with torch.no_grad():
        together = model(batch).similarity
        alone = torch.cat([model(batch_of(model, [sample], read)).similarity for sample in samples])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("share, nothing, others", [(0.0, 0, 50), (0.1, 6, 50), (0.25, 10, 30), (0.5, 10, 10)])
def test_a_share_of_questions_about_nothing_is_kept_and_as_many_of_the_rest_as_fit(share, nothing, others):
    """Those about a given moment have no event to find either, and are of the rest."""
    samples = [Sample(str(n), "v.mp4", 9.0, "tvg", "s", "when?", () if n % 4 == 0 else (Event(1.0, 2.0),), ("x",))
               for n in range(40)]
    samples += [Sample(str(n), "v.mp4", 9.0, "rar", "s", "in <evi>?", (), ("x",), ((1.0, 2.0),)) for n in range(40, 60)]
    kept = with_share_of_nothing(samples, share)
    assert (sum(s.about_nothing for s in kept), sum(not s.about_nothing for s in kept)) == (nothing, others)
    assert kept == sorted(kept, key=lambda s: int(s.id)) and kept == with_share_of_nothing(samples, share)
    with pytest.raises(LabError, match="no training question asks about what never happens"):
        with_share_of_nothing([s for s in samples if not s.about_nothing], 0.5)


@pytest.mark.parametrize("changes, kept", [
    ({}, "abc"), ({"min_seconds": 5.0}, "bc"), ({"min_seconds": 5.001}, "c"), ({"max_seconds": 5.0}, "ab"),
    ({"max_seconds": 4.0}, "a"), ({"max_words": 3}, "bc"), ({"max_words": 2}, "b")])
def test_samples_are_chosen_by_the_length_of_their_video_and_answer(changes, kept):
    samples = [Sample(name, f"{name}.mp4", seconds, "tvg", "s", "when?", (Event(0.0, 1.0),), answer)
               for name, seconds, answer in (("a", 4.0, ("it is in ", 0, " .")), ("b", 5.0, ("in ", 0, "now")),
                                             ("c", 60.0, ("in the end ", 0)))]
    skips = Skips(None, 3, 0.5)
    assert "".join(sample.id for sample in usable(samples, Data(**changes), skips)) == kept
    with pytest.raises(LabError, match=r"no sample is left to train on \(tasks: dvc\)"):
        usable(samples, Data(tasks=("dvc",), **changes), skips)
