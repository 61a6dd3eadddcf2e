"""The model and the batch that the benchmarks share: random weights, real shapes."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import GROUNDED, IGNORE, REFERENCED, Batch, Clip, PromptFormat, Text, collate
from d2vlm_lab.model.d2vlm import D2VLM

FRAMES, TOKENS, VOCABULARY = 350, 100, 32_000


class GivenFrames(nn.Module):
    """Frame tokens as they are: the benchmark is about what follows."""

    tokens_per_frame, added_layers = 1, 0

    def project_batch(self, features, questions):
        return list(features)


def model_and_batch(method: Method, layers: int = 8, width: int = 512, frames: int = FRAMES, tokens: int = TOKENS,
                    events: int = 3, device: str = "cpu", dtype: torch.dtype = torch.float32,
                    language: nn.Module | None = None) -> tuple[D2VLM, Batch]:
    torch.manual_seed(0)
    model = D2VLM(GivenFrames(), language or llama(layers, width), words(), method, PromptFormat("w0 ", "", "<end>"))
    model = model.to(device, dtype).train()
    width = model.frame_head[0].normalized_shape[0]
    clip = Clip(torch.randn(frames, width, dtype=dtype), np.arange(frames, dtype=float))
    return model, collate([clip], [[text(tokens, events, frames)]], model.tokenizer, model.prompt).to(device)


def llama(layers: int, width: int) -> nn.Module:
    return AutoModelForCausalLM.from_config(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=8, tie_word_embeddings=False))


def words() -> PreTrainedTokenizerFast:
    """A vocabulary of `w0 w1 ...` with room for the evidence tokens among its rows."""
    core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY - 4)}, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<pad>")


def text(tokens: int, events: int, frames: int) -> Text:
    """Some prompt, `events` grounded, their answer with references: `tokens` in all."""
    evidence, end = VOCABULARY - 2, VOCABULARY - 1
    ids = torch.randint(0, VOCABULARY - 4, (tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    prompt = tokens // 5
    first = [prompt + k for k in range(events)]
    second = [prompt + events + 2 + k * (tokens - prompt - events - 2) // events for k in range(events)]
    for where in first + second:
        ids[where] = evidence
    ids[prompt + events] = end
    spans = [(k * frames / events, (k + 0.5) * frames / events) for k in range(events)]
    return Text(ids, [IGNORE] * prompt + ids[prompt:], first + second, spans * 2,
                [GROUNDED] * events + [REFERENCED] * events, [*range(events)] * 2)
