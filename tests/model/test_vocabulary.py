"""Log-probabilities over a large vocabulary are made in parts, and are the same."""

import pytest
import torch
from small import mixed, model
from torch.utils._python_dispatch import TorchDispatchMode

from d2vlm_lab.config import RunConfig
from d2vlm_lab.model import vocabulary
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.settings import override


class Largest(TorchDispatchMode):
    """The size of the largest floating-point result of a block."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.size = max(self.size, result.numel())
        return result


def step(net, batch):
    net.zero_grad()
    out = net(batch)
    out.loss.backward()
    return out, {name: value.grad for name, value in net.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("embeddings", ["all", "evidence"])
def test_parts_give_the_numbers_and_gradients_of_the_whole(embeddings, monkeypatch):
    net = model()
    net.frames.open = lambda what: None
    net = prepare(net, override(RunConfig(), {"adapter.embeddings": embeddings, "adapter.dropout": 0.0}))
    batch = mixed(net)[2]
    whole, gradients = step(net, batch)
    monkeypatch.setattr(vocabulary, "LARGE", 4 * 262)
    parts, gradients_of_parts = step(net, batch)
    assert whole.logits is not None and parts.logits is None
    torch.testing.assert_close(parts.log_p, whole.log_p, atol=1e-6, rtol=1e-6)
    assert gradients.keys() == gradients_of_parts.keys()
    for name, value in gradients.items():
        torch.testing.assert_close(gradients_of_parts[name], value, atol=1e-5, rtol=1e-5)


def test_no_tensor_is_larger_than_the_limit(monkeypatch):
    net = model()
    states = torch.randn(300, 32, requires_grad=True)
    targets = torch.randint(0, 260, (300,))
    monkeypatch.setattr(vocabulary, "LARGE", 20_000)
    with Largest() as largest:
        vocabulary.log_probabilities(net.language, states, targets)[1].sum().backward()
    assert 10_000 < largest.size <= 20_000 and states.grad is not None
