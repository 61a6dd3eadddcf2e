"""How the authors put two answers into one sequence: ids, positions, and what the rejected one must not see.

In this library answers are separate texts behind one prefix. The two layouts are equivalent: packed in the authors'
way, the separate texts give the recorded arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2vlm_lab.data.batch import IGNORE
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.model.d2vlm import D2VLM

from .compare import EXACT, Row, compare, pairs, read_json


@dataclass(frozen=True)
class Packed:
    ids: list[int]
    labels: list[int]
    positions: list[int]  # from where the answers begin
    hidden: list[tuple[int, int, int]]  # a token, and the first and last token that it may not see
    scored: tuple[list[int], list[int]]  # of each answer, the tokens that count
    inputs: tuple[list[int], list[int]]  # and the place that predicts each; -1 is the end of the prompt


def pack(chosen: list[int], rejected: list[int], endless: bool) -> Packed:
    """Two answers one after the other, the second restarting where the first began.

    Ordinarily both end with the stop token, and the prompt supplies the second one. `endless`: neither has one, the
    first token and the last are shared, and the last comes at the very end.
    """
    n, m = len(chosen), len(rejected)
    if endless:
        ids = chosen[:-1] + rejected[1:-1] + chosen[-1:]
        middle = range(n - 1, n + m - 3)
        hidden = [(i, 1, n - 2) for i in middle] + [(n + m - 3, n - 1, n + m - 4)]
        return Packed(ids, chosen + [IGNORE] * (m - 2), [*range(n - 1), *range(1, m - 1), n - 1], hidden,
                      (chosen[1:], rejected[1:]), ([*range(n - 1)], [0, *middle]))
    ids = chosen + rejected[:-1]
    second = range(n, n + m - 1)
    return Packed(ids, chosen + [IGNORE] * (m - 1), [*range(n), *range(m - 1)], [(i, 0, n - 1) for i in second],
                  (chosen, rejected), ([*range(-1, n - 1)], [-1, *second]))


def packing_rows(model: D2VLM, path: Path) -> list[Row]:
    """Annotations, tokenized here and packed as the authors' script packs them."""
    rows = []
    for case in read_json(path):
        note, recorded = case["annotation"], case["packed"]["processed_response"]
        keys = ("chosen", recorded["class"])
        endless = recorded["class"].split("_")[2:3] == ["qwen"]
        stop = "" if endless else model.prompt.stop
        answers = [model.tokenizer.encode(note["conversations"][key][1]["value"].strip() + stop,
                                          add_special_tokens=False) for key in keys]
        packed = pack(*answers, endless)
        rows += packed_rows(model, f"fpo/{path.stem}/{note['name']}", "", packed, {
            "ids": recorded["full_token_ids"], "labels": recorded["label"], "pos_id": recorded["pos_id"],
            "special_mask_list": recorded["special_mask_list"], "conflict_events": recorded["conflict_events"],
            "tgt": [note.get("tgt", {}).get(key) for key in keys]})
    return rows


def packed_rows(model: D2VLM, case: str, suffix: str, packed: Packed, recorded: dict) -> list[Row]:
    """Every part of a packed pair that was recorded."""
    hidden = [(i, first, last) for i, spans in recorded["special_mask_list"] for first, last in spans]
    rows = [("positions", packed.positions, recorded["pos_id"]), ("hidden", packed.hidden, hidden)]
    rows += [(name, getattr(packed, name), recorded[name]) for name in ("ids", "labels") if name in recorded]
    evidence = model.tokenizer.convert_tokens_to_ids(EVIDENCE)
    for branch, scored, inputs, tgt in zip(("chosen", "reject"), packed.scored, packed.inputs, recorded["tgt"]):
        events = recorded["conflict_events"][-1][branch]
        rows += [(f"{branch}_scored", scored, events["text"]["logit_token_id"]),
                 (f"{branch}_inputs", inputs, events["text"]["input_index"])]
        if "grounding" in events:
            predicting = [i for i, token in zip(inputs, scored) if token == evidence]
            rows += [(f"{branch}_evidence", predicting, events["grounding"]["input_index"]),
                     (f"{branch}_tgt", pairs(tgt) * 2, events["grounding"]["tgt"])]
    return [compare(case, f"packed_{name}{suffix}", computed, expected, **EXACT)
            for name, computed, expected in rows]


def layout_rows(case: str, n: int, packed: Packed, start: int, frames: slice, arrays: dict,
                endless: bool) -> list[Row]:
    """The whole sequence of sample n: `start` tokens of prompt, some of them frames, then both answers."""
    places = [*range(start), *(start + place for place in packed.positions)]
    places += [] if endless else [places[-1] + 1]
    size = len(places)
    seen = np.tril(np.ones((size, size), dtype=bool))
    seen[frames, frames] = True
    for token, first, last in packed.hidden:
        seen[start + token, start + first:start + last + 1] = False
    rows = []
    if "pass2_position_ids" in arrays:
        rows.append(compare(case, f"packed_position_ids_{n}", places, arrays["pass2_position_ids"][n, :size], **EXACT))
    if "pass2_mask4d" in arrays:
        rows.append(compare(case, f"packed_mask4d_{n}", seen, arrays["pass2_mask4d"][n, :size, :size] == 0, **EXACT))
    return rows
