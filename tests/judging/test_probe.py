"""A probe reads off what is there, and nothing else."""

import torch

from d2vlm_lab.judging.probe import explained, linear_probe, read_off


def test_what_is_written_in_a_state_is_read_off_and_what_is_not_is_not():
    generator = torch.Generator().manual_seed(0)
    x, x_new = (torch.randn(n, 8, generator=generator) for n in (2000, 500))
    noise = torch.randn(2500, 1, generator=generator)

    def truth(states, noise):
        return torch.cat([states[:, :1] * 3 + 2, noise], 1)

    weights = linear_probe(x, truth(x, noise[:2000]))
    share = explained(truth(x_new, noise[2000:]), read_off(x_new, weights))
    assert share[0] > 0.999
    assert share[1] < 0.05


def test_always_guessing_the_mean_explains_nothing():
    truth = torch.tensor([[0.0], [1.0], [5.0]])
    assert explained(truth, truth.mean(0).expand(3, 1).double()).abs() < 1e-12
