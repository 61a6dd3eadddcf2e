"""The base that ablations start from: it has seen the world's look and words, and was never taught to ground.

First the frame encoder learns to name what happens on a frame (its labels derive from the true events), then the
language model learns to talk about short clips and whole videos, and how the world's questions are answered when the
times are left out. No interval and no evidence token is ever shown.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..config import Method, resolve
from ..data.batch import Clip, PromptFormat, Text, collate, encode_answer, encode_prompt
from ..data.video import read_frames
from ..data.world import World, load
from ..data.world.lessons import ALL, NOTHING, NOW, frame_labels, is_right, lessons, without_times
from ..data.world.scene import Scene
from ..files import atomic_path
from ..ideas.evidence import GroundedAnswer
from ..model.checkpoint import save
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding, generate
from ..model.towers.tiny import STOP, TinyFrames, tiny_language, train_tokenizer, word_loss
from ..settings import override, read_yaml

RECIPE = "experiments/presets/base-small.yaml"
WINDOW = 8  # neighbouring frames that the encoder is trained on together


@dataclass(frozen=True)
class Watched:
    """A video of the world, its truth, and what is asked about it, answered without times."""

    clip: Clip
    scene: Scene
    told: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the base; the same recipe gives the same weights on the same machine."""

    world: str = "data/world-small"
    out: str = "data/base/small"
    width: int = 96
    layers: int = 3
    channels: int = 16
    features: int = 96
    vocabulary: int = 640
    semantic_layer: int = 1
    consistency_weight: float = 10.0
    frame_steps: int = 1600
    frame_videos: int = 16  # per step
    frame_rate: float = 3e-3
    language_steps: int = 2500
    language_videos: int = 8
    language_texts: int = 4
    language_rate: float = 2e-3
    seed: int = 0
    threads: int = 1


def pretrain(recipe: Recipe, say: Callable[[str], None] = print) -> Path:
    """Both stages, then the scores of the result on validation videos beside it."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    world = load(resolve(recipe.world))
    started = time.process_time()
    frames, scores = train_frames(recipe, world, say)
    scores["frame_minutes"] = round((time.process_time() - started) / 60, 2)
    model = assemble(recipe, world, frames)
    watched = {split: list(_watch(model, world, split)) for split in ("train", "val")}
    say(f"features of {len(watched['train']) + len(watched['val'])} videos")
    started = time.process_time()
    train_language(recipe, model, watched["train"], say)
    scores["language_minutes"] = round((time.process_time() - started) / 60, 2)
    scores |= exact_answers(model.eval(), watched["val"][:100], recipe.seed)
    say(json.dumps(scores))
    folder = save(model, resolve(recipe.out))
    with atomic_path(folder / "recipe.json") as partial:
        made = {"recipe": asdict(recipe), "scores": scores, "world": world.fingerprint}
        partial.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return folder


def train_frames(recipe: Recipe, world: World, say) -> tuple[TinyFrames, dict]:
    """The encoder learns which words are active on each frame and, without which shapes come late, what is there."""
    net = TinyFrames(world.words, recipe.width, recipe.features, recipe.channels, world.config.size)
    videos, labels, present = _pixels(world, "train")
    things = nn.Conv2d(2 * recipe.channels, present.shape[-1], 1)  # only for training: a map of each kind of thing
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW([*net.parameters(), *things.parameters()], lr=recipe.frame_rate, weight_decay=0.01)
    for step in range(recipe.frame_steps):
        _set_rate(optimizer, recipe.frame_rate, step, recipe.frame_steps)
        pick = rng.integers(len(videos), size=recipe.frame_videos)
        start = int(rng.integers(videos.shape[1] - WINDOW + 1))
        logits, look = net.see(torch.from_numpy(videos[pick, start:start + WINDOW]))
        loss = word_loss(logits, torch.from_numpy(labels[pick, start:start + WINDOW]))
        there = torch.from_numpy(present[pick]).repeat_interleave(WINDOW, 0)
        optimizer.zero_grad()
        (loss + word_loss(things(look).amax((-1, -2)), there)).backward()
        optimizer.step()
        if step % 250 == 249:
            say(f"frames {step + 1}/{recipe.frame_steps}: loss {loss.item():.4f}")
    return net.eval(), _frame_scores(net, world)


def assemble(recipe: Recipe, world: World, frames: TinyFrames) -> D2VLM:
    """A tokenizer of the world's words, a small language model, frames that enter as soft words."""
    tokenizer = train_tokenizer(_texts(world), recipe.vocabulary)
    language = tiny_language(len(tokenizer), recipe.width, recipe.layers)
    method = Method(semantic_layer=recipe.semantic_layer, consistency_weight=recipe.consistency_weight)
    model = D2VLM(frames, language, tokenizer, method, PromptFormat("watch:", " question: {question} answer:", STOP))
    frames.start_from_words(tokenizer, model.language.get_input_embeddings().weight)
    return model


def _texts(world: World) -> Iterator[str]:
    """What will ever be asked and answered, so that each of its words becomes one token."""
    yield from (" " + text for text in (NOW, ALL, NOTHING, "yes", "no", "what does it do, then it"))
    for sample in world.samples("train"):
        yield f" {sample.question} answer:"
        yield from (piece for piece in sample.answer if isinstance(piece, str))
        yield from (f" {event.caption}" for event in sample.events)


def train_language(recipe: Recipe, model: D2VLM, watched: Sequence[Watched], say) -> None:
    """Answers about clips and whole videos; everything but the frozen encoder and the two heads is trained."""
    model.requires_grad_(False)
    model.language.requires_grad_(True)
    model.frames.open("projector")
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.language_rate, weight_decay=0.01)
    rng = np.random.default_rng(recipe.seed)
    model.train()
    for step in range(recipe.language_steps):
        _set_rate(optimizer, recipe.language_rate, step, recipe.language_steps)
        pick = rng.integers(len(watched), size=recipe.language_videos)
        shown, texts = zip(*(_lesson(model, watched[i], recipe.language_texts, rng) for i in pick))
        loss = model(collate(shown, texts, model.tokenizer, model.prompt)).parts["answer"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step % 250 == 249:
            say(f"language {step + 1}/{recipe.language_steps}: loss {loss.item():.4f}")


def exact_answers(model: D2VLM, watched: Sequence[Watched], seed: int) -> dict:
    """Share of whole-video answers that are right, by kind of lesson."""
    rng, right = np.random.default_rng(seed + 1), {}
    for seen in watched:
        asked = lessons(seen.scene, (0, seen.scene.n_frames - 1), seen.told, rng)
        talk = [next(asked) for _ in range(8)]
        prompts = [encode_prompt(question, (), seen.clip, model.tokenizer, model.prompt) for _, question, _ in talk]
        for (kind, _, answer), said in zip(talk, generate(model, [seen.clip], [prompts], Decoding(64))):
            right.setdefault(kind, []).append(is_right(kind, said.text, answer))
    return {f"exact: {kind}": round(float(np.mean(hits)), 3) for kind, hits in sorted(right.items())}


def _lesson(model: D2VLM, seen: Watched, n: int, rng: np.random.Generator) -> tuple[Clip, list[Text]]:
    """Half of the time the whole video, else a cut of one to eight frames."""
    first, last = 0, seen.scene.n_frames - 1
    if rng.random() < 0.5:
        first = int(rng.integers(seen.scene.n_frames))
        last = min(first + int(rng.integers(8)), last)
    cut = Clip(seen.clip.features[first:last + 1], seen.clip.timestamps[first:last + 1])
    asked = lessons(seen.scene, (first, last), seen.told, rng)
    return cut, [_encode(model, cut, *next(asked)[1:]) for _ in range(n)]


def _encode(model: D2VLM, clip: Clip, question: str, answer: str) -> Text:
    prompt = encode_prompt(question, (), clip, model.tokenizer, model.prompt)
    return encode_answer(prompt, GroundedAnswer(pieces=(f" {answer}",)), clip, model.tokenizer, model.prompt)


def _watch(model: D2VLM, world: World, split: str) -> Iterator[Watched]:
    told = defaultdict(list)
    for sample in world.samples(split):
        if (without := without_times(sample)) is not None:
            told[sample.video].append(without)
    for scene in world.truth(split):
        video = read_frames(world.video_path(scene))
        clip = Clip(model.frames.encode(torch.from_numpy(video.frames)), video.timestamps)
        yield Watched(clip, scene, told[scene.video])


def _pixels(world: World, split: str, limit: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(V, F, H, W, 3) frames, (V, F, words) what is active on each, (V, kinds) which things a video shows."""
    scenes = world.truth(split)[:limit]
    kinds = [f"{color} {shape}" for color in world.config.colors for shape in world.config.shapes]
    videos = np.stack([read_frames(world.video_path(scene)).frames for scene in scenes])
    present = np.array([[kind in {thing.name for thing in scene.things} for kind in kinds] for scene in scenes])
    return videos, np.stack([frame_labels(scene, world.words) for scene in scenes]), present.astype(np.float32)


def _frame_scores(net: TinyFrames, world: World) -> dict:
    """On frames where something happens: how often the surest colour, shape and action is the right one."""
    videos, labels, _ = _pixels(world, "val", 100)
    words = len(world.words)
    logits = torch.stack([net.encode(torch.from_numpy(video))[:, :words] for video in videos])
    truth, scores, start = torch.from_numpy(labels), {}, 0
    busy = truth.sum(-1) > 0
    config = world.config
    for name, size in (("color", len(config.colors)), ("shape", len(config.shapes)), ("action", len(config.actions))):
        part = slice(start, start + size)
        hit = truth[busy][:, part].gather(-1, logits[busy][:, part].argmax(-1, keepdim=True))
        scores[f"frame {name}"] = round(float(hit.mean()), 3)
        start += size
    return scores


def _set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int) -> None:
    """A short warm-up, a plateau, a linear fall over the last third."""
    done = step / steps
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, done * 30 + 0.01, (1 - done) * 3)


def configure(parser) -> None:
    parser.add_argument("recipe", nargs="?", default=RECIPE, help="a recipe in YAML")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings of the recipe to change")


def run(args) -> None:
    path, changes = (RECIPE, [args.recipe, *args.changes]) if "=" in args.recipe else (args.recipe, args.changes)
    path = resolve(path)
    recipe = override(override(Recipe(), read_yaml(path), str(path)), changes)
    print(pretrain(recipe, lambda line: print(line, flush=True)))
