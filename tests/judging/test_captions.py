import subprocess
import sys

import numpy as np
import pytest
from golden_metrics import recorded

from d2vlm_lab.errors import LabError
from d2vlm_lab.judging.metrics import captions
from d2vlm_lab.judging.metrics.sentences import SentenceModel, find_sentence_model

PAIRS = recorded("unit/captions.json")["pairs"]
CORPUS = recorded("unit/captions.json")["corpus"]
TOKENS = [(pair["hyp_tok"], pair["ref_tok"]) for pair in PAIRS]


def test_tokens_equal_the_recorded_ones():
    texts = [captions.ascii_only(pair[side]) for pair in PAIRS for side in ("hyp", "ref")]
    tokens = captions.tokenize(texts)
    assert [tokens[text] for text in texts] == [pair[f"{side}_tok"] for pair in PAIRS for side in ("hyp", "ref")]


def test_text_with_line_breaks_of_every_kind_stays_one_caption():
    texts = {"one\ntwo": "one two", "three\u2028four\x85five": "three four five", "": "", "  ": "", "a\rb": "a b"}
    assert captions.tokenize(list(texts)) == texts


def test_every_caption_metric_equals_the_recorded_one():
    scores = captions.caption_scores([TOKENS, [], *([pair] for pair in TOKENS)])
    for name in ("METEOR", "ROUGE_L", "CIDEr"):
        assert scores[name][0] == pytest.approx(CORPUS[name], abs=1e-9) and scores[name][1] == 0
    for k in range(4):
        assert scores[f"Bleu_{k + 1}"][0] == pytest.approx(CORPUS["BLEU"][k], abs=1e-9)
        np.testing.assert_allclose(scores[f"Bleu_{k + 1}"][2:], [pair["BLEU"][k] for pair in PAIRS], atol=1e-9)
    for name in ("METEOR", "ROUGE_L"):
        np.testing.assert_allclose(scores[name][2:], [pair[name] for pair in PAIRS], atol=1e-9)


def test_meteor_is_one_process_and_scores_pairs_within_groups():
    assert captions.meteor() is captions.meteor()
    totals, each = captions.meteor().score([TOKENS, [], TOKENS[:1]])
    assert totals == pytest.approx([CORPUS["METEOR"], 0, PAIRS[0]["METEOR"]])
    assert each[0] == pytest.approx([pair["METEOR"] for pair in PAIRS]) and each[1] == []


def test_a_dead_java_process_is_one_clear_error():
    process = captions.Meteor()
    process.process.kill()
    with pytest.raises(LabError, match="Java"):
        process.score([[("a new caption", "never seen before")]])
    assert process.process.returncode is not None


def test_a_program_that_used_meteor_ends_without_warnings():
    code = "from d2vlm_lab.judging.metrics.captions import meteor; meteor()"
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Warning" not in done.stderr


def test_sentence_similarity_equals_the_recorded_one():
    similar = find_sentence_model()
    found = similar.similarity(*zip(*TOKENS))
    np.testing.assert_allclose(found, [pair["SentSim"] for pair in PAIRS], atol=5e-6)
    assert similar.nearest("a dog runs", ["two cars", "a running dog", "a running dog"]) == 1


def test_a_missing_sentence_model_is_one_clear_error(tmp_path):
    with pytest.raises(LabError, match="model.safetensors"):
        SentenceModel(tmp_path)
