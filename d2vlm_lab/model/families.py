"""Does a language model run here as it runs itself? A few tokens tell, before anything is trained.

The tokens are run twice. The family's own `forward` reads them in one piece. We read the first five, keep their keys
and values, leave a gap of two tokens that nobody may look at, and read the rest after the gap, as a text is read
after a shorter video that was padded. The logits are equal only if the family's layers, masks, sliding window, position
ids, cache, and scaling of logits are what `passes.decode` and `backbone` take them for. Families with recurrent or
convolutional layers fail, as they must: what is masked would still leak through their state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from ..errors import LabError, first_line
from .backbone import ATTENTION, family, logits_of, window_size
from .passes import causal, decode, position_ids_of

FIRST, GAP, REST = 5, 2, 7  # tokens
WINDOW = 4  # sliding window of the check: small enough for twelve tokens to reach beyond it
FULL_PRECISION, HALF_PRECISION = 1e-3, 5e-2  # largest difference, as a share of the largest logit


def check(language: PreTrainedModel) -> None:
    """Raise a `LabError` that names the family and what differs, if anything does."""
    attention = language.config._attn_implementation
    if attention not in ATTENTION:
        raise LabError(f"attention {attention!r} cannot take the masks that are needed here; use one of "
                       f"{', '.join(ATTENTION)}")
    training = language.training
    language.eval()
    try:
        with torch.no_grad(), small_window(language):
            expected, ours = own_logits(language), our_logits(language)
    except LabError:
        raise
    except Exception as error:  # a family may do anything with input that it does not expect
        raise LabError(f"{family(language)} language models cannot be used here: with our masks, position ids and "
                       f"cache their decoder fails ({first_line(error)})") from error
    finally:
        language.train(training)
    difference, largest = float((ours - expected).abs().max()), float(expected.abs().max())
    tolerance = FULL_PRECISION if expected.dtype == torch.float32 else HALF_PRECISION
    if not difference <= tolerance * largest:
        raise LabError(f"{family(language)} language models cannot be used here: their logits differ from those of "
                       f"their own forward by up to {difference:.2g}, the largest logit being {largest:.2g}")


def own_logits(language: PreTrainedModel) -> Tensor:
    """(FIRST + REST, V) as the family computes them."""
    return language(input_ids=sample_ids(language)[None], use_cache=False).logits[0]


def our_logits(language: PreTrainedModel) -> Tensor:
    """(FIRST + REST, V) by two calls of `decode` with a gap between them that is masked out."""
    ids = sample_ids(language)
    embed = language.get_input_embeddings()
    before = torch.cat([ids[:FIRST], ids[-GAP:]])[None]
    exists = (torch.arange(FIRST + GAP, device=ids.device) < FIRST)[None]
    after, all_exist = ids[None, FIRST:], torch.ones(1, REST, dtype=torch.bool, device=ids.device)
    cache = DynamicCache()
    first = decode(language, embed(before), causal(exists), position_ids_of(exists), cache)
    rest = decode(language, embed(after), causal(all_exist, exists), position_ids_of(all_exist, exists), cache,
                  position_ids_of(exists))
    return logits_of(language, torch.cat([first[-1][0, :FIRST], rest[-1][0]]))


def sample_ids(language: PreTrainedModel) -> Tensor:
    """(FIRST + REST,) different token ids, spread over the vocabulary."""
    table = language.get_input_embeddings().weight
    return torch.linspace(3, len(table) - 1, FIRST + REST, device=table.device).long()


@contextmanager
def small_window(language: PreTrainedModel) -> Iterator[None]:
    """Make the sliding window so small that it matters for a few tokens; nothing changes if the family has none."""
    config, size = language.config.get_text_config(), window_size(language)
    if size is not None:
        config.sliding_window = WINDOW
    try:
        yield
    finally:
        if size is not None:
            config.sliding_window = size
