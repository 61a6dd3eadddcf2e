"""The parts of the laptop preset: a frame encoder that sees motion, a tokenizer, a language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ...data.preparation import Preparation, check_frames
from ..frames import FrameEncoder, fingerprint

STOP, PAD = "<end>", "<pad>"
PLACES = 3  # where the encoder looks in each frame


class TinyFrames(FrameEncoder):
    """Describes each frame by the probabilities of its words (colours, shapes, actions) and by a learned summary.

    One stream looks at the frame, the other at how the frame differs from its neighbours. The second stream decides
    where to look in the first, so that a motion is linked to the colour and the shape of the thing that moves.
    """

    tokens_per_frame = 1
    around = 2

    def __init__(self, words: Sequence[str], width: int = 96, features: int = 96, channels: int = 32, size: int = 64):
        super().__init__()
        self.words, self.size, self.width, self.features, self.channels = tuple(words), size, width, features, channels
        self.preparation = Preparation(size)  # the short side; nothing is cut off
        c = channels
        self.look = nn.Sequential(_stem(3, c), _block(c, 2 * c), _block(2 * c, 2 * c))
        self.motion = nn.Sequential(_stem(12, c), _block(c, c))
        self.where = nn.Conv2d(c, PLACES, 1)
        self.summary = nn.Sequential(nn.Linear(2 * c * PLACES + 2 * c, features), nn.GELU(),
                                     nn.Linear(features, features), nn.GELU())
        self.probe = nn.Linear(features, len(words))
        self.projector = nn.Linear(len(words) + features, width)

    @cached_property
    def id(self) -> str:
        """A name that changes with the frozen weights, so that cached features of another encoder are never used."""
        frozen = nn.ModuleList([self.look, self.motion, self.where, self.summary, self.probe])
        return f"tiny-{fingerprint(frozen, self.words)}"

    @torch.no_grad()
    def encode(self, frames: Tensor, before: int = 0, after: int = 0) -> Tensor:
        """uint8 (F, H, W, 3) -> (F, words + features): probabilities of the words, then the summary.

        The first `before` and the last `after` frames are only compared with their neighbours.
        """
        check_frames(frames)
        summary, _ = self.summarize(frames[None], before, after)
        return torch.cat([self.probe(summary).sigmoid(), summary], -1)[0]

    def summarize(self, frames: Tensor, before: int = 0, after: int = 0) -> tuple[Tensor, Tensor]:
        """uint8 (B, F, H, W, 3) -> summaries (B, F, features) and maps of the frames (B F, 2 channels, h, w)."""
        x = frames.to(self.probe.weight.device).permute(0, 1, 4, 2, 3).to(self.probe.weight.dtype) / 127.5 - 1
        near = torch.cat([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:]], 1)
        n = x.shape[1]
        change = torch.cat([near[:, 2 + d:2 + d + n] - x for d in (-2, -1, 1, 2)], 2)
        x, change = x[:, before:n - after], change[:, before:n - after]
        look, motion = self.look(x.flatten(0, 1)), self.motion(change.flatten(0, 1))
        place = self.where(motion).flatten(2).softmax(-1)  # (B F, places, pixels): where something changes
        moving = torch.einsum("bpn,bcn->bpc", place, look.flatten(2))
        y = torch.cat([moving.flatten(1), motion.amax((-1, -2)), motion.mean((-1, -2))], -1)
        return self.summary(y).unflatten(0, x.shape[:2]), look

    def project(self, features: Tensor, question: str | None = None) -> Tensor:
        return self.projector(features.to(self.projector.weight.dtype))

    def project_batch(self, features: Sequence[Tensor], questions: Sequence[str | None]) -> list[Tensor]:
        together = torch.cat(list(features)).to(self.projector.weight.dtype)
        return list(self.projector(together).split([len(f) for f in features]))

    def start_from_words(self, tokenizer, embeddings: Tensor) -> None:
        """Start the projector so that a frame token is the sum of the embeddings of the words that fit the frame."""
        with torch.no_grad():
            self.projector.weight.mul_(0.1)
            for column, word in enumerate(self.words):
                ids = tokenizer.encode(" " + word, add_special_tokens=False)
                self.projector.weight[:, column] = embeddings[ids].mean(0)


def train_tokenizer(texts: Iterable[str], size: int = 1024) -> PreTrainedTokenizerFast:
    """Byte-level pieces: words of the world are whole, digits are separate, and anything else can be spelt."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD, STOP], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=STOP, pad_token=PAD)


def tiny_language(vocabulary: int, width: int = 96, layers: int = 3, heads: int = 4) -> LlamaForCausalLM:
    """A Llama small enough for a laptop. At this width it learns only if its weights start larger than usual."""
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=4096, initializer_range=0.1,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=1, pad_token_id=0))


def _stem(inputs: int, channels: int) -> nn.Sequential:
    """64 x 64 -> 16 x 16."""
    return nn.Sequential(nn.Conv2d(inputs, channels, 5, 2, 2), nn.GELU(), _block(channels, channels, 2))


def _block(inputs: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, channels, 3, stride, 1), nn.GroupNorm(4, channels), nn.GELU())
