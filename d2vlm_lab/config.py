"""The one description of a run. YAML in, strict; the flat view is what a notebook's parameter cell holds."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .settings import ConfigError, check_types, flatten, override, read_yaml, suggest

ROOT = Path(__file__).resolve().parents[1]
PRESETS = ROOT / "experiments" / "presets"


@dataclass(frozen=True)
class Method:
    """Every idea of the method has its switch here; the defaults are the authors' released code."""

    style: Literal["interleaved", "factorized", "coupled", "digits"] = "interleaved"  # how answers are written
    end_marker: bool = True  # close the grounding stage with `</evi>`
    semantics: Literal["layer", "projection", "off"] = "layer"  # what an evidence token carries of its frames
    semantic_layer: int = 6  # the decoder layer whose output is that meaning; 0 is the embeddings
    bidirectional_frames: bool = True
    formulation: Literal["sigmoid", "softmax", "boundary"] = "sigmoid"  # what evidence asks the frames
    targets: Literal["soft", "hard"] = "soft"
    target_base: float = 2.0  # soft targets fall off as base ** -distance
    grounding_weight: float = 10.0
    consistency_weight: float = 10.0
    salience: Literal["peak_share", "top_frames", "best_segment", "over_threshold"] = "peak_share"
    salience_value: float | None = None  # the criterion's one parameter; None is its own default

    def __post_init__(self):
        check_types(self)

    @property
    def base(self) -> float | None:
        """The base of soft targets, which fall off as base ** -distance; None for hard ones, which are 0 or 1."""
        return self.target_base if self.targets == "soft" else None


@dataclass(frozen=True)
class Parts:
    """Where the weights come from."""

    start: str = "data/base/small"  # a checkpoint of this project, or a folder laid out as the authors' release
    language: str = ""  # instead of start: hub id, local folder or .gguf file of a causal language model
    frames: str = ""  # with language: hub id or local folder of a vision tower
    frame_tokens: int = 1  # tokens that each frame becomes
    system: str = ""  # system message before the frames
    equal_heads: bool = False  # untrained heads start with the same weights: like states are similar from the start


@dataclass(frozen=True)
class Adapter:
    """What is trained besides the two heads."""

    targets: Literal["attention", "linear", "all", "none"] = "attention"  # LoRA there; `all` trains every weight
    rank: int = 128
    alpha: float = 256
    dropout: float = 0.05
    variant: Literal["lora", "dora", "rslora"] = "lora"
    embeddings: Literal["all", "evidence", "frozen"] = "all"  # of the token tables; `evidence`: only the new rows
    frames: Literal["frozen", "projector", "attention", "all"] = "projector"  # what of the encoder: `open`


@dataclass(frozen=True)
class Data:
    world: str = "data/world-small"  # a folder of make-world; if it is missing, made with the two settings below
    world_preset: str = "small"
    world_settings: tuple[str, ...] = ()  # `key=value`, as for make-world
    train: str = ""  # instead of world: an annotation file in E.T. Instruct style ...
    val: str = ""  # ... one like it for validation ...
    videos: str = ""  # ... and the folder that holds their videos
    tasks: tuple[str, ...] = ()  # empty: all
    fps: float = 2.0
    max_frames: int = 512
    keep_frames: int | None = None  # of a video's features, so many go into the language model; None: all
    pruning: Literal["even", "change"] = "even"  # which ones are kept
    min_seconds: float = 0.0
    max_seconds: float = 1e9
    max_words: int = 200  # of the answer
    limit: int | None = None  # use only the first so many training videos
    bad_share: float = 0.01  # stop when more of the samples than this cannot be used


@dataclass(frozen=True)
class Training:
    steps: int = 1000
    videos: int = 8  # per step and process
    texts: int = 4  # questions that share a video in a step
    accumulate: int = 1
    learning_rate: float = 5e-5  # of the adapter
    rest_learning_rate: float = 2e-5  # of heads, embeddings, projector
    weight_decay: float = 0.0
    warmup: float = 0.03  # share of the steps
    decay: float = 0.97  # share of the steps, at the end, over which the rate falls to zero as a cosine
    clip: float = 1.0  # gradient norm; 0 is no clipping
    bfloat16: bool = False
    gradient_checkpointing: bool = False
    group_by_length: bool = False
    log_every: int = 20
    eval_every: int = 250
    save_every: int = 250


@dataclass(frozen=True)
class Preference:
    """Chosen answers against rejected ones, beside the supervised losses on the chosen ones; starts where SFT ended."""

    form: Literal["off", "fpo", "dpo"] = "off"  # log-probabilities of text and grounding, or of the text alone
    reference: bool = False  # count from the policy as it was at the start, as in the paper; not so in the release
    beta: float = 0.1
    text_weight: float = 1.0
    grounding_weight: float = 1.0
    average: bool = False  # over tokens and over frames; sums let long answers and long videos weigh more
    weight: float = 1.0  # of the preference term
    supervised: float = 1.0  # of the supervised losses
    rejects: int = 1  # for each chosen answer
    factors: tuple[Literal["when", "which", "what", "how"], ...] = ("when", "which", "what", "how")
    file: str = ""  # of make-preferences, or the authors'; empty: the training samples, perturbed as they are read
    recipe: tuple[str, ...] = ()  # `key=value`, as for make-preferences


@dataclass(frozen=True)
class Evaluation:
    samples: int = 100  # of each task, from the validation split, while training
    tasks: tuple[str, ...] = ("tvg", "gvq", "dvc")
    batch: int = 32
    max_new_tokens: int = 96


@dataclass(frozen=True)
class RunConfig:
    parts: Parts = field(default_factory=Parts)
    method: Method = field(default_factory=Method)
    adapter: Adapter = field(default_factory=Adapter)
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    preference: Preference = field(default_factory=Preference)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 0

    def __post_init__(self):
        """Combinations that cannot hold together."""
        def need(condition: bool, message: str):
            if not condition:
                raise ConfigError(message)

        parts, method, adapter, training = self.parts, self.method, self.adapter, self.training
        need(bool(parts.start) != bool(parts.language),
             "parts.start and parts.language: give exactly one (the other empty), a checkpoint or a language model")
        need(not parts.language or bool(parts.frames), "parts.frames: a language model needs a vision tower beside it")
        need(method.target_base > 1, f"method.target_base is {method.target_base}; it must be above 1")
        need(method.style != "factorized" or method.end_marker,
             "method.end_marker: the factorized style needs it, nothing else separates grounding from answer")
        need(adapter.targets in ("all", "none") or adapter.rank > 0, "adapter.rank must be positive")
        need(adapter.targets != "none" or adapter.embeddings != "evidence",
             "adapter.embeddings=evidence trains new rows through the adapter; adapter.targets=none has no adapter")
        need(training.steps > 0 and training.videos > 0 and training.texts > 0 and training.accumulate > 0,
             "training.steps, videos, texts and accumulate must be positive")
        need(min(training.warmup, training.decay) >= 0 and training.warmup + training.decay <= 1,
             "training.warmup and training.decay are shares of the steps that add up to at most 1")
        wish = self.preference
        need(wish.form == "off" or wish.rejects > 0, "preference.rejects must be positive")
        need(wish.form == "off" or bool(wish.factors), "preference.factors: name at least one")
        need(wish.beta > 0, f"preference.beta is {wish.beta}; it must be positive")
        need(min(wish.text_weight, wish.grounding_weight, wish.weight, wish.supervised) >= 0,
             "the weights of preference cannot be negative")
        need(wish.form == "off" or method.style != "digits" or wish.grounding_weight == 0 or wish.form == "dpo",
             "preference.form=fpo needs evidence tokens to score; with method.style=digits use form=dpo")
        need(wish.form != "fpo" or method.formulation == "sigmoid",
             f"preference.form=fpo scores intervals by the sigmoid of each frame; method.formulation is "
             f"{method.formulation}")
        need(self.data.keep_frames is None or self.data.keep_frames > 1, "data.keep_frames must be at least 2")
        need(not self.data.train or bool(self.data.videos), "data.videos: name the folder that data.train refers to")


def read_config(source: str | os.PathLike, changes: dict[str, object] | list[str] = ()) -> RunConfig:
    """A preset by name or a YAML file, with `key=value` changes on top. A file may start from `preset: NAME`."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = PRESETS / f"{source}.yaml"
        if not path.exists():
            known = sorted(preset.stem for preset in PRESETS.glob("*.yaml"))
            raise ConfigError(f"no preset {str(source)!r}{suggest(str(source), known)}")
    tree = read_yaml(path)
    parent = tree.pop("preset", None)
    base = read_config(parent) if parent else RunConfig()
    if unknown := [key for key in tree if key not in {k.split(".")[0] for k in flatten(base)}]:
        raise ConfigError(f"{path}: {unknown[0]}: no such setting{suggest(unknown[0], ['preset', *_sections(base)])}")
    flat = {}
    for section, values in tree.items():
        if isinstance(values, dict):
            flat |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            flat[section] = values
    return override(override(base, flat, str(path)), changes)


def from_flat(flat: dict[str, object]) -> RunConfig:
    """The inverse of `settings.flatten`: what a parameter cell holds, as a run."""
    return override(RunConfig(), flat)


def _sections(config: RunConfig) -> list[str]:
    return sorted({key.split(".")[0] for key in flatten(config)})


def resolve(path: str) -> Path:
    """A path from a config: absolute, or relative to the working folder, or else to the project."""
    here = Path(path)
    return here if here.is_absolute() or here.exists() else ROOT / path

