"""Small real parts for tests: a byte-level tokenizer, random language models, a linear frame encoder, batches."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import AutoModelForCausalLM, Blip2VisionConfig, LlamaConfig, PreTrainedTokenizerFast

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import Clip, PromptFormat, collate, encode_answer, encode_prompt
from d2vlm_lab.data.preparation import Preparation
from d2vlm_lab.ideas.evidence import EVIDENCE, Event, compose
from d2vlm_lab.model import decoding
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.frames import EvaQFormer
from d2vlm_lab.model.towers.qformer import QFormerConfig, word_tokenizer
from d2vlm_lab.model.towers.tiny import STOP, TinyFrames, tiny_language, train_tokenizer

WORDS = ("red", "blue", "disc", "square", "spins", "left")


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<pad>")


def language(layers=4, width=32, **changes):
    torch.manual_seed(0)
    settings = {"vocab_size": 260, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers,
                "num_attention_heads": 4, "num_key_value_heads": 4, "initializer_range": 0.2,
                "tie_word_embeddings": False} | changes
    return AutoModelForCausalLM.from_config(LlamaConfig(**settings))


class LinearFrames(nn.Module):
    """Features (F, C) -> tokens (F * tokens_per_frame, D)."""

    id, preparation, added_layers = "linear", Preparation(8), 0
    around, reads_question = 0, False

    def __init__(self, width=32, features=6, tokens_per_frame=1):
        super().__init__()
        self.tokens_per_frame = tokens_per_frame
        self.linear = nn.Linear(features, width * tokens_per_frame)

    def encode(self, frames, before=0, after=0):
        frames = frames[before:len(frames) - after]
        return frames.float().mean((1, 2)).repeat(1, 2) / 255

    def project(self, features, question=None):
        return self.linear(features).unflatten(-1, (self.tokens_per_frame, -1)).flatten(0, 1)

    def project_batch(self, features, questions):
        return [self.project(f, q) for f, q in zip(features, questions)]


def model(tokens_per_frame=1, prompt=None, **method):
    torch.manual_seed(1)
    lm = language()
    return D2VLM(LinearFrames(tokens_per_frame=tokens_per_frame), lm, tokenizer(),
                 Method(**{"semantic_layer": 2} | method),
                 prompt or PromptFormat("watch: ", "\nask: {question}\nsay:", "<end>"))


def clip(n_frames, seed=0, fps=2.0):
    generator = torch.Generator().manual_seed(seed)
    return Clip(torch.randn(n_frames, 6, generator=generator), np.arange(n_frames) / fps)


def text(model, clip, question="when does it spin?", events=((1.0, 2.0),), pieces=None, asked=()):
    events = [Event(*e) for e in events]
    if pieces is None:
        pieces = ["It happens in "] + [p for i in range(len(events)) for p in (i, ", ")] if events else ["never"]
    prompt = encode_prompt(question, asked, clip, model.tokenizer, model.prompt)
    answer = compose(events, pieces, model.method.style, model.method.end_marker)
    return encode_answer(prompt, answer, clip, model.tokenizer, model.prompt)


def mixed(model, padding="right"):
    """Three videos of different length; texts with one, three, no events, and an event in the question."""
    clips = [clip(12, 1), clip(7, 2), clip(9, 3)]
    texts = [[text(model, clips[0]), text(model, clips[0], "what?", ((0, 2), (3, 3.5), (5, 5.5)))],
             [text(model, clips[1], "does it blink?", ())],
             [text(model, clips[2], "what happens in <evi>?", ((1, 3),), asked=[(0.5, 1.5)]),
              text(model, clips[2], "again in <evi>, <evi>", (), asked=[(0, 1), (2, 4)])]]
    return clips, texts, collate(clips, texts, model.tokenizer, model.prompt, padding=padding)


def tiny_model(frames=None):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["when does the red disc spin? it happens in", "never 0123456789"], 300)
    frames = frames or TinyFrames(WORDS, width=32, features=16, channels=8)
    return D2VLM(frames, tiny_language(len(tokenizer), 32, 2, 4), tokenizer,
                 Method(semantic_layer=1), PromptFormat("watch:", " {question} answer:", STOP))


def points_often(monkeypatch, every=2):
    """Let models write `<evi>` at some steps, whatever their weights, which otherwise never do so at random."""
    usual = decoding.chooser

    def chooser(net, batch, settings):
        token, plain = net.tokenizer.convert_tokens_to_ids(EVIDENCE), usual(net, batch, settings)

        def choose(logits, rows, step):
            return torch.full((len(logits),), token) if step % every == 0 else plain(logits, rows, step)

        return choose

    monkeypatch.setattr(decoding, "chooser", chooser)


def same_evidence(one, other):
    """Whether two answers point at the same frames and seconds with the same curves; both must point at something."""
    assert one.evidence and len(one.evidence) == len(other.evidence)
    return all(a.frames == b.frames and a.interval == b.interval and np.allclose(a.curve, b.curve, atol=1e-4)
               for a, b in zip(one.evidence, other.evidence))


def weights(folder):
    """All that the files of a checkpoint hold, by file and name."""
    return {(path.name, name): value for path in sorted(folder.rglob("*.safetensors"))
            for name, value in load_file(path).items()}


def history(folder):
    """What a run logged, line by line."""
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def eva_qformer(width=24, seed=0):
    """The authors' frame encoder, very small, with random weights."""
    torch.manual_seed(seed)
    eva = Blip2VisionConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14,
                            intermediate_size=40, initializer_range=0.2)
    words = word_tokenizer(Path(__file__).parent / "golden" / "checkpoint" / "qformer_tokenizer" / "vocab.txt")
    return EvaQFormer(width, words, eva, QFormerConfig(200, 24, 4, 2, 32, 300, 6))
