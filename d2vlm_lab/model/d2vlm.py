"""D2VLM: a frame encoder, a causal language model and two small heads; `forward` takes a batch to its losses.

The letters of the formulas: [s, e] are the first and the last frame of an event. V6 are the states of the frames
after the semantic layer, which is layer 6 in the authors' model, and m is their mean over [s, e]. Two heads make
g = evidence_head(the state that predicts an `<evi>`) and f = frame_head(the state of a frame).

Shapes: V videos, N texts, F frames, T tokens of a text, P tokens up to and including the frames, E evidence tokens,
G of them in answers (grounded and referenced mentions), L answer tokens to predict, D the language model's width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ..config import Method
from ..data.batch import QUESTION, Batch, PromptFormat, add_evidence_tokens
from ..data.plan import plan_of
from ..errors import LabError
from ..ideas.citing import citing_loss
from ..ideas.consistency import consistency_loss, mean_of_means, spread
from ..ideas.formulation import FORMULATIONS
from ..ideas.grounding import at_least_float32, frame_targets, grounding_loss, inside
from ..ideas.salience import criterion
from . import families, packed, passes
from .backbone import decoder_layers
from .folding import folded
from .frames import encoded
from .heads import head
from .last_layer import only_at
from .layout import frames_look, lay_out, pool_frames
from .mrope import frame_position_ids
from .passes import HEAD_LAYER, Prefix, States, shift_after
from .precision import dtype_of, full_precision
from .sharing import Shared
from .times.bins import Bins
from .times.citing import Cited, Citing
from .times.embedding import TimeEmbedding
from .times.symbols import TimeSymbols
from .vocabulary import log_probabilities


@dataclass
class AnswerTerms:
    """The answers as tokens to predict."""

    row: Tensor  # (L,) the text each token belongs to
    logits: Tensor | None  # (L, vocabulary); None where they would be too large to keep, or come from two heads
    targets: Tensor  # (L,) the token itself
    log_p: Tensor  # (L,) its log-probability


@dataclass
class EvidenceTerms:
    """The evidence tokens of the answers, compared with the frames of their videos."""

    states: Tensor  # (G, D) g
    similarity: Tensor  # (G, F) logits; (G, 2, F) where both ends are compared; (G, 2, B + 1) over bins
    frame_mask: Tensor  # (G, F) which frames exist
    cited: Cited | None = None  # the proposals from which they choose, if they do


@dataclass
class Output:
    loss: Tensor
    parts: dict[str, Tensor]  # answer, grounding, consistency: as they enter the loss
    logits: Tensor | None  # (L, vocabulary); None where they would be too large to keep
    targets: Tensor  # (L,)
    log_p: Tensor  # (L,) log-probability of each target
    target_row: Tensor  # (L,) the text each target belongs to
    similarity: Tensor  # (G, F) logits of the grounded and referenced evidence, in the batch's order
    evidence: Tensor  # (G, D) their states
    frame_mask: Tensor  # (G, F) which frames exist
    spread: Tensor  # variance of the evidence states: near zero when they have collapsed
    cited: Cited | None = None  # the proposals from which the evidence chooses, if it does


class D2VLM(Shared, nn.Module):
    """Holds any frame encoder and any Hugging Face causal language model."""

    def __init__(self, frames: nn.Module, language: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
                 method: Method | None = None, prompt: PromptFormat | None = None):
        super().__init__()
        method = method or Method()
        layers = language.config.get_text_config().num_hidden_layers
        if not 0 <= method.semantic_layer <= layers:
            raise LabError(f"the language model has layers 0 to {layers}; set method.semantic_layer to one of them "
                           f"(it is {method.semantic_layer})")
        add_evidence_tokens(tokenizer, language)
        families.check(language)
        self.frames, self.language, self.tokenizer = frames, language, tokenizer
        self.method = method
        self.prompt = (prompt or PromptFormat.of(tokenizer)).telling(method.frame_times == "text")
        if method.frame_times == "drawn":
            frames.preparation = replace(frames.preparation, clock=True)
        width = language.config.get_text_config().hidden_size
        self.frame_head, self.evidence_head = head(width), head(width)
        # Parts that only some methods have. For other methods no weights are drawn, so they begin as they always did.
        self.citing = Citing(width, method.proposals) if method.formulation == "cite" else None
        self.bins = Bins(width, method.bins) if method.formulation == "bins" else None
        self.time_symbols = TimeSymbols(language.get_input_embeddings()) if method.style == "time_tokens" else None
        self.time_embedding = TimeEmbedding(width) if method.frame_times == "embedding" else None
        self.formulation = FORMULATIONS[method.formulation]
        self.salient = criterion(method.salience, method.salience_value, method.ties)
        self.dtype = dtype_of(decoder_layers(language.get_decoder()))  # of the frozen weights
        self.can_ground = False  # whether the heads were ever trained
        self.added: list[str] = []  # in words, what an imported checkpoint lacked and got anew
        self.two_pass = False  # gradient checkpointing cannot keep a cache, so it reads the frames twice
        self.fast = True  # use the faster of two equal computations; False: the one that is easier to follow
        self.whole_first_pass = False  # as the authors do: the first of two passes goes through every layer

    @property
    def heads(self) -> list[nn.Module]:
        """The parts beside frame encoder and language model. They are always trained, and held in float32."""
        return [part for name, part in self.named_children() if name not in ("frames", "language")]

    @property
    def device(self) -> torch.device:
        return self.frame_head[1].weight.device

    @property
    def sparing(self) -> bool:
        """Whether a step leaves out what is not needed. What gradient checkpointing repeats is computed plainly."""
        return self.fast and not self.two_pass and packed.serves(self.language)

    def forward(self, batch: Batch) -> Output:
        """From a batch to its losses, in six stages."""
        with folded(self.language, wanted=self.sparing):
            # 1. Read the frames. Whatever follows them cannot change their states.
            prefix = self.read(batch, keep=not self.two_pass)

            # 2. Turn the texts into embeddings. Each `<evi>` also carries what is seen in its interval.
            intervals = predicted_intervals(self, batch) if self.method.evidence_from == "predicted" else batch.interval
            embeddings = self.embed(batch, prefix, intervals)

            # 3. Let the language model read each text after the frames of its video.
            states = self.read_texts(batch, prefix, embeddings)

        # 4. What is said? Predict each token of the answers from the state before it.
        answer = self.predict(batch, states)

        # 5. When did it happen? Compare the state that predicts an `<evi>` with every frame.
        evidence = self.ground(batch, prefix, states)

        # 6. Add up the losses. Only supervised texts enter them: rejected answers are not to be learned.
        parts = {"answer": self.answer_loss(batch, answer),
                 "grounding": self.grounding_loss(batch, evidence),
                 "consistency": self.consistency_loss(batch, evidence)}
        if evidence.cited is not None:
            parts["citing"] = self.citing_loss(batch, evidence)
        if batch.standing is not None:
            parts["standing"] = self.standing_loss(batch, prefix, states)
        return Output(loss=sum(parts.values()), parts=parts,
                      logits=answer.logits, targets=answer.targets, log_p=answer.log_p, target_row=answer.row,
                      similarity=evidence.similarity, evidence=evidence.states, frame_mask=evidence.frame_mask,
                      spread=spread(evidence.states.detach()), cited=evidence.cited)

    def read(self, batch: Batch, keep: bool = True) -> Prefix:
        """Run the text before the frames and the frames; `keep` their keys and values for what follows."""
        # Every video becomes tokens of the language model's width, with text around its frames if the prompt has any.
        width, layers = self.frame_head[0].normalized_shape[0], 1 + self.frames.added_layers
        tokens = batch.features  # V of (F_v * tokens per frame, D)
        if not batch.projected:
            tokens = self.frames.project_batch(encoded(self.frames, batch.features), batch.questions)
        if tokens[0].shape[-1] != width * layers:
            raise LabError(f"frames become tokens of width {tokens[0].shape[-1]}, "
                           f"but the language model's is {width}{f' x {layers}' if layers > 1 else ''}")
        if self.time_embedding is not None:
            tokens = [self.time_embedding.add(*video) for video in zip(tokens, batch.seconds, strict=True)]
        rows = lay_out(tokens, batch.layout, self.frames.tokens_per_frame, self.embed_words)
        vision, *added = rows.embeddings.split(width, -1)

        # The frames come after the start of the prompt. Frames may look at later frames: at all of them, or within a
        # block.
        start = self.embed_words(batch.before_ids)
        embeddings = torch.cat([start, vision.to(start.dtype)], 1)
        mask = torch.cat([batch.before_mask, rows.mask], 1)
        attend = passes.causal(mask)
        is_frame = torch.cat([torch.zeros_like(batch.before_mask), rows.is_frame], 1)
        if self.method.bidirectional_frames:
            attend |= frames_look(is_frame, self.frames.tokens_per_frame, self.method.frame_block)
        position_ids = frame_position_ids(self.language, is_frame, mask, self.frames.tokens_per_frame, batch.seconds,
                                          batch.layout is not None)
        added = tuple(torch.cat([torch.zeros_like(start), each.to(start.dtype)], 1) for each in added)

        # If nothing is kept, only the states up to the semantic layer are needed.
        cache = DynamicCache() if keep else None
        up_to = None if keep or self.whole_first_pass else self.method.semantic_layer
        # If keys and values are kept, nothing else of the last layer is read, unless it is the semantic layer.
        decoder = self.language.get_decoder()
        unread = keep and self.sparing and self.method.semantic_layer < len(decoder_layers(decoder))
        with only_at(decoder, mask.new_zeros(0, dtype=torch.long) if unread else None):
            layers = passes.decode(self.language, embeddings, attend, position_ids, cache, up_to=up_to, added=added,
                                   wanted=(self.method.semantic_layer, *([HEAD_LAYER] if keep else [])))
        columns = rows.columns + start.shape[1]
        owner = torch.cat([torch.full_like(batch.before_ids, -1), rows.owner], 1)
        # The words between frames have read the frames before them, so they are hidden together with the frames.
        hidden = torch.cat([torch.zeros_like(batch.before_mask), rows.mask], 1)

        return Prefix(cache=cache, mask=mask, attend=attend, position_ids=position_ids,
                      shift=shift_after(position_ids, mask), owner=owner, columns=columns, embeddings=embeddings,
                      added=added, frame_mask=rows.frame_mask, projected=pool_frames(embeddings, columns),
                      meaning=pool_frames(layers[self.method.semantic_layer], columns),
                      frame_states=pool_frames(layers[HEAD_LAYER], columns) if keep else None,
                      hidden=hidden if self.method.answer_view == "evidence" else None)

    def embed(self, batch: Batch, prefix: Prefix, intervals: Tensor | None = None) -> Tensor:
        """(N, T, D) token embeddings; for evidence tokens x = embedding(`<evi>`) + m, by default in the true intervals.
        """
        embeddings = self.embed_words(batch.ids)
        if len(batch.row) == 0:
            return embeddings
        intervals = batch.interval if intervals is None else intervals
        seen = None if batch.asked is None else batch.asked[batch.row]
        carried = self.carried(intervals, batch.video[batch.row], prefix, batch.role == QUESTION, seen)
        return embeddings.index_put((batch.row, batch.column), carried.to(embeddings.dtype), accumulate=True)

    def embed_words(self, ids: Tensor) -> Tensor:
        words = self.language.get_input_embeddings()
        return words(ids) if self.time_symbols is None else self.time_symbols.embed(ids, words)

    def carried(self, intervals: Tensor, video: Tensor, prefix: Prefix, in_question: Tensor,
                seen: Tensor | None = None) -> Tensor:
        """(E, 2), (E,) -> (E, D) what an evidence token adds to its embedding: m, and with bins also its times.

        Bins divide the frames that its text has `seen` (E,), if these are not all frames.
        """
        m = self.meaning(intervals, video, prefix, in_question)
        if self.bins is None:
            return m
        return m + self.bins.embed(intervals, prefix.frame_mask.sum(-1)[video] if seen is None else seen)

    def meaning(self, intervals: Tensor, video: Tensor, prefix: Prefix, in_question: Tensor) -> Tensor:
        """(E, 2), (E,) -> (E, D) what is seen in an interval: m = mean of V6 over [s, e].

        An event that is given in a question is the mean of its projected frames instead, which no layer has read.
        """
        given = interval_mean(intervals, video, prefix.projected, prefix.frame_mask)
        if self.method.semantics == "off":
            return given * in_question[:, None]
        seen = prefix.projected.detach() if self.method.semantics == "projection" else prefix.meaning
        m = interval_mean(intervals, video, seen, prefix.frame_mask)
        return torch.where(in_question[:, None], given, m)

    def read_texts(self, batch: Batch, prefix: Prefix, embeddings: Tensor) -> States:
        """The states of the texts, in one of four ways that give the same; passes.py and packed.py draw them."""
        if self.two_pass:
            return passes.two_passes(self.language, batch, prefix, embeddings)
        if self.sparing:
            return packed.packed_pass(self.language, batch, prefix, embeddings)
        if (branches := plan_of(batch).branches) is not None:
            return passes.branching_pass(self.language, batch, prefix, embeddings, branches)
        return passes.one_pass(self.language, batch, prefix, embeddings)

    def predict(self, batch: Batch, states: States) -> AnswerTerms:
        """Each token of an answer, predicted from the state before it. Only there logits are computed."""
        plan = plan_of(batch)
        row, column = plan.target_row, plan.target_column
        last, targets = states.last[row, column], batch.labels[row, column + 1]
        if self.time_symbols is None:
            logits, log_p = log_probabilities(self.language, last, targets)
        else:
            logits, log_p = None, self.time_symbols.log_probabilities(self.language, last, targets, plan.words,
                                                                      plan.symbols)
        return AnswerTerms(row=row, logits=logits, targets=targets, log_p=log_p)

    def ground(self, batch: Batch, prefix: Prefix, states: States) -> EvidenceTerms:
        """g and f from the two heads, and their similarity g f^T / sqrt(D)."""
        mention = plan_of(batch).mention
        row, column = batch.row[mention], batch.column[mention]
        before = states.head[row, column - 1]  # the state before `<evi>`, which predicts it
        frame_mask, frames_row = prefix.frame_mask[batch.video[row]], states.frames_row[row]
        if batch.asked is not None:
            frame_mask = frame_mask & (torch.arange(frame_mask.shape[1], device=row.device) < batch.asked[row, None])
        g, similarity = self.point(before, self.frame_head(states.frames), frames_row)
        cited = None
        if self.citing is not None:
            cited = self.citing(before, states.frames, frames_row, similarity, frame_mask)
        return EvidenceTerms(states=g, similarity=similarity, frame_mask=frame_mask, cited=cited)

    def point(self, states: Tensor, frames: Tensor, frames_row: Tensor) -> tuple[Tensor, Tensor]:
        """(G, D) states that predict `<evi>`, (V, F, D) f, (G,) -> (G, D) g and logits of when; bins read the state."""
        if self.bins is not None:
            return at_least_float32(states), self.bins(states)
        g = self.evidence_head(states)
        return g, self.compare(g, frames, frames_row)

    def compare(self, evidence: Tensor, frames: Tensor, frames_row: Tensor) -> Tensor:
        """(G, D), (V, F, D), (G,) -> (G, F) logits, or (G, 2, F) of both ends: each g with the frames of its video."""
        with full_precision(frames):
            logits = self.formulation.compare(evidence, frames.flatten(0, 1)).unflatten(-1, frames.shape[:2])
        return logits[torch.arange(len(frames_row), device=frames_row.device), ..., frames_row, :]

    def answer_loss(self, batch: Batch, answer: AnswerTerms) -> Tensor:
        """The mean of -log p(token) over all supervised answer tokens of the batch."""
        supervised = plan_of(batch).supervised_targets
        return -answer.log_p[supervised].mean() if len(supervised) else answer.log_p.sum() * 0

    def grounding_loss(self, batch: Batch, evidence: EvidenceTerms) -> Tensor:
        """10 * BCE(g f^T / sqrt(D), alpha^(-d)), where d is the distance of a frame to [s, e].

        10 is `grounding_weight` and alpha is `target_base`. The mean is taken over the frames of a mention, then over
        the mentions of a text, then over the texts that have any.
        """
        plan = plan_of(batch)
        supervised = plan.supervised_mentions
        intervals = batch.interval[plan.mention][supervised]
        with full_precision(evidence.similarity):
            each = self.formulation.loss(evidence.similarity[supervised].float(), intervals,
                                         evidence.frame_mask[supervised], self.method.base)
        texts = plan.mentions_by_text
        return self.method.grounding_weight * mean_of_means(each, texts.index, texts.count)

    def citing_loss(self, batch: Batch, evidence: EvidenceTerms) -> Tensor:
        """Cross-entropy of pointing at the best proposal, with the mean taken as in the grounding loss."""
        plan = plan_of(batch)
        supervised, texts = plan.supervised_mentions, plan.mentions_by_text
        each = citing_loss(evidence.cited.scores[supervised], evidence.cited.spans[supervised],
                           batch.interval[plan.mention][supervised])
        return self.method.citing_weight * mean_of_means(each, texts.index, texts.count)

    def consistency_loss(self, batch: Batch, evidence: EvidenceTerms) -> Tensor:
        """10 * |g of the grounded mention - g of the referenced mention|, where 10 is `consistency_weight`.

        The mean is taken over the D dimensions, then over the events of a text, then over the texts that have any.
        """
        plan = plan_of(batch)
        grounded, referenced = plan.pairs.unbind(-1)
        each = consistency_loss(evidence.states[grounded], evidence.states[referenced]).float()
        texts = plan.pairs_by_text
        return self.method.consistency_weight * mean_of_means(each, texts.index, texts.count)

    def standing_loss(self, batch: Batch, prefix: Prefix, states: States) -> Tensor:
        """The end of a standing question is compared with all frames, also with those that came after it.

        Its target is 1 inside every event that it waits for, and falls off outside them as for other questions.
        """
        asked, n_frames = batch.standing, prefix.frame_mask.shape[1]
        g = self.evidence_head(states.head[asked.row, asked.column])
        similarity = self.compare(g, self.frame_head(states.frames), states.frames_row[asked.row]).float()
        targets = frame_targets(asked.interval.round().flatten(0, 1), n_frames, self.method.base)
        targets = targets.unflatten(0, asked.interval.shape[:2]).amax(1)
        each = grounding_loss(similarity, targets, prefix.frame_mask[batch.video[asked.row]])
        return self.method.standing_weight * each.mean()


def interval_mean(intervals: Tensor, video: Tensor, states: Tensor, frame_mask: Tensor) -> Tensor:
    """(E, 2), (E,), (V, F, D) -> (E, D) mean state of the frames of each interval, both ends included.

    Intervals are clamped to the frames that exist. The mean is at least float32, also where the states are not.
    """
    states = at_least_float32(states)
    last = frame_mask.sum(-1)[video, None] - 1
    weight = inside(torch.minimum(intervals, last), states.shape[1]).to(states.dtype)
    weight = weight / weight.sum(-1, keepdim=True)
    belongs = (video[:, None] == torch.arange(len(states), device=video.device)).to(states.dtype)  # (E, V)
    with full_precision(states):
        return torch.einsum("ev,ef,vfd->ed", belongs, weight, states)


@torch.no_grad()
def predicted_intervals(model: D2VLM, batch: Batch) -> Tensor:
    """(E, 2) what each evidence token of an answer finds if the tokens before it carry what they found themselves.

    An event that is given in a question keeps its interval. The texts are read twice. The first time, they carry the
    true events, so a second mention would nearly always be right: the first mention has told it the truth.
    """
    intervals = batch.interval
    if not len(plan_of(batch).mention):
        return intervals
    for _ in range(2):
        prefix = model.read(batch, keep=not model.two_pass)  # anew, since texts may be appended to its keys and values
        evidence = model.ground(batch, prefix, model.read_texts(batch, prefix, model.embed(batch, prefix, intervals)))
        with full_precision(evidence.similarity):
            _, spans = model.formulation.read(evidence.similarity.float(), evidence.frame_mask, model.salient)
        if evidence.cited is not None:
            spans = evidence.cited.interval
        intervals = batch.interval.clone()
        intervals[plan_of(batch).mention] = spans.to(intervals)
    return intervals


@contextmanager
def evaluation(model: D2VLM) -> Iterator[None]:
    """Put a model into evaluation mode; afterwards it goes back to training if it was training."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()
