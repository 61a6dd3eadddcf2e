"""Counts how often a computation waits for the device: where values, or the sizes of results, are needed in Python."""

from contextlib import contextmanager
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

SIZED_BY_VALUES = ("nonzero", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "bincount", "equal",
                   "repeat_interleave", "_local_scalar_dense", "is_nonzero")


class _Counter(TorchDispatchMode):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype == torch.bool for index in args[1])
        if name in SIZED_BY_VALUES or masks:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


@contextmanager
def waits():
    """A list of the operations in a block for which a GPU would have to be waited for."""
    seen, tolist = [], torch.Tensor.tolist

    def counted(tensor):
        seen.append("tolist")
        return tolist(tensor)

    with mock.patch.object(torch.Tensor, "tolist", counted), _Counter(seen):
        yield seen
