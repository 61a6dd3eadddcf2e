"""A training that is interrupted."""

import pytest

from d2vlm_lab.lab.run import train
from d2vlm_lab.learning.trainer import GroundedTrainer


def train_until_interrupted(config, folder, monkeypatch, step=2):
    """Begin a run in the folder and interrupt it, as Ctrl-C does, after so many steps."""
    compute = GroundedTrainer.compute_loss

    def interrupted(self, model, inputs, return_outputs=False, **more):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return compute(self, model, inputs, return_outputs, **more)

    with monkeypatch.context() as patched:
        patched.setattr(GroundedTrainer, "compute_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder, str)
