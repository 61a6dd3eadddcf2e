"""The computed numbers are the authors' numbers, and the comparison notices when they are not."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import PARTS, parity
from parity.__main__ import main
from parity.compare import compare
from safetensors.torch import load_file, save_file

from d2vlm_lab.model import reference

GOLDEN = Path(__file__).parent / "golden"
BATCH = "sft/batch1_three_events_with_src"
PROMPT = "generate/prompt2_src_one_time_rep_penalty_stop"


@pytest.fixture(scope="module")
def compared():
    return parity(GOLDEN)


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def keep_only(folder, *parts):
    for part in PARTS:
        if part not in parts:
            shutil.rmtree(folder / part)


def test_every_recorded_number_is_computed_again(compared):
    assert [row for row in compared[0] if not row.ok] == []


def test_the_faster_form_of_a_step_computes_them_too(folder, monkeypatch):
    """With sdpa, which it needs; the recorded masks are in the form that the other attention takes."""
    keep_only(folder, "sft", "fpo")
    read = []

    def with_sdpa(path, attention):
        assert attention == "eager"
        read.append(import_reference(path, attention="sdpa"))
        return read[-1]

    import_reference = reference.import_reference
    monkeypatch.setattr(reference, "import_reference", with_sdpa)
    rows, _ = parity(folder)
    assert read[0].sparing
    assert sum(row.quantity.startswith(("loss", "grad")) for row in rows) > 20
    assert [row for row in rows if not row.ok and "mask4d" not in row.quantity] == []


@pytest.mark.parametrize("case, quantities", [
    (BATCH, {"vision_features", "img_embed_0", "pass1_hidden6_frames_0", "pass2_hidden_minus2", "sim_logits_0",
             "loss_lm", "loss_grounding", "loss_consistency", "loss_total", "grad_norms", "grad model.qformer_query",
             "ids_0"}),
    (PROMPT, {"generated_ids", "step_logits", "step_interval", "step_similarity", "cached_frame_hidden6", "positions"}),
    ("grounding/three_events", {"soft_targets", "fpo_soft_targets_unrounded", "fpo_grounding_logprob"}),
    ("interval/tie_three_groups", {"interval"}),
    ("rivals/rewards", {"iou", "giou", "matched_giou", "wasserstein_beta1", "wasserstein2_beta3"}),
    ("rivals/time_bins/3", {"expected_times", "dfl_sum_over_both_ends_divided_by_bins", "diou_mean"}),
    ("streaming/videos", {"matched", "accuracy", "start", "stop", "overlap"}),
    ("streaming/trace", {"f1", "prec", "lin_comb_final_score", "geo_mean_final_score", "raw_stop_score"}),
    ("fpo/sample1_grounding_perturbed", {"chosen_text_0", "chosen_grounding_0", "rejected_text_0",
                                         "rejected_grounding_0", "rejected_total_0", "loss_lm", "fpo_term_0",
                                         "loss_fpo", "loss_total", "grad_norms", "packed_mask4d_0",
                                         "grad evi_head.3.bias", "packed_position_ids_0", "packed_hidden_0"}),
    ("fpo/packing_cases/rvc_text_qwen", {"packed_ids", "packed_labels", "packed_positions", "packed_hidden",
                                         "packed_chosen_scored", "packed_reject_inputs"}),
    ("fpo/packing_cases/dvc_event_dropped", {"packed_ids", "packed_reject_tgt", "packed_reject_evidence"}),
    ("sft/preprocess_cases/2", {"before", "ids", "labels"}),
    ("sft/preprocess_cases/4", {"before", "ids", "labels"}),
    ("training/projector_lora", {"trained on one side only", "lora", "learning_rates"}),
])
def test_nothing_that_was_recorded_is_passed_over(compared, case, quantities):
    assert quantities <= {row.quantity for row in compared[0] if row.case == case}


def test_states_agree_far_below_the_tolerance(compared):
    """The mean difference is held too: a silent mistake is one-sided, rounding is not."""
    states = [row for row in compared[0] if 2e-4 <= row.tolerance < 2e-3]
    assert len(states) > 20 and max(row.mean_abs for row in states) < 5e-6


def test_a_quirk_of_the_authors_code_is_named(compared):
    assert {row.compat for row in compared[0] if row.case == PROMPT and row.quantity == "step_logits"} \
        == {"a question event with one number is that frame"}
    assert all(row.compat is None for row in compared[0] if row.case == BATCH)
    assert {row.compat for row in compared[0] if row.case.startswith("sft/preprocess_cases/")} \
        == {None, "frames after the question", "no line break after the frames"}


def test_what_is_not_compared_is_said(compared):
    assert any("several rounds" in left for left in compared[1]) and any("fails on it" in left for left in compared[1])


def test_rounds_in_a_batch_are_said_too(folder):
    keep_only(folder, "sft")
    path = folder / BATCH / "inputs.json"
    inputs = json.loads(path.read_text())
    inputs["annotations"][0]["conversations"] *= 2
    path.write_text(json.dumps(inputs))
    rows, left = parity(folder)
    assert f"{BATCH}, prompt of sample 0: several rounds" in left and all(row.ok for row in rows)


@pytest.mark.parametrize("name", ["model.layers.5.mlp.down_proj.weight", "model.qformer_k_proj.1.weight",
                                  "evi_head.3.weight", "model.vision_tower.vision_tower.blocks.1.attn.q_bias"])
def test_a_small_change_of_the_weights_is_noticed(folder, name, capsys):
    keep_only(folder, "sft")
    tensors = load_file(folder / "checkpoint" / "model.safetensors")
    tensors[name] = tensors[name] + 0.01 * torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(0))
    save_file(tensors, folder / "checkpoint" / "model.safetensors")
    assert main([str(folder)]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_a_prompt_written_otherwise_is_noticed(folder, capsys):
    keep_only(folder, "sft")
    path = folder / "sft" / "preprocess_cases.json"
    cases = json.loads(path.read_text())
    cases[2]["result"]["input_ids_part1"].pop(-2)  # the line break before the frames
    cases[4]["result"]["labels_part2"][0] = cases[4]["result"]["input_ids_part2"][0]  # a question is not learned
    path.write_text(json.dumps(cases))
    assert main([str(folder), "--json"]) == 1
    wrong = {(row["case"][-1], row["quantity"]) for row in json.loads(capsys.readouterr().out)["rows"] if not row["ok"]}
    assert wrong == {("2", "before"), ("4", "labels")}


def test_a_wrong_preference_is_noticed(folder, capsys):
    keep_only(folder, "fpo")
    path = folder / "fpo" / "sample1_grounding_perturbed" / "inputs.json"
    inputs = json.loads(path.read_text())
    inputs["tgt_re"][0][1] += 1.0
    path.write_text(json.dumps(inputs))
    assert main([str(folder), "--json"]) == 1
    wrong = {row["quantity"] for row in json.loads(capsys.readouterr().out)["rows"] if not row["ok"]}
    assert {"rejected_text_0", "rejected_grounding_0", "rejected_total_0", "loss_fpo", "loss_total", "grad_norms",
            "packed_reject_tgt_0"} <= wrong
    assert not {"chosen_total_0", "loss_lm", "loss_grounding", "packed_ids_0", "packed_mask4d_0"} & wrong


def test_another_layout_of_a_packed_pair_is_noticed(folder, capsys):
    keep_only(folder, "fpo")
    path = folder / "fpo" / "packing_cases.json"
    cases = json.loads(path.read_text())
    cases[0]["packed"]["processed_response"]["pos_id"][8] = 0
    cases[3]["packed"]["processed_response"]["special_mask_list"][0][1][0][1] -= 1
    path.write_text(json.dumps(cases))
    assert main([str(folder), "--json"]) == 1
    wrong = [row for row in json.loads(capsys.readouterr().out)["rows"] if not row["ok"]]
    assert [row["quantity"] for row in wrong] == ["packed_positions", "packed_hidden"]


@pytest.mark.parametrize("method", [{"semantic_layer": 5}, {"bidirectional_frames": False}, {"semantics": "off"}])
def test_another_method_is_noticed(folder, method, monkeypatch, capsys):
    keep_only(folder, "sft")
    original = reference.Method
    monkeypatch.setattr(reference, "Method", lambda **settings: original(**settings | method))
    assert main([str(folder)]) == 1


def test_json_is_one_object_with_a_verdict(folder, capsys):
    keep_only(folder, "interval", "grounding")
    assert main([str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True and len(report["rows"]) > 100
    assert set(report["rows"][0]) == {"case", "quantity", "max_abs", "mean_abs", "tolerance", "ok", "compat"}


def test_a_wrong_interval_is_noticed(folder, capsys):
    keep_only(folder, "interval")
    cases = json.loads((folder / "interval" / "cases.json").read_text())
    cases[20]["interval"][1] += 1
    (folder / "interval" / "cases.json").write_text(json.dumps(cases))
    assert main([str(folder), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [row["case"] for row in report["rows"] if not row["ok"]] == [f"interval/{cases[20]['kind']}"]


def test_the_rivals_numbers_are_compared_closely_and_alone(folder, capsys):
    """They need no checkpoint. Differences of more than a millionth are noticed, and so is an unknown reward."""
    keep_only(folder, "rivals")
    shutil.rmtree(folder / "checkpoint")
    path = folder / "rivals" / "recorded.json"
    recorded = json.loads(path.read_text())
    recorded["rewards"][7]["iou"] += 1e-5
    recorded["rewards"][9]["f1"] = 0.5
    recorded["time_bins"][2]["diou_mean"] += 1e-5
    path.write_text(json.dumps(recorded))
    assert main([str(folder), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(row["case"], row["quantity"]) for row in report["rows"] if not row["ok"]] \
        == [("rivals/rewards", "iou"), ("rivals/time_bins/2", "diou_mean")]
    assert report["not_compared"] == ["rivals/rewards: no reward is called f1"]


def test_a_partner_or_a_score_of_trace_that_is_another_is_noticed(folder, capsys):
    keep_only(folder, "streaming")
    path = folder / "streaming" / "trace.json"
    cases = json.loads(path.read_text())
    cases[0]["videos"][1]["matched"][1][1] = 5
    cases[2]["videos"][1]["stop"][0] += 1e-5
    cases[3]["expected"]["f1"] -= 1e-5
    cases[4]["expected"]["final"] = 0.5
    path.write_text(json.dumps(cases))
    assert main([str(folder), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(row["case"], row["quantity"]) for row in report["rows"] if not row["ok"]] \
        == [("streaming/videos", "matched"), ("streaming/videos", "stop"), ("streaming/trace", "f1")]
    assert report["not_compared"] == ["streaming/trace: no score is called final"]


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / BATCH / "outputs.npz").write_bytes(b"not arrays"),
    lambda folder: (folder / BATCH / "inputs.json").write_text("{"),
    lambda folder: (folder / BATCH / "inputs.json").write_text("{}"),
    lambda folder: (folder / BATCH / "inputs.npz").unlink(),
    lambda folder: shutil.rmtree(folder / "checkpoint"),
])
def test_what_cannot_be_read_is_one_line_that_names_it_and_exit_2(folder, damage, capsys):
    keep_only(folder, "sft")
    damage(folder)
    assert main([str(folder)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(folder) in message


def test_a_folder_without_recorded_numbers_is_exit_2(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no recorded numbers" in capsys.readouterr().err


def test_differences_are_judged_element_by_element():
    row = compare("c", "q", [1.0, 100.0], [1.0, 100.5], atol=1e-3, rtol=0.01)
    assert row.ok and row.max_abs == 0.5 and row.mean_abs == 0.25 and row.tolerance == pytest.approx(1.006)
    row = compare("c", "q", [1.1, 100.5], [1.0, 100.0], atol=1e-3, rtol=0.01)
    assert not row.ok and row.tolerance == pytest.approx(0.011)


@pytest.mark.parametrize("computed, recorded", [([1.0, 2.0], [1.0]), ([np.nan], [1.0]), ([1.0], [np.nan])])
def test_another_shape_or_a_nan_is_infinitely_far(computed, recorded):
    row = compare("c", "q", computed, recorded, atol=1e9)
    assert not row.ok and row.max_abs == math.inf
