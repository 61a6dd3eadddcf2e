"""The plug-in for lmms-eval: tasks from local files, and the same scores there as here with the real package.

lmms-eval does not share our versions, so the slow test runs in an environment of its own; see
experiments/results/lmms-eval.md.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import yaml
from benchmark_files import coco, save
from golden_metrics import answers, perfect
from small import tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.judging.metrics.charades import score_charades
from d2vlm_lab.lab.harness.tasks import Scorer, columns, scored
from d2vlm_lab.model.checkpoint import save as save_model
from d2vlm_lab.settings import from_dict

# A task of lmms-eval with local files in the place of its data set on the hub.
THEIRS = """include: {task}
task: charades_here
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
generation_kwargs:
  max_new_tokens: 40
  do_sample: false
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lmms") / "world"
    make_world(folder, from_dict(WorldConfig, {"videos": 40, "seed": 6}), workers=1)
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Loader(yaml.SafeLoader):
    """Reads what lmms-eval reads, and leaves the functions as their names."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def test_a_task_holds_every_question_with_its_video_and_metrics_for_each_protocol(world, tmp_path, capsys):
    assert main(["lmms-tasks", "world", str(world), "--out", str(tmp_path / "t"), "--protocols", "clean", "d2vlm"]) == 0
    assert "--model d2vlm" in capsys.readouterr().out
    task = yaml.load((tmp_path / "t" / "d2vlm_world.yaml").read_text(), Loader)
    documents = lines(tmp_path / "t" / task["dataset_kwargs"]["data_files"]["test"])
    assert len(documents) == len(json.loads((world / "etbench.json").read_text()))
    assert all(os.path.exists(document["video"]) for document in documents)
    assert not any("<evi>" in document["question"] for document in documents)  # other models read it, too
    names = [metric["metric"] for metric in task["metric_list"]]
    assert "clean TVG (F1)" in names and "d2vlm TVG (F1)" in names and len(names) == len(set(names))
    module = {}
    exec((tmp_path / "t" / "d2vlm_world_scores.py").read_text(), module)
    functions = [task[name] for name in ("doc_to_visual", "doc_to_text", "process_results")]
    for function in [*functions, *(metric["aggregation"] for metric in task["metric_list"])]:
        assert callable(module[function.removeprefix("d2vlm_world_scores.")])
    assert module["video"](documents[0]) == [documents[0]["video"]]


def test_a_task_scores_as_the_command_does(capsys):
    records = [record for record in answers("etbench/pred_evi") if record["task"] in ("tvg", "rar")]
    scorer = Scorer("etbench", ["a", "b"])
    items = [scorer.process_results({"record": json.dumps(record)}, [record["a"]])["b"] for record in records]
    for protocol in ("clean", "d2vlm"):
        theirs = scored("etbench", protocol, items)
        assert scorer.metric(protocol, "TVG (F1)")(items) == theirs["TVG (F1)"] and set(theirs) == {
            "TVG (F1)", "RAR (Acc)"}
    assert scorer.metric("clean", "DVC (F1)")(items) != scorer.metric("clean", "DVC (F1)")(items)  # NaN: no question
    assert columns("etbench", [(type("S", (), {"task": "tvg"}), {})]) == ["TVG (F1)"]


@pytest.mark.parametrize("benchmark, protocol, message", [
    ("charades", "d2vlm", "it has no numbers"), ("charades", "etbench", "no protocol 'etbench' for charades")])
def test_a_protocol_that_makes_no_task_is_refused_before_anything_is_written(benchmark, protocol, message, tmp_path,
                                                                             capsys):
    assert main(["lmms-tasks", benchmark, str(tmp_path), "--out", str(tmp_path / "o"), "--protocols", protocol]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_a_model_sees_as_many_frames_as_it_was_trained_with(tmp_path, monkeypatch):
    warned = []
    for name, content in {"lmms_eval.api.instance": {"Instance": object}, "lmms_eval.api.model": {"lmms": object},
                          "loguru": {"logger": SimpleNamespace(warning=warned.append)}}.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    monkeypatch.delitem(sys.modules, "d2vlm_lab.lab.harness.model", raising=False)
    from d2vlm_lab.lab.harness.model import D2VLMModel

    save_model(tiny_model(), tmp_path / "model")
    data = {"fps": 1.0, "max_frames": 5, "keep_frames": 3}
    (tmp_path / "model" / "recipe.json").write_text(json.dumps({"config": {"data": data}}))
    trained, asked = D2VLMModel(tmp_path / "model"), D2VLMModel(tmp_path / "model", max_frames=7)
    assert (trained.data.fps, trained.data.max_frames, trained.data.keep_frames) == (1.0, 5, 3)
    assert asked.data.max_frames == 7
    assert warned == ["max_frames is 7; this checkpoint was trained with 5"]
    (tmp_path / "model" / "recipe.json").unlink()
    unknown = D2VLMModel(tmp_path / "model").data
    assert (unknown.fps, unknown.max_frames, unknown.keep_frames) == (0, 512, None)  # each task says its own rate


@pytest.mark.slow
@pytest.mark.timeout(1200)  # most of it is imports, which take long where other work runs
@pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed")
def test_lmms_eval_gives_the_same_answers_and_scores_as_we_do(world, tmp_path):
    import lmms_eval  # only its folder is needed: the import of its models takes long

    checkpoint, tasks = ROOT / "data" / "tiny-sft", tmp_path / "tasks"
    queries = [record for record in json.loads((world / "etbench.json").read_text()) if record["task"] == "tvg"]
    moments = [{"id": number, "image_id": record["video"], "duration": record["duration"], "timestamp": record["tgt"],
                "caption": record["q"].rstrip("?")} for number, record in enumerate(queries)]
    coco(tmp_path / "charades" / "test.caption_coco_format.json", *moments)
    (tmp_path / "charades" / "videos").symlink_to(world / "videos")
    place = tmp_path / "hf" / "charades_sta" / "Charades_v1_480"  # where their task looks for videos
    place.parent.mkdir(parents=True)
    place.symlink_to(world / "videos")
    save(tasks / "charades_here.jsonl", "".join(json.dumps({
        "video": moment["image_id"], "caption": moment["caption"], "timestamp": moment["timestamp"]}) + "\n"
        for moment in moments))
    theirs = os.path.join(os.path.dirname(lmms_eval.__file__), "tasks", "charades_sta", "charades.yaml")
    save(tasks / "charades_here.yaml", THEIRS.format(task=theirs, data="charades_here.jsonl"))
    assert main(["lmms-tasks", "world", str(world), "--out", str(tasks), "--protocols", "clean", "etbench"]) == 0
    assert main(["lmms-tasks", "charades", str(tmp_path / "charades"), "--out", str(tasks), "--protocols", "clean",
                 "lmms-eval"]) == 0
    command = ["-m", "lmms_eval", "eval", "--model", "d2vlm", "--model_args", f"checkpoint={checkpoint},fps=2",
               "--tasks", "d2vlm_world,d2vlm_charades,charades_here", "--include_path", str(tasks), "--log_samples",
               "--output_path", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, text=True, capture_output=True, timeout=900,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")})
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(next((tmp_path / "out").rglob("*results.json")).read_text())["results"]
    logged = {task: lines(next((tmp_path / "out").rglob(f"*samples_{task}.jsonl"))) for task in results}

    for benchmark, folder, protocols in (("world", world, ("clean", "etbench")),
                                         ("charades", tmp_path / "charades", ("clean", "lmms-eval"))):
        for protocol in protocols:
            out = tmp_path / f"ours-{benchmark}"
            assert main(["evaluate", str(checkpoint), benchmark, "--data", str(folder), "--out", str(out), "--fps", "2",
                         "--cache", "off", "--protocol", protocol]) == 0
            ours = json.loads((out / f"score_{protocol}.json").read_text())["scores"]
            for name, value in ours.get("task_averages", ours).items():
                if f"{protocol} {name},none" in results[f"d2vlm_{benchmark}"] and value is not None:
                    assert results[f"d2vlm_{benchmark}"][f"{protocol} {name},none"] == pytest.approx(value, abs=1e-9)
        records = lines(out / "answers_0_of_1.jsonl")
        assert {json.loads(line["target"])["sample"]: line["filtered_resps"] for line in
                logged[f"d2vlm_{benchmark}"]} == {record["sample"]: record["a"] for record in records}

    said = sorted(logged["charades_here"], key=lambda line: line["doc_id"])
    assert not any("</evi>" in line["filtered_resps"] for line in said)
    records = [{**perfect("tvg", number), "source": "charades_sta", "a": line["filtered_resps"]}
               for number, line in enumerate(said)]
    ours = score_charades(records, {number: moment["timestamp"] for number, moment in enumerate(moments)}, "lmms-eval")
    theirs = results["charades_here"]
    assert ours["mIoU"] > 0
    for name, metric in (("R@0.3", "IOU@3"), ("R@0.5", "IOU@5"), ("R@0.7", "IOU@7"), ("mIoU", "mIOU")):
        assert 100 * ours[name] == pytest.approx(theirs[f"charades_sta_{metric},none"], abs=1e-9)
