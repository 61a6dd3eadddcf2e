"""The base that ablations start from: it knows the world's look and words, but was never taught to ground.

First the frame encoder learns to name what happens on a frame, which follows from the true events. Then the language
model learns to talk about short cuts and whole videos, and to answer the world's questions without their times. No
interval and no evidence token is ever shown.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..config import Method, resolve
from ..data.batch import Clip, PromptFormat, Text, collate, encode_answer, encode_prompt
from ..data.video import read_frames
from ..data.world import World, load
from ..data.world.lessons import ALL, NOTHING, NOW, frame_labels, is_right, lessons, without_times
from ..data.world.scene import Scene
from ..errors import LabError
from ..files import write_json
from ..ideas.evidence import GroundedAnswer
from ..model.checkpoint import load as load_checkpoint
from ..model.checkpoint import save
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding, generate
from ..model.towers.tiny import STOP, TinyFrames, tiny_language, train_tokenizer
from ..reader import read_yaml
from ..settings import override
from ..shapes import Count, Positive, Range, Seed, Share, Weight
from .clocks import Clocks

RECIPE = "experiments/presets/base-small.yaml"
WINDOW = 8  # neighbouring frames that the encoder is trained on together
Log = Callable[[str], None]
Size = Annotated[int, Range(1, 4096)]


@dataclass(frozen=True)
class Video:
    """A video of the world as the language model sees it, its truth, and questions about it, answered without times."""

    clip: Clip
    scene: Scene
    questions: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class BaseRecipe:
    """All settings of the base; the same recipe gives the same weights on the same machine."""

    world: str = "data/world-small"
    out: str = "data/base/small"
    start: str = ""  # another such base to go on from; weights that it does not have begin anew
    width: Size = 96  # of the states of both networks; a multiple of 8
    layers: Annotated[int, Range(1, 256)] = 3  # of the language model
    channels: Size = 16  # of the encoder's convolutions; a multiple of 4
    features: Size = 96  # numbers that describe a frame
    vocabulary: Annotated[int, Range(1, 100_000)] = 640  # tokens
    semantic_layer: Annotated[int, Range(0, 1000)] = 1
    consistency_weight: Weight = 10.0
    frame_steps: Count = 1600
    frame_videos: Size = 16  # per step
    frame_rate: Positive = 3e-3  # learning rate
    clock: Share = 0.0  # share of the videos on whose frames the time is drawn (method.frame_times=drawn)
    language_steps: Count = 2500
    language_videos: Size = 8  # per step
    language_texts: Size = 4  # per video and step
    language_rate: Positive = 2e-3  # learning rate
    seed: Seed = 0
    threads: Size = 1

    def __post_init__(self):
        for name, unit in (("width", 8), ("channels", 4)):  # attention has four heads, whose width must be even
            if getattr(self, name) % unit:
                raise LabError(f"{name} is {getattr(self, name)}; it must be a multiple of {unit}")
        if self.semantic_layer > self.layers:
            raise LabError(f"semantic_layer is {self.semantic_layer}; the language model has {self.layers} layers")


def pretrain(recipe: BaseRecipe, log: Log = print) -> Path:
    """Both stages; the base is saved with its recipe and its scores on validation videos."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    world = load(resolve(recipe.world))
    started = time.process_time()
    frames = train_frames(recipe, world, log)
    scores = frame_scores(frames, world)
    if recipe.clock:
        scores |= {f"{name}, with a clock": score for name, score in frame_scores(frames, world, clock=True).items()}
    scores["frame_minutes"] = round((time.process_time() - started) / 60, 2)
    model = assemble(recipe, world, frames)
    train, val = (list(read_videos(model, world, split, recipe)) for split in ("train", "val"))
    log(f"features of {len(train) + len(val)} videos")
    started = time.process_time()
    train_language(recipe, model, train, log)
    scores["language_minutes"] = round((time.process_time() - started) / 60, 2)
    scores |= exact_answers(model.eval(), val[:100], recipe.seed)
    log(json.dumps(scores))
    folder = save(model, resolve(recipe.out))
    write_json(folder / "recipe.json", {"recipe": asdict(recipe), "scores": scores, "world": world.fingerprint})
    return folder


def optimize(name: str, parameters: list[Tensor], rate: float, steps: int, next_loss: Callable[[], Tensor], log: Log,
             clip: float | None = None) -> None:
    """AdamW; the learning rate has a short warm-up, a plateau, and a linear fall over the last third."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    for step in range(steps):
        done = step / steps
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, done * 30 + 0.01, (1 - done) * 3)
        loss = next_loss()
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        if step % 250 == 249:
            log(f"{name} {step + 1}/{steps}: loss {loss.item():.4f}")


def train_frames(recipe: BaseRecipe, world: World, log: Log) -> TinyFrames:
    """The encoder learns which words are active on each frame, and which things are there, or shapes come late."""
    net = TinyFrames(world.words, recipe.width, recipe.features, recipe.channels, world.config.size)
    if recipe.start:
        take_over(net, load_checkpoint(resolve(recipe.start)).frames)
    scenes = world.truth("train")
    videos, labels = pixels(world, scenes)
    kinds = [f"{color} {shape}" for color in world.config.colors for shape in world.config.shapes]
    present = np.array([[kind in {thing.name for thing in scene.things} for kind in kinds] for scene in scenes],
                       np.float32)
    things = nn.Conv2d(2 * recipe.channels, len(kinds), 1)  # only for training: a map of each kind of thing
    clocks = Clocks(recipe.features, recipe.clock) if recipe.clock else None
    times = np.arange(videos.shape[1]) / world.config.fps
    rng = np.random.default_rng(recipe.seed)

    def next_loss() -> Tensor:
        drawn = rng.integers(len(videos), size=recipe.frame_videos)
        start = int(rng.integers(videos.shape[1] - WINDOW + 1))
        window = slice(start, start + WINDOW)
        pictures = videos[drawn, window]
        drawn_times = None if clocks is None else clocks.draw(pictures, times[window], rng)
        summary, maps = net.summarize(torch.from_numpy(pictures))
        loss = binary_cross_entropy_with_logits(net.probe(summary), torch.from_numpy(labels[drawn, window]))
        shown = torch.from_numpy(present[drawn]).repeat_interleave(WINDOW, 0)
        loss = loss + binary_cross_entropy_with_logits(things(maps).amax((-1, -2)), shown)
        return loss if drawn_times is None else loss + clocks.loss(summary, times[window], drawn_times)

    trained = [*net.parameters(), *things.parameters(), *(clocks.parameters() if clocks else ())]
    optimize("frames", trained, recipe.frame_rate, recipe.frame_steps, next_loss, log)
    return net.eval()


def frame_scores(net: TinyFrames, world: World, clock: bool = False) -> dict[str, float]:
    """How often the most likely colour, shape and action is a right one, on frames where something happens."""
    videos, labels = pixels(world, world.truth("val")[:100], clock)
    logits = torch.stack([net.encode(torch.from_numpy(video))[:, :len(world.words)] for video in videos])
    truth, config = torch.from_numpy(labels), world.config
    busy = truth.sum(-1) > 0
    sizes = {"color": len(config.colors), "shape": len(config.shapes), "action": len(config.actions)}
    widths = [*sizes.values(), len(world.words) - sum(sizes.values())]  # the last: how and where, if captions say so
    parts = zip(sizes, truth[busy].split(widths, -1), logits[busy].split(widths, -1))
    return {f"frame {name}": round(float(right.gather(-1, guess.argmax(-1, keepdim=True)).mean()), 3)
            for name, right, guess in parts}


def pixels(world: World, scenes: Sequence[Scene], clock: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(V, F, H, W, 3) frames, and (V, F, words) which words are active on each."""
    return (np.stack([read_frames(world.video_path(scene), clock=clock).frames for scene in scenes]),
            np.stack([frame_labels(scene, world.words) for scene in scenes]))


def assemble(recipe: BaseRecipe, world: World, frames: TinyFrames) -> D2VLM:
    """A tokenizer of the world's words, a small language model, and frames that enter it as soft words."""
    tokenizer = train_tokenizer(world_texts(world), recipe.vocabulary)
    language = tiny_language(len(tokenizer), recipe.width, recipe.layers)
    method = Method(semantic_layer=recipe.semantic_layer, consistency_weight=recipe.consistency_weight)
    model = D2VLM(frames, language, tokenizer, method, PromptFormat("watch:", " question: {question} answer:", STOP))
    if recipe.start:
        before = load_checkpoint(resolve(recipe.start))
        take_over(model.language, before.language)
        take_over_words(model, before)
    frames.start_from_words(tokenizer, model.language.get_input_embeddings().weight)
    return model


@torch.no_grad()
def take_over(new: nn.Module, old: nn.Module) -> None:
    """Copy every weight that both have in the same shape."""
    known = old.state_dict()
    for name, weight in new.state_dict().items():
        if name in known and known[name].shape == weight.shape:
            weight.copy_(known[name])


@torch.no_grad()
def take_over_words(new: D2VLM, old: D2VLM) -> None:
    """Copy the rows of words that both vocabularies have; other rows are drawn with the same spread."""
    rows = old.tokenizer.get_vocab()
    places = [(at, rows[word]) for word, at in new.tokenizer.get_vocab().items() if word in rows]
    at, before = torch.tensor(places).unbind(1)
    for name in ("get_input_embeddings", "get_output_embeddings"):
        table, known = (getattr(model.language, name)().weight for model in (new, old))
        table.normal_(0, float(known.std()))
        table[at] = known[before]


def world_texts(world: World) -> Iterator[str]:
    """All texts that will ever be asked or answered, so that each word becomes one token."""
    yield from (" " + text for text in (NOW, ALL, NOTHING, "yes", "no", "what does it do, then it"))
    for sample in world.samples("train"):
        yield f" {sample.question} answer:"
        yield from (piece for piece in sample.answer if isinstance(piece, str))
        yield from (f" {event.caption}" for event in sample.events)


def read_videos(model: D2VLM, world: World, split: str, recipe: BaseRecipe) -> Iterator[Video]:
    questions, rng = defaultdict(list), np.random.default_rng(recipe.seed)
    for sample in world.samples(split):
        if (question := without_times(sample)) is not None:
            questions[sample.video].append(question)
    for scene in world.truth(split):
        video = read_frames(world.video_path(scene), clock=rng.random() < recipe.clock)
        clip = Clip(model.frames.encode(torch.from_numpy(video.frames)), video.timestamps)
        yield Video(clip, scene, questions[scene.video])


def train_language(recipe: BaseRecipe, model: D2VLM, videos: Sequence[Video], log: Log) -> None:
    """Answers about cuts and whole videos; everything but the encoder and the two heads is trained."""
    model.requires_grad_(False)
    model.language.requires_grad_(True)
    model.frames.open("projector")
    rng = np.random.default_rng(recipe.seed)

    def next_loss() -> Tensor:
        drawn = [videos[i] for i in rng.integers(len(videos), size=recipe.language_videos)]
        clips, texts = zip(*(lesson(model, video, recipe.language_texts, rng) for video in drawn))
        return model(collate(clips, texts, model.tokenizer, model.prompt)).parts["answer"]

    model.train()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimize("language", trained, recipe.language_rate, recipe.language_steps, next_loss, log, clip=1.0)


def lesson(model: D2VLM, video: Video, n: int, rng: np.random.Generator) -> tuple[Clip, list[Text]]:
    """A video with `n` questions and answers: half of the time the whole video, else a cut of one to eight frames."""
    first, last = 0, video.scene.n_frames - 1
    if rng.random() < 0.5:
        first = int(rng.integers(video.scene.n_frames))
        last = min(first + int(rng.integers(8)), last)
    cut = Clip(video.clip.features[first:last + 1], video.clip.timestamps[first:last + 1])
    texts, endless = [], lessons(video.scene, (first, last), video.questions, rng)
    for _ in range(n):
        _, question, answer = next(endless)
        prompt = encode_prompt(question, (), cut, model.tokenizer, model.prompt)
        answer = GroundedAnswer(pieces=(f" {answer}",))
        texts.append(encode_answer(prompt, answer, cut, model.tokenizer, model.prompt))
    return cut, texts


def exact_answers(model: D2VLM, videos: Sequence[Video], seed: int) -> dict[str, float]:
    """The share of answers about whole videos that are right, by kind of lesson."""
    rng, right = np.random.default_rng(seed + 1), defaultdict(list)
    for video in videos:
        endless = lessons(video.scene, (0, video.scene.n_frames - 1), video.questions, rng)
        asked = [next(endless) for _ in range(8)]
        prompts = [encode_prompt(question, (), video.clip, model.tokenizer, model.prompt) for _, question, _ in asked]
        for (kind, _, answer), generated in zip(asked, generate(model, [video.clip], [prompts], Decoding(64))):
            right[kind].append(is_right(kind, generated.text, answer))
    return {f"exact: {kind}": round(float(np.mean(hits)), 3) for kind, hits in sorted(right.items())}


def configure(parser) -> None:
    parser.add_argument("recipe", nargs="?", default=RECIPE, help="a recipe in YAML")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings of the recipe to change")


def run(args) -> None:
    changes = list(args.changes)
    if "=" in args.recipe:  # only changes are given
        changes.insert(0, args.recipe)
        args.recipe = RECIPE
    path = resolve(args.recipe)
    recipe = override(override(BaseRecipe(), read_yaml(path), str(path)), changes)
    print(pretrain(recipe, lambda line: print(line, flush=True)))
