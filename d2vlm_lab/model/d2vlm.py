"""D2VLM: a frame encoder, a causal language model and two small heads; one forward from a batch to its losses.

Shapes: V videos, N texts, F frames, T tokens of text, P tokens up to and including the frames, E evidence tokens,
D the language model's width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import output_capturing

from ..config import Method
from ..data.batch import IGNORE, QUESTION, Batch, PromptFormat, add_evidence_tokens
from ..errors import LabError
from ..ideas.consistency import consistency_loss, mean_by_sample, spread
from ..ideas.formulation import FORMULATIONS
from ..ideas.grounding import inside
from ..ideas.salience import criterion
from .passes import Branches, branches, pick

HEAD_LAYER = -2  # both heads read the input of the last decoder layer


@dataclass
class Prefix:
    """What is known of V videos once their frames are read; nothing in it depends on the question that follows."""

    cache: DynamicCache | None  # keys and values of P tokens
    mask: Tensor  # (V, P) which tokens exist
    embeddings: Tensor  # (V, P, D)
    frame_mask: Tensor  # (V, F) which frames exist
    projected: Tensor  # (V, F, D) frame tokens as they enter the language model
    meaning: Tensor  # (V, F, D) frame states of the semantic layer
    frames: Tensor | None  # (V, F, D) frame tokens that evidence is compared with


@dataclass
class Output:
    loss: Tensor
    parts: dict[str, Tensor]  # answer, grounding, consistency: as they enter the loss
    logits: Tensor  # (tokens to predict, vocabulary)
    targets: Tensor  # (tokens to predict,)
    log_p: Tensor  # (tokens to predict,) log-probability of each target
    target_row: Tensor  # (tokens to predict,) the text each belongs to
    similarity: Tensor  # (E', F) logits of the grounded and referenced evidence, in the batch's order
    evidence: Tensor  # (E', D) their states
    frame_mask: Tensor  # (E', F)
    spread: Tensor  # variance of the evidence states: near zero when they have collapsed


def head(width: int) -> nn.Sequential:
    """The 2-layer MLP that turns a hidden state into a query for, or a key of, a moment."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))


class D2VLM(nn.Module):
    """Holds any frame encoder and any Hugging Face causal language model."""

    def __init__(self, frames: nn.Module, language: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
                 method: Method | None = None, prompt: PromptFormat | None = None):
        super().__init__()
        method = method or Method()
        layers = language.config.get_text_config().num_hidden_layers
        if not 0 <= method.semantic_layer <= layers:
            raise LabError(f"semantic_layer is {method.semantic_layer}; this language model has layers 0 to {layers}")
        add_evidence_tokens(tokenizer, language)
        self.frames, self.language, self.tokenizer = frames, language, tokenizer
        self.method, self.prompt = method, prompt or PromptFormat.of(tokenizer)
        width = language.config.get_text_config().hidden_size
        self.frame_head, self.evidence_head = head(width), head(width)
        self.formulation = FORMULATIONS[method.formulation]
        self.salient = criterion(method.salience, method.salience_value)
        self.grounded = False  # whether the heads were ever trained
        self.two_pass = False  # gradient checkpointing cannot keep a cache, so it runs the frames twice
        self.whole_first_pass = False  # as the authors do: the first of two passes goes through every layer

    @property
    def device(self) -> torch.device:
        return self.frame_head[1].weight.device

    def forward(self, batch: Batch) -> Output:
        prefix = self.read(batch, keep=not self.two_pass)
        embeddings = self.embed(batch, prefix)
        run = self._two_pass if self.two_pass else self._one_pass
        states, last, frames, frame_row = run(batch, prefix, embeddings)
        answer, logits, targets, target_row, log_p = self._answer_loss(batch, last)
        chosen = batch.in_answer
        row, position = batch.row[chosen], batch.column[chosen]
        evidence = self.evidence_head(states[row, position - 1])  # the state that predicts `<evi>`
        owner = frame_row[row]
        logit = self.compare(evidence, frames, owner)
        frame_mask = prefix.frame_mask[batch.video[row]]
        learned = batch.supervised[row]
        grounding = self._grounding_loss(logit[learned], batch.interval[chosen][learned], frame_mask[learned],
                                         row[learned])
        consistency = self._consistency_loss(batch, evidence, chosen)
        parts = {"answer": answer, "grounding": grounding, "consistency": consistency}
        return Output(sum(parts.values()), parts, logits, targets, log_p, target_row, logit, evidence, frame_mask,
                      spread(evidence.detach()))

    # The frames: read once, whatever is asked of them.

    def read(self, batch: Batch, keep: bool = True) -> Prefix:
        """Run the text before the frames and the frames; with `keep`, keys and values are kept for what follows."""
        tokens = self.frames.project_batch(batch.features, batch.questions)  # V of (F_v * tokens per frame, D)
        if tokens[0].shape[-1] != self.frame_head[0].normalized_shape[0]:
            raise LabError(f"frames become tokens of width {tokens[0].shape[-1]}, "
                           f"but the language model's is {self.frame_head[0].normalized_shape[0]}")
        per_frame = self.frames.tokens_per_frame
        vision = pad_sequence(tokens, batch_first=True)
        length = torch.tensor([len(t) for t in tokens], device=vision.device)
        vision_mask = torch.arange(vision.shape[1], device=vision.device) < length[:, None]
        text = self._word_embeddings(batch.before_ids)
        embeddings = torch.cat([text, vision.to(text.dtype)], 1)
        mask = torch.cat([batch.before_mask, vision_mask], 1)
        attend = causal(mask)
        if self.method.bidirectional_frames:
            attend |= is_frame(mask, text.shape[1])[:, :, None] & is_frame(mask, text.shape[1])[:, None]
        states, cache = self._decode(embeddings, attend, positions(mask), DynamicCache() if keep else None,
                                     until=None if keep or self.whole_first_pass else self.method.semantic_layer)
        pool = lambda x: x[:, text.shape[1]:].unflatten(1, (-1, per_frame)).mean(2)  # noqa: E731
        meaning = states[self.method.semantic_layer]
        return Prefix(cache, mask, embeddings, vision_mask[:, ::per_frame], pool(embeddings), pool(meaning),
                      self.frame_head(pool(states[HEAD_LAYER])) if keep else None)

    def embed(self, batch: Batch, prefix: Prefix) -> Tensor:
        """(N, T, D) token embeddings; each evidence token carries the mean state of its frames besides its own."""
        embeddings = self._word_embeddings(batch.ids)
        if len(batch.row) == 0:
            return embeddings
        meaning = self.meaning(batch.interval, batch.video[batch.row], prefix, batch.role == QUESTION)
        return embeddings.index_put((batch.row, batch.column), meaning.to(embeddings.dtype), accumulate=True)

    def meaning(self, intervals: Tensor, video: Tensor, prefix: Prefix, asked: Tensor) -> Tensor:
        """(E, 2) -> (E, D): what was seen there. Events given in a question (`asked`) use the projected frames."""
        if self.method.semantics == "off":
            return prefix.meaning.new_zeros(len(intervals), prefix.meaning.shape[-1])
        if self.method.semantics == "projection":
            seen = _interval_mean(intervals, video, prefix.projected.detach(), prefix.frame_mask)
        else:
            seen = _interval_mean(intervals, video, prefix.meaning, prefix.frame_mask)
        return torch.where(asked[:, None], _interval_mean(intervals, video, prefix.projected, prefix.frame_mask), seen)

    def compare(self, evidence: Tensor, frames: Tensor, owner: Tensor) -> Tensor:
        """(E, D) against the frames of the video each belongs to -> (E, F) logits, or (E, 2, F) of both ends."""
        every = self.formulation.compare(evidence, frames.flatten(0, 1)).unflatten(-1, frames.shape[:2])  # (E, V, F)
        return every[torch.arange(len(owner), device=owner.device), ..., owner, :]

    # Two ways to the same states: (N, T, D) for the heads, (N, T, D) for the answer, frames, and whose they are.

    def _one_pass(self, batch: Batch, prefix: Prefix, embeddings: Tensor):
        if (shared := branches(batch)) is not None:
            return self._branching_pass(batch, prefix, embeddings, shared)
        share(prefix.cache, batch.video)
        before = prefix.mask[batch.video]
        states, _ = self._decode(embeddings, causal(batch.mask, before), follow(batch, before), prefix.cache)
        return states[HEAD_LAYER], states[-1], prefix.frames, batch.video

    def _branching_pass(self, batch: Batch, prefix: Prefix, embeddings: Tensor, shared: Branches):
        """Questions once behind their frames, then the answers that branch off each of them."""
        video = batch.video[shared.stem]
        share(prefix.cache, video)
        before, asked = prefix.mask[video], shared.question_mask
        question, _ = self._decode(embeddings[shared.stem, :asked.shape[1]], causal(asked, before),
                                   before.sum(-1, keepdim=True) + positions(asked), prefix.cache)
        share(prefix.cache, shared.owner)
        before, mask = torch.cat([before, asked], 1)[shared.owner], shared.answer_mask
        answer, _ = self._decode(pick(embeddings, shared.columns), causal(mask, before),
                                 before.sum(-1, keepdim=True) + positions(mask), prefix.cache)
        whole = [pick(torch.cat([question[layer][shared.owner], answer[layer]], 1), shared.back)
                 for layer in (HEAD_LAYER, -1)]
        return *whole, prefix.frames, batch.video

    def _two_pass(self, batch: Batch, prefix: Prefix, embeddings: Tensor):
        before, size = prefix.mask[batch.video], prefix.mask.shape[1]
        mask = torch.cat([before, batch.mask], 1)
        attend = causal(mask)
        if self.method.bidirectional_frames:
            seen = is_frame(mask, batch.before_ids.shape[1]) & (torch.arange(mask.shape[1], device=mask.device) < size)
            attend |= seen[:, :, None] & seen[:, None]
        places = torch.cat([positions(before), follow(batch, before)], 1)
        states, _ = self._decode(torch.cat([prefix.embeddings[batch.video], embeddings], 1), attend, places, None)
        frames = states[HEAD_LAYER][:, batch.before_ids.shape[1]:size]
        frames = self.frame_head(frames.unflatten(1, (-1, self.frames.tokens_per_frame)).mean(2))
        return states[HEAD_LAYER][:, size:], states[-1][:, size:], frames, torch.arange(len(before), device=mask.device)

    def _decode(self, embeddings: Tensor, attend: Tensor, places: Tensor, cache: DynamicCache | None,
                until: int | None = None) -> tuple[tuple[Tensor, ...], DynamicCache | None]:
        """Hidden states of every layer (0: embeddings; last: normalized), under our own mask and positions."""
        decoder = self.language.get_decoder()
        blocked = torch.zeros(attend.shape, dtype=embeddings.dtype, device=attend.device)
        blocked = blocked.masked_fill(~attend, torch.finfo(embeddings.dtype).min)[:, None]
        layers = decoder.layers
        if until is not None:
            report_states(decoder)
            decoder.layers = layers[:until + 1]  # its last state is normalized, the one before it is what we need
        try:
            out = decoder(inputs_embeds=embeddings, attention_mask=blocked, position_ids=places,
                          past_key_values=cache, use_cache=cache is not None, output_hidden_states=True)
        finally:
            decoder.layers = layers
        return out.hidden_states, out.past_key_values

    # The losses.

    def _answer_loss(self, batch: Batch, last: Tensor) -> tuple[Tensor, ...]:
        """Cross-entropy of the answer tokens, mean over the batch; logits only where something is predicted."""
        row, column = (batch.labels[:, 1:] != IGNORE).nonzero(as_tuple=True)
        logits = self.language.get_output_embeddings()(last[row, column])
        targets = batch.labels[row, column + 1]
        log_p = -F.cross_entropy(logits.float(), targets, reduction="none")
        learned = batch.supervised[row]
        loss = -log_p[learned].mean() if learned.any() else logits.sum() * 0
        return loss, logits, targets, row, log_p

    def _grounding_loss(self, logits: Tensor, intervals: Tensor, mask: Tensor, sample: Tensor) -> Tensor:
        base = self.method.target_base if self.method.targets == "soft" else None
        each = self.formulation.loss(logits.float(), intervals.round(), mask, base)
        return self.method.grounding_weight * mean_by_sample(each, sample)

    def _consistency_loss(self, batch: Batch, evidence: Tensor, chosen: Tensor) -> Tensor:
        index = chosen.cumsum(0) - 1  # from the batch's evidence tokens to those that were compared
        owner = batch.row[batch.pairs[:, 0]]
        learned = batch.supervised[owner]
        first, second = index[batch.pairs[learned]].unbind(-1)
        each = consistency_loss(evidence[first], evidence[second]).float()
        return self.method.consistency_weight * mean_by_sample(each, owner[learned])

    def _word_embeddings(self, ids: Tensor) -> Tensor:
        return self.language.get_input_embeddings()(ids)


def report_states(decoder: nn.Module) -> None:
    """Have every layer report its states: transformers settles at the first call which do, maybe a shortened one."""
    if output_capturing._CAN_RECORD_REGISTRY.get(decoder):
        output_capturing.maybe_install_capturing_hooks(decoder)


def share(cache: DynamicCache, rows: Tensor) -> None:
    """Keys and values of these rows, some of them several times; views where they can be, whose gradients are sums."""
    size = len(cache.layers[0].keys)
    if len(rows) == size and rows.tolist() == list(range(size)):  # lengths first: a GPU need not be waited for
        return
    for layer in cache.layers:
        layer.keys, layer.values = (state.expand(len(rows), -1, -1, -1) if size == 1 else state.index_select(0, rows)
                                    for state in (layer.keys, layer.values))


def positions(mask: Tensor) -> Tensor:
    """(B, T) -> (B, T) place of each existing token, counted without padding."""
    return (mask.cumsum(-1) - 1).clamp_min(0)


def follow(batch: Batch, before: Tensor) -> Tensor:
    """(N, T) places of texts that go on where the frames ended."""
    if batch.position_ids is not None:
        return batch.position_ids
    return before.sum(-1, keepdim=True) + positions(batch.mask)


def causal(mask: Tensor, before: Tensor | None = None) -> Tensor:
    """(B, T) existing tokens -> (B, T, [P +] T) True where a query may attend: earlier, itself, what came before."""
    size = mask.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=mask.device).tril()
    attend = earlier & mask[:, None]
    return attend if before is None else torch.cat([before[:, None].expand(-1, size, -1), attend], -1)


def is_frame(mask: Tensor, n_text: int) -> Tensor:
    """(B, P) True on existing frame tokens, which follow `n_text` columns of text."""
    return mask & (torch.arange(mask.shape[1], device=mask.device) >= n_text)


def _interval_mean(intervals: Tensor, video: Tensor, states: Tensor, frame_mask: Tensor) -> Tensor:
    """(E, 2), (V, F, D) -> (E, D): mean state of the frames of each interval, ends included, clamped to its video."""
    last = frame_mask.sum(-1)[video, None] - 1
    weight = inside(torch.minimum(intervals.clamp_min(0), last), states.shape[1]).to(states.dtype)
    weight = weight / weight.sum(-1, keepdim=True)
    own = F.one_hot(video, len(states)).to(states.dtype)  # (E, V)
    return torch.einsum("ev,ef,vfd->ed", own, weight, states)
