"""Everything that can be set about a run, with its meaning and its default.

The meaning of a setting is the comment behind it, or above it where it is longer: `d2vlm-lab settings` prints these
comments, and a test makes sure that every setting has one. A YAML file (a *preset*) gives values to some of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from math import isqrt
from pathlib import Path
from typing import Annotated, Literal

from .errors import LabError
from .reader import read_json, read_yaml
from .settings import check_types, flat, flatten, override, suggest
from .shapes import Count, Positive, Range, Seed, Share, Weight, below, shown

HOME = Path(__file__).resolve().parent
CHECKOUT = (HOME.parent / "experiments" / "presets").is_dir()
ROOT = HOME.parent if CHECKOUT else HOME / "project"  # the part of the project that an installed wheel brings along
ONLY_IN_A_CHECKOUT = ": this comes with a checkout of the project, and here only the library is installed"
PRESETS = ROOT / "experiments" / "presets"
Frames = Annotated[int, Range(1, 100_000)]
Rate = Annotated[float, Range(0, 10)]  # of learning
Cache = Literal["off", "fp16", "fp32"]
Pruning = Literal["even", "change"]  # which frames of a longer video the language model sees
Forget = Literal["oldest", "change", "merge"]  # which frames of a video that is still running go first
# The formats of annotation files to train on: each has an adapter in data/datasets/.
Format = Literal["et_instruct", "samples", "charades_sta", "youcook2", "timelens", "qvhighlights"]
NAMED = ("tvg", "gvq")  # tasks whose questions name one event
REWARDS = ("iou", "giou", "matched_giou", "wasserstein", "wasserstein2", "precision_iou", "words", "refusal")


@dataclass(frozen=True)
class Method:
    """The ideas of the method, one switch for each.

    The defaults are those of the authors' released code, except for `ties`.
    """

    # How an answer is written. interleaved: first one `<evi>` token for each event, then the text with an `<evi>` where
    # it mentions an event. factorized: first the `<evi>` tokens, then text without any. coupled: only the `<evi>`
    # tokens inside the text. digits: no `<evi>` tokens; times are numbers in the text. time_tokens: as coupled, but an
    # `<evi>` does not point at frames; its times follow it in 13 symbols, which have their own embedding and head.
    style: Literal["interleaved", "factorized", "coupled", "digits", "time_tokens"] = "interleaved"
    end_marker: bool = True  # write `</evi>` between the `<evi>` tokens that open an answer and its text
    # What is added to the embedding of an `<evi>` token: the mean state of the frames of its event. layer: their states
    # after the decoder layer `semantic_layer`. projection: the projected frames that enter the decoder. off: nothing.
    # An event that is given in a question is the mean of its projected frames in any case.
    semantics: Literal["layer", "projection", "off"] = "layer"
    # The number of the decoder layer that `semantics: layer` reads; 0 is the embeddings.
    semantic_layer: Annotated[int, Range(0, 1000)] = 6
    # The interval whose frames an `<evi>` carries while a model is trained. true: the annotated interval. predicted:
    # the interval that the token finds, as when an answer is written; for that, every step first reads its texts twice
    # without training.
    evidence_from: Literal["true", "predicted"] = "true"
    # What the words of an answer may look at, besides the question and each other. frames: all frames. evidence: no
    # frame and no word between frames, such as their times, because these words have read frames too. So the answer
    # knows of the video only what the question has read and what its `<evi>` tokens carry.
    answer_view: Literal["frames", "evidence"] = "frames"
    bidirectional_frames: bool = True  # let every frame attend to all frames of its video, even to later ones
    # How frames carry the time at which they are shown. off: not at all. text: in words before each frame, such as
    # `3.5 s`, or as a video-language model writes them. embedding: a learned function of the seconds is added to the
    # tokens of the frame. drawn: the seconds are drawn on the picture, in a corner, before the vision tower sees it.
    # The checkpoints in data/base know no digits: use adapter.embeddings=all with text, and with drawn a base that has
    # seen such pictures (experiments/presets/base-clock.yaml).
    frame_times: Literal["off", "text", "embedding", "drawn"] = "off"
    # With bidirectional_frames: number of frames in a block. A frame attends to the frames of its own block and of
    # earlier blocks only, so that a video can be read while it is still running. null: the whole video is one block.
    frame_block: Annotated[int, Range(1, 100_000)] | None = None
    # How an `<evi>` token is compared with the frames. sigmoid: for each frame by itself, is it part of the event?
    # softmax: for all frames at once, which of them are part of it? boundary: which frame is the first, and which is
    # the last? cite: as sigmoid, but the similarities only propose intervals, and separate networks point at one of
    # these. bins: it is not compared; separate networks turn its state into a distribution over both times, and times
    # into an embedding.
    formulation: Literal["sigmoid", "softmax", "boundary", "cite", "bins"] = "sigmoid"
    proposals: Annotated[int, Range(1, 1000)] = 8  # largest number of intervals that `formulation: cite` chooses from
    citing_weight: Weight = 1.0  # weight of the loss of choosing one of these intervals, for `formulation: cite`
    bins: Annotated[int, Range(1, 10_000)] = 32  # number of parts into which `formulation: bins` divides a video
    # What the similarity of a frame is trained towards. soft: 1 inside the event, falling off with the distance outside
    # it. hard: 1 inside, 0 outside.
    targets: Literal["soft", "hard"] = "soft"
    # A frame at distance d outside the event has the soft target target_base ** -d.
    target_base: Annotated[float, Range(1, 10**6, open=True)] = 2.0
    grounding_weight: Weight = 10.0  # weight of the grounding loss; the loss of the text has the weight 1
    # Weight of the loss of standing questions ("tell me when it spins"). They are read before the first frame of a
    # video and compared with all its frames. 0 means that there are none.
    standing_weight: Weight = 0.0
    consistency_weight: Weight = 10.0  # weight of the loss that pulls the two mentions of an event together
    # The rule that reads an interval off the similarities of all frames. peak_share: the frames with at least a share
    # of the highest similarity. top_frames: the most similar frames, a fixed number. over_threshold: the frames with at
    # least a fixed similarity. If such frames form several runs, these three rules take the best run. best_segment: the
    # segment whose similarities have the highest sum after a cost for each frame. smoothed: peak_share after a
    # Savitzky-Golay filter.
    salience: Literal["peak_share", "top_frames", "best_segment", "over_threshold", "smoothed"] = "peak_share"
    # The parameter of the rule in `salience`. null means its default: a share of 0.6, 6 frames, a cost of 0.72, a
    # similarity of 0.5, a filter over 7 frames.
    salience_value: Annotated[float, Range(-10**6, 10**6)] | None = None
    # Which of several runs of frames is taken if their mean similarities are exactly the same. logits: the one with the
    # highest mean logit. span: all of them and everything between them, as in the authors' code.
    ties: Literal["logits", "span"] = "logits"

    def __post_init__(self):
        check_types(self)

    @property
    def points(self) -> bool:
        """Whether each `<evi>` of an answer points into the video; otherwise its times are written out."""
        return self.style not in ("digits", "time_tokens")

    @property
    def block(self) -> int | None:
        """How many frames see each other, besides all earlier ones; None: all frames of a video."""
        return self.frame_block if self.bidirectional_frames else 1

    @property
    def base(self) -> float | None:
        """The base of soft targets, which fall off as base ** -distance; None for hard ones, which are 0 or 1."""
        return self.target_base if self.targets == "soft" else None


@dataclass(frozen=True)
class Parts:
    """Where the weights come from: a checkpoint in `start`, or else a language model and a vision tower."""

    # A checkpoint of this project, or one laid out as the authors' release: its folder, or its hub id. A hub id is
    # written owner/name or owner/name@revision here and below.
    start: str = "data/base/small"
    language: str = ""  # instead of `start`: hub id, local folder or .gguf file of a causal language model
    # With `language`: hub id or local folder of the vision tower that encodes the frames, or package:NAME for
    # EfficientNet-Lite0 in an installed package. "own": that of `language`, which is then a video-language model
    # (Qwen2.5-VL, Qwen3-VL or SmolVLM2).
    frames: str = ""
    # With `language`: number of tokens that each frame becomes, a square number. With `frames: own` it also decides how
    # large the frames are.
    frame_tokens: Annotated[int, Range(1, 4096)] = 1
    system: str = ""  # with `language`: system message that stands before the frames; empty means none
    # The precision in which frozen weights are held. bfloat16 and float16 take half the memory. Trained weights and the
    # heads are always float32. `training.bfloat16` is about how numbers are computed, not about how weights are held.
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    # How the language model computes attention. auto: as transformers does by default, mostly sdpa. flex_attention: it
    # skips what may not be looked at, which pays off with many tokens, and it needs a GPU to be trained. A checkpoint
    # does not keep it: all of them compute the same, and the next machine may be another one.
    attention: Literal["auto", "sdpa", "eager", "flex_attention"] = "auto"
    # Start both heads with the same weights where they were never trained, so that an `<evi>` token and a frame with
    # similar states count as similar from the first step.
    equal_heads: bool = False

    @property
    def base(self) -> str:
        """The checkpoint or video-language model beside which only trained weights are saved; empty: all are saved."""
        return self.start or (self.language if self.frames == "own" else "")


@dataclass(frozen=True)
class Adapter:
    """What is trained besides the two heads, which are always trained."""

    # Where the language model is trained. attention: LoRA in the linear layers of the attention. linear: LoRA in all
    # linear layers. all: no LoRA; every weight is trained, also the embeddings. none: nothing.
    targets: Literal["attention", "linear", "all", "none"] = "attention"
    rank: Annotated[int, Range(1, 8192)] = 128  # rank of the two matrices that LoRA adds to a layer
    alpha: Positive = 256  # LoRA's change of a layer is scaled by alpha / rank (rslora: alpha / sqrt(rank))
    dropout: Annotated[float, Range(0, 0.99)] = 0.05  # share of LoRA's inputs that are set to zero in training
    variant: Literal["lora", "dora", "rslora"] = "lora"  # which form of LoRA
    # Which token embeddings, of input and output, are trained. all: all of them. evidence: only the rows of `<evi>` and
    # `</evi>`. frozen: none.
    embeddings: Literal["all", "evidence", "frozen"] = "all"
    # Which part of the frame encoder is trained. frozen: none. projector: the projection into the language model.
    # attention: of a Q-Former, also everything that attends. all: the whole Q-Former. Encoders without a Q-Former train
    # their projection in all three cases.
    frames: Literal["frozen", "projector", "attention", "all"] = "projector"


@dataclass(frozen=True)
class Data:
    """What the model learns from: a synthetic world, or annotation files with their videos."""

    world: str = "data/world-small"  # folder of a world; made from `world_preset` and `world_settings` if missing
    world_preset: str = "small"  # preset of make-world for a missing world: small, full, cuts or surgery
    world_settings: tuple[str, ...] = ()  # settings on top of that preset, each `key=value` as for make-world
    train: str = ""  # instead of `world`: annotation file to train on
    val: str = ""  # with `train`: annotation file for validation; empty means none
    videos: str = ""  # with `train`: folder that holds the videos of `train` and `val`
    # The format of `train` and `val`: that of a public data set, or the samples of this project.
    format: Format = "et_instruct"
    tasks: tuple[str, ...] = ()  # names of the tasks to train on; an empty list means all
    fps: Annotated[float, Range(0, 1000, open=True)] = 2.0  # frames per second that are read from a video
    max_frames: Frames = 512  # largest number of frames that are read from a video, spread evenly over it
    # What decodes videos; all give the same frames and times. auto: PyAV, and decord where PyAV fails. The others allow
    # one decoder only; torchcodec must be installed.
    reader: Literal["auto", "torchcodec", "decord", "av"] = "auto"
    keep_frames: Frames | None = None  # largest number of frames of a video in the language model; null means all
    # Which frames are kept if a video has more than `keep_frames`. even: at equal distances. change: those that differ
    # most from their neighbours.
    pruning: Pruning = "even"
    # How the features of frames are kept in data/cache, so that a video is read and encoded only once. fp16, fp32: as
    # numbers of 16 or 32 bits; a dry run prints how much disk they take. off: nothing is kept; frames are read and
    # encoded whenever they are needed.
    cache: Cache = "fp32"
    # Leave out training videos that are shorter than this, in seconds.
    min_seconds: Annotated[float, Range(0, 1e9)] = 0.0
    # Leave out training videos that are longer than this, in seconds.
    max_seconds: Annotated[float, Range(0, 1e9, open=True)] = 1e9
    max_words: Count = 200  # leave out training samples whose answer has more words than this
    limit: Count | None = None  # number of videos to train on, the first ones; null means all
    # Share of questions about what never happens among the training questions: if there are too many of one kind, only
    # some of them are used. null means as many as there are.
    nothing_share: Share | None = None
    # Share of the questions that are asked while the video is still running, at a random moment after their last event
    # has begun: the model sees the frames up to then, and an event that is still going on is cut off at that moment.
    ask_early: Share = 0.0
    bad_share: Share = 0.01  # stop the run if a larger share of the training samples than this cannot be used


@dataclass(frozen=True)
class Training:
    """How long the model is trained, with which learning rates, and on how much data at a time."""

    steps: Count = 1000  # number of optimizer steps in the whole run
    videos: Annotated[int, Range(1, 4096)] = 8  # number of videos in a batch, for each process
    # Largest number of questions about the same video in a batch; they share its frames.
    texts: Annotated[int, Range(1, 1024)] = 4
    # Number of batches whose gradients are added up for one optimizer step.
    accumulate: Annotated[int, Range(1, 10**6)] = 1
    learning_rate: Rate = 5e-5  # highest learning rate of the LoRA weights (adapter.targets=all: of all weights)
    rest_learning_rate: Rate = 2e-5  # highest learning rate of the heads, the embeddings and the projector
    weight_decay: Annotated[float, Range(0, 10)] = 0.0  # weight decay of AdamW
    warmup: Share = 0.03  # share of the steps, at the beginning, over which the learning rate rises from zero
    decay: Share = 0.97  # share of the steps, at the end, over which the learning rate falls to zero as a cosine
    clip: Weight = 1.0  # largest norm of the gradient, which is scaled down to it; 0 means no limit
    # Compute in bfloat16 where that is safe (mixed precision), for GPUs. It changes no weight: `parts.dtype` says how
    # frozen weights are held, and frozen layers that are held in 16 bits compute in 16 bits even without this setting.
    bfloat16: bool = False
    # Save memory by computing the layers' states again in the backward pass. This cannot keep keys and values, so that
    # the frames are then read once more for every text, and the texts of a batch are padded.
    gradient_checkpointing: bool = False
    # Number of processes that load batches ahead; 0 means that the main process loads them.
    workers: Annotated[int, Range(0, 256)] = 0
    # Where the log goes besides history.jsonl: experiment trackers that are installed.
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ("tensorboard",)
    log_every: Count = 20  # number of optimizer steps between two lines of training in history.jsonl
    eval_every: Count = 250  # number of optimizer steps between two evaluations on the validation split
    save_every: Count = 250  # number of optimizer steps between two checkpoints, from which an interrupted run goes on


@dataclass(frozen=True)
class Preference:
    """The second stage: true answers (*chosen*) are compared with wrong ones (*rejected*), beside the other losses."""

    # What counts as the log-probability of an answer. fpo: that of its text and its grounding. dpo: that of its text
    # alone. off: there is no preference loss.
    form: Literal["off", "fpo", "dpo"] = "off"
    # Compare with a reference, the model as it was when this stage began, so that only what has changed since then
    # counts. The paper has a reference, the released code has none.
    reference: bool = False
    beta: Positive = 0.1  # factor on the difference of the log-probabilities of chosen and rejected answer
    text_weight: Weight = 1.0  # weight of the log-probability of the text
    grounding_weight: Weight = 1.0  # weight of the log-probability of the grounding (form=fpo)
    # Average log-probabilities over tokens and over frames. Otherwise they are sums, in which long answers and long
    # videos weigh more.
    average: bool = False
    weight: Weight = 1.0  # weight of the preference loss
    supervised: Weight = 1.0  # weight of all other losses, which are computed on the chosen answers
    rejects: Annotated[int, Range(1, 1024)] = 1  # largest number of rejected answers beside each chosen one
    # What may be wrong with a rejected answer: when something happens, which events there are, what happens, how it is
    # said.
    factors: tuple[Literal["when", "which", "what", "how"], ...] = ("when", "which", "what", "how")
    # A preference file, made by make-preferences or by the authors. Empty: rejected answers are made from the training
    # samples while they are read.
    file: str = ""
    recipe: tuple[str, ...] = ()  # how rejected answers are made: settings as for make-preferences, each `key=value`


@dataclass(frozen=True)
class Reward:
    """Another second stage: answers are drawn from the model, and those with a better reward become more likely."""

    # How the rewards are learned from. grpo: an answer's reward is compared with those of the other answers to the same
    # question, in units of their deviation, and its log-probability is averaged over its tokens and intervals. dr_grpo:
    # the same without these two divisions. exact: as dr_grpo for the words, but the expected reward of each interval is
    # computed and followed exactly. iou_loss: nothing is drawn; 1 minus the expected overlap is a loss on the true
    # answers. off: there are no rewards. The first three draw several answers to each question: the words as tokens,
    # and the interval of each `<evi>` from the exact distribution over all intervals. An answer's reward is the sum of
    # the rewards below, each times its weight.
    form: Literal["off", "grpo", "dr_grpo", "exact", "iou_loss"] = "off"
    answers: Annotated[int, Range(1, 1024)] = 8  # number of answers that are drawn to each question
    # Largest number of questions about the same video in a batch, in place of training.texts.
    questions: Annotated[int, Range(1, 1024)] = 1
    # Largest number of tokens in a drawn answer; a longer one cannot be read.
    max_new_tokens: Annotated[int, Range(1, 16_384)] = 64
    updates: Count = 1  # number of optimizer steps that learn from the same drawn answers
    clip: Weight = 0.2  # with several updates: largest relative change of a probability that is still rewarded
    # Weight of the divergence from the model as it was when this stage began. TimeLens2 has 0.04, Dr. GRPO has 0. Above
    # 0, every step runs that earlier model, too, which costs about half a supervised step on the laptop preset. With 0,
    # the divergence is not logged either; a weight such as 1e-6 logs it and steers nothing.
    kl: Weight = 0.0
    weight: Weight = 1.0  # weight of the loss that follows from the rewards
    # Weight of all other losses, on the true answers; 0 means that the drawn answers alone are trained on.
    supervised: Weight = 0.0
    iou: Weight = 1.0  # weight of the overlap of the predicted intervals with the true ones
    giou: Weight = 0.0  # weight of the generalized overlap, which falls with the gap where nothing overlaps
    # Weight of the generalized overlap of the first predicted interval with the first true one, and so on.
    matched_giou: Weight = 0.0
    # Weight of exp(-beta * distance / length of the true intervals), where the distance is how far time must be moved
    # to turn one set of intervals into the other.
    wasserstein: Weight = 1.0
    # Weight of exp(-beta * distance / length of both sets together), where the distance is the root mean square of how
    # far time must be moved.
    wasserstein2: Weight = 0.0
    precision_iou: Weight = 0.0  # weight of an overlap in which covering too much costs more than covering too little
    words: Weight = 0.0  # weight of the share of words that are right, as F1
    refusal: Weight = 0.0  # weight of a reward: 1 for rightly saying that nothing happens, -1 for wrongly saying so
    # Reward of an answer that does not end or is not written in the method's style.
    unreadable: Annotated[float, Range(-10**6, 10**6)] = -1.0
    beta: Positive = 1.0  # how fast the two distance rewards fall
    # A file of drawn answers, made by make-groups from the checkpoint in parts.start: only those questions are trained
    # on whose answers were rewarded differently. Empty: all questions.
    file: str = ""

    @property
    def draws(self) -> bool:
        return self.form in ("grpo", "dr_grpo", "exact")

    @property
    def weights(self) -> dict[str, float]:
        """The rewards that count, by name."""
        return {name: getattr(self, name) for name in REWARDS if getattr(self, name)}


@dataclass(frozen=True)
class Evaluation:
    """The held-out questions that are answered during training, and in a study (`d2vlm-lab ablate`) after it."""

    samples: Count = 100  # largest number of questions of each task
    tasks: tuple[str, ...] = ("tvg", "gvq", "dvc")  # tasks whose questions are answered
    batch: Annotated[int, Range(1, 4096)] = 128  # questions answered at a time; fewer about long videos
    max_new_tokens: Annotated[int, Range(1, 16_384)] = 96  # largest number of tokens in an answer
    # In a study, after training: also ask as if the video were still running, with questions in the middle of an event,
    # and questions that stand from the beginning of the video. These need method.frame_block or
    # method.bidirectional_frames=false, method.formulation=sigmoid and a style whose `<evi>` tokens point at frames;
    # otherwise they are left out.
    live: bool = False
    # In a study, after training: also measure why an idea pays off or does not: how much less likely the words of true
    # answers become if they see no frames, and if each `<evi>` carries what the model finds instead of the true event.
    mechanisms: bool = False
    # In a study, after training: read videos block by block, and keep at most this number of frames in the language
    # model. null reads all frames of a video at once. Needs method.frame_block, or method.bidirectional_frames=false.
    # Scores that compare whole videos with true answers (read_at_0.5, held_out_..., prefers_...) are then missing.
    keep_frames: Frames | None = None
    # In a study: which frames are forgotten if there are more than `keep_frames`. oldest: the oldest. change: those
    # that differ least from the frame before them. merge: the two neighbours that are most alike become one, the mean
    # of both.
    forget: Forget = "oldest"


@dataclass(frozen=True)
class RunConfig:
    """One run, section by section."""

    parts: Parts = field(default_factory=Parts)
    method: Method = field(default_factory=Method)
    adapter: Adapter = field(default_factory=Adapter)
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    preference: Preference = field(default_factory=Preference)
    reward: Reward = field(default_factory=Reward)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: Seed = 0  # seed of everything random: new weights, the order of the samples, dropout, rejected answers

    def __post_init__(self):
        """Refuses values that are impossible, alone or together."""
        def need(condition: bool, message: str):
            if not condition:
                raise LabError(message)

        check_types(self)
        for section in fields(self):
            if is_dataclass(value := getattr(self, section.name)):
                check_types(value, f"{section.name}.")
        parts, method, adapter, training = self.parts, self.method, self.adapter, self.training
        need(bool(parts.start) != bool(parts.language),
             "parts.start and parts.language: give exactly one, a checkpoint or a language model, and leave the other "
             "empty")
        need(not parts.language or bool(parts.frames), "parts.frames: a language model needs a vision tower beside it")
        need(parts.dtype != "float16" or not training.bfloat16,
             "training.bfloat16 computes in bfloat16, but parts.dtype is float16; set parts.dtype=bfloat16, or "
             "training.bfloat16=false")
        need(method.style != "factorized" or method.end_marker,
             "method.end_marker: method.style=factorized needs it, because nothing else separates grounding from text")
        need(method.bidirectional_frames or method.frame_block is None, "method.frame_block: without "
             "method.bidirectional_frames no frame sees a later one, so there are no blocks; leave one of them out")
        need(adapter.targets != "none" or adapter.embeddings != "evidence",
             "adapter.embeddings=evidence trains new rows through the adapter; adapter.targets=none has no adapter")
        need(adapter.targets != "all" or adapter.embeddings == "all", "adapter.targets=all trains every weight, also "
             f"the token embeddings; set adapter.embeddings=all (found {adapter.embeddings})")
        need(training.warmup + training.decay <= 1,
             f"training.warmup is {training.warmup} and training.decay is {training.decay}; they are shares of the "
             "steps that add up to at most 1")
        need(isqrt(parts.frame_tokens)**2 == parts.frame_tokens,
             f"parts.frame_tokens is {parts.frame_tokens}; use a square number (1, 4, 9, 16, ...)")
        need(method.points or method.formulation not in ("bins", "cite"),
             f"method.formulation={method.formulation} reads times off `<evi>` tokens; with "
             f"method.style={method.style} they are written out")
        need(method.formulation != "bins" or method.style != "interleaved" or method.consistency_weight == 0,
             "method.consistency_weight compares what two mentions of an event ask the frames; method.formulation=bins "
             "asks them nothing, so set the weight to 0")
        self._check_live(need)
        self._check_salience(need)
        self._check_preference(need)
        self._check_reward(need)
        self._check_data(need)

    def _check_live(self, need: Callable[[bool, str], None]) -> None:
        method, early = self.method, self.data.ask_early
        need(self.evaluation.keep_frames is None or method.block is not None, "evaluation.keep_frames: frames that "
             "look at all later frames cannot be read block by block; set method.frame_block, or "
             "method.bidirectional_frames=false")
        need(self.evaluation.keep_frames != 1, "evaluation.keep_frames is 1; keep at least 2 frames")
        if not method.standing_weight and not early:
            return
        name = "method.standing_weight" if method.standing_weight else "data.ask_early"
        need(method.block is not None, f"{name}: questions that are asked before the end of a video need frames that "
             "do not know what comes later; set method.frame_block, or method.bidirectional_frames=false")
        need(not self.reward.draws, f"{name}: reward.form={self.reward.form} draws its answers about whole videos only")
        need(not method.standing_weight or method.formulation == "sigmoid" and method.points,
             "method.standing_weight: a standing question compares its evidence with every frame by itself, which "
             "needs method.formulation=sigmoid and evidence tokens that point; found "
             f"{method.formulation} and {method.style}")
        need(not early or method.points, f"data.ask_early: method.style={method.style} writes times out, and an answer "
             "would have some that were not seen yet; use a style whose evidence tokens point")
        need(not early or self.preference.form == "off", f"data.ask_early: preference.form={self.preference.form} "
             "compares answers about whole videos only; set one of them to 0 or off")

    def _check_salience(self, need: Callable[[bool, str], None]) -> None:
        rule, value = self.method.salience, self.method.salience_value
        if value is not None:
            need(rule != "peak_share" or 0 < value <= 1,
                 f"method.salience_value is {value}; for peak_share it must be a share above 0 and at most 1")
            need(rule != "smoothed" or value >= 3 and value % 2 == 1,
                 f"method.salience_value is {value}; for smoothed it must be an odd number of frames for the "
                 "filter, at least 3")
            need(rule != "top_frames" or value >= 1 and value == int(value),
                 f"method.salience_value is {value}; for top_frames it must be a whole number of at least 1")

    def _check_data(self, need: Callable[[bool, str], None]) -> None:
        data = self.data
        need(bool(data.world or data.train), "data.world and data.train: give one, a world or an annotation file")
        need(data.min_seconds <= data.max_seconds,
             f"data.min_seconds is {data.min_seconds}, above data.max_seconds, which is {data.max_seconds}")
        for name, values in (("data.tasks", data.tasks), ("evaluation.tasks", self.evaluation.tasks),
                             ("preference.factors", self.preference.factors),
                             ("training.report_to", self.training.report_to)):
            need(len(set(values)) == len(values), f"{name} is {list(values)}; name each only once")
        need(data.nothing_share != 1, "data.nothing_share is 1; it must be a share below 1")
        need(data.keep_frames != 1, "data.keep_frames is 1; keep at least 2 frames")
        need(data.keep_frames is None or data.cache != "off",
             "data.keep_frames: frames are chosen by their features, which data.cache=off does not keep; set "
             "data.max_frames instead, or keep features")
        need(not data.train or bool(data.videos), "data.videos: name the folder that data.train refers to")
        need(bool(data.train) or not (data.val or data.videos), "data.val and data.videos belong to data.train, which "
             "is empty; a world brings validation questions and videos of its own")

    def _check_preference(self, need: Callable[[bool, str], None]) -> None:
        preference, method = self.preference, self.method
        if preference.form == "off":
            return
        need(bool(preference.factors), "preference.factors: name at least one")
        need(method.points or preference.grounding_weight == 0 or preference.form == "dpo",
             f"preference.form=fpo needs evidence tokens to score; with method.style={method.style} use "
             "preference.form=dpo")
        need(preference.form == "dpo" or method.formulation == "sigmoid",
             f"preference.form=fpo scores intervals by the sigmoid of each frame; method.formulation is "
             f"{method.formulation}")

    def _check_reward(self, need: Callable[[bool, str], None]) -> None:
        reward, method = self.reward, self.method
        need(reward.form != "off" or not reward.file, "reward.file: set reward.form, or leave this out")
        if reward.form == "off":
            return
        need(self.preference.form == "off", f"reward.form={reward.form} and preference.form={self.preference.form} are "
             "two ways to learn after supervised training; set one of them to off")
        need(method.points, f"reward.form={reward.form} rewards the intervals of evidence tokens; "
             f"method.style={method.style} has none")
        need(method.formulation == "sigmoid", f"reward.form={reward.form} needs the probability of an interval, which "
             f"only method.formulation=sigmoid gives; it is {method.formulation}")
        if not reward.draws:
            need(not reward.file, "reward.file holds drawn answers; reward.form=iou_loss draws none")
            return
        need(method.evidence_from == "true", f"reward.form={reward.form} learns a drawn answer as it was drawn, and "
             "there each `<evi>` carries the interval that was drawn for it; set method.evidence_from=true (found "
             f"{method.evidence_from})")
        need(reward.answers > 1, f"reward.answers is {reward.answers}; an answer is compared with others to the same "
             "question, so at least 2 are needed")
        need(bool(reward.weights), "reward: every reward has the weight 0, so that all answers are equally good")
        need(self.training.save_every % reward.updates == 0,
             f"training.save_every is {self.training.save_every}; a run goes on after a checkpoint with newly drawn "
             f"answers, so it must be a multiple of reward.updates={reward.updates}")

    @property
    def texts(self) -> int:
        """Largest number of questions about the same video in a batch."""
        return self.reward.questions if self.reward.draws else self.training.texts


def read_config(source: str | os.PathLike, changes: dict[str, object] | list[str] = ()) -> RunConfig:
    """A preset by name or a YAML file, with `key=value` changes on top. A file may start from `preset: NAME`."""
    return override(_read_preset(str(source), ()), changes)


def _read_preset(source: str, above: tuple[str, ...]) -> RunConfig:
    """`above` are the files that start from this one."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        if source not in presets():
            raise LabError(f"{f'{above[-1]}: preset: ' if above else ''}no preset {shown(source)}"
                           f"{suggest(source, presets())}")
        path = PRESETS / f"{source}.yaml"
    if source in above:
        raise LabError(f"{path}: preset: it starts from itself")
    tree = read_yaml(path)
    parent = tree.pop("preset", None)
    if not isinstance(parent, str | None):
        raise LabError(f"{path}: preset: expected the name of a preset, found {shown(parent)}")
    base = _read_preset(parent, (*above, source)) if parent else RunConfig()
    sections = {section.name: getattr(base, section.name) for section in fields(base)}
    for key, value in tree.items():
        if key not in sections:
            raise LabError(f"{path}: {below('', key)}: no such setting{suggest(str(key), ['preset', *sections])}")
        if is_dataclass(sections[key]) and not isinstance(value, dict):
            raise LabError(f"{path}: {key}: expected `key: value` lines, found {shown(value)}")
    return override(base, flat(tree), str(path))


def presets() -> list[str]:
    """Names of the presets of a run. (The files named base-*.yaml are recipes of pretrain-base.)"""
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if not path.stem.startswith("base-"))


def from_flat(flat: dict[str, object]) -> RunConfig:
    """The inverse of `settings.flatten`: a run from what a notebook's parameter cell holds."""
    return override(RunConfig(), flat)


def recorded_config(path: Path) -> RunConfig:
    """The `config.json` that a run left in its folder, without settings that have been removed since."""
    recorded, known = flat(read_json(path, dict)), flatten(RunConfig())
    return from_flat({key: value for key, value in recorded.items() if key in known})


def resolve(path: str) -> Path:
    """A path from a config: absolute, or relative to the working folder, or else to the project.

    An installed wheel has only a part of the project; what is not in it belongs in the working folder.
    """
    here, there = Path(path), ROOT / path
    return here if here.is_absolute() or os.path.exists(here) or not (CHECKOUT or there.exists()) else there
