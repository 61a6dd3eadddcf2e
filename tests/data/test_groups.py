"""Samples as a notebook hands them to a model."""

import torch
from small import tiny_model

from d2vlm_lab.config import RunConfig
from d2vlm_lab.data.groups import batch_of
from d2vlm_lab.data.splits import reader
from d2vlm_lab.data.world import WorldConfig, load
from d2vlm_lab.data.world.make import make_world
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
