"""The laptop preset's parts: a frame encoder that sees motion, a tokenizer, a language model. All trained here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from .frames import FrameEncoder, fingerprint

STOP, PAD = "<end>", "<pad>"


class TinyFrames(FrameEncoder):
    """Each frame as words: how sure the encoder is of every colour, shape and action, and what else it saw.

    One stream looks at the frame, one at how it differs from its neighbours; they meet while there is still a
    place in the picture, so that the thing that moves and the colour it has are bound.
    """

    tokens_per_frame = 1

    def __init__(self, words: Sequence[str], width: int = 96, features: int = 96, channels: int = 32, size: int = 64):
        super().__init__()
        self.words, self.size, self.width, self.features, self.channels = tuple(words), size, width, features, channels
        c = channels
        self.look = _stem(3, c)
        self.motion = _stem(12, c)
        self.join = nn.Sequential(
            nn.Conv2d(2 * c, 2 * c, 3, 2, 1), nn.GroupNorm(4, 2 * c), nn.GELU(),
            nn.Conv2d(2 * c, 2 * c, 3, 1, 1), nn.GroupNorm(4, 2 * c), nn.GELU())
        self.summary = nn.Sequential(nn.Linear(4 * c, features), nn.GELU())
        self.probe = nn.Linear(features, len(words))
        self.projector = nn.Linear(len(words) + features, width)

    @cached_property
    def id(self) -> str:
        """Changes with the frozen weights, so that cached features are never another encoder's."""
        frozen = nn.ModuleList([self.look, self.motion, self.join, self.summary, self.probe])
        return f"tiny-{fingerprint(frozen, self.words)}"

    def see(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, F, H, W, 3) -> word logits (B, F, words), summary (B, F, features)."""
        x = frames.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        near = torch.cat([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:]], 1)
        n = x.shape[1]
        change = torch.cat([near[:, 2 + d:2 + d + n] - x for d in (-2, -1, 1, 2)], 2)
        y = self.join(torch.cat([self.look(x.flatten(0, 1)), self.motion(change.flatten(0, 1))], 1))
        y = self.summary(torch.cat([y.amax((-1, -2)), y.mean((-1, -2))], -1)).unflatten(0, x.shape[:2])
        return self.probe(y), y

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (F, H, W, 3) -> (F, words + features): probabilities of the words, then the summary."""
        logits, summary = self.see(frames[None])
        return torch.cat([logits.sigmoid(), summary], -1)[0]

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        return self.projector(features)

    def project_batch(self, features: Sequence[Tensor], questions: Sequence[str | None]) -> list[Tensor]:
        return list(self.projector(torch.cat(list(features))).split([len(f) for f in features]))

    def start_from_words(self, tokenizer, embeddings: Tensor) -> None:
        """Begin the projector as soft words: a frame token is the sum of the embeddings of what the frame shows."""
        with torch.no_grad():
            self.projector.weight.mul_(0.1)
            for column, word in enumerate(self.words):
                ids = tokenizer.encode(" " + word, add_special_tokens=False)
                self.projector.weight[:, column] = embeddings[ids].mean(0)


def train_tokenizer(texts: Iterable[str], size: int = 1024) -> PreTrainedTokenizerFast:
    """Byte-level pieces: the world's words whole, digits one by one, anything else still spelt."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD, STOP], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=STOP, pad_token=PAD)


def tiny_language(vocabulary: int, width: int = 96, layers: int = 3, heads: int = 4) -> LlamaForCausalLM:
    """A Llama small enough for a laptop. At this width weights must start larger than usual to learn at all."""
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=4096, initializer_range=0.1,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=1, pad_token_id=0))


def _stem(inputs: int, channels: int) -> nn.Sequential:
    """64 x 64 -> 16 x 16."""
    return nn.Sequential(nn.Conv2d(inputs, channels, 5, 2, 2), nn.GELU(),
                         nn.Conv2d(channels, channels, 3, 2, 1), nn.GroupNorm(4, channels), nn.GELU())


def word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the words of each frame; (B, F, words) both."""
    return F.binary_cross_entropy_with_logits(logits, labels)
