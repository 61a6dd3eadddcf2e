import contextlib
import io
import json
import logging
import re
import signal
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster
from studies import WRITE, alive, folder_of, plan_of, run_study, shown, small_world, write_study

from d2vlm_lab.files import locked
from d2vlm_lab.lab.study.cluster import place, slots
from d2vlm_lab.lab.study.progress import Progress, duration
from d2vlm_lab.lab.study.runner import Grid, choose

ONCE = "import os, pathlib, signal\nfirst = not pathlib.Path(out, 'seen').exists()\npathlib.Path(out, 'seen').touch()\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("d2vlm_lab.lab.study.cluster._usable_cores", lambda: range(4))
        with place(jobs=2) as here:
            yield here


def state_of(path, title="full, seed 0") -> dict:
    return json.loads((folder_of(path, title) / "state.json").read_text())


def test_a_run_leaves_its_notebook_with_outputs_and_figures_and_all_its_records(tmp_path, world, here):
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    path = write_study(tmp_path, "print(settings['method.semantics'], videos)", figure, WRITE, world=world,
                       parameters="videos = 3", base={"notebook.videos": 8})
    states = run_study(path, here)
    assert {title: state["status"] for title, state in states.items()} == dict.fromkeys(states, "done")
    for title, word in (("full, seed 0", "layer 8"), ("without, seed 0", "off 8")):
        folder = folder_of(path, title)
        assert word in shown(folder) and "image/png" in shown(folder) and word in (folder / "log.txt").read_text()
        left = sorted(file.name for file in folder.iterdir())
        assert left == ["environment.json", "log.txt", "metrics.json", "notebook.ipynb", "point.json", "state.json"]
        assert {"torch", "transformers", "threads", "commit"} <= set(json.loads((folder / left[0]).read_text()))
    assert run_study(path, here) == {}


def test_a_notebook_that_raises_is_kept_with_its_traceback_and_the_others_finish(tmp_path, world, here):
    bad = "if settings['method.semantics'] == 'off':\n    raise ValueError('no meaning\\nat all')"
    path = write_study(tmp_path, bad, WRITE, world=world)
    states = run_study(path, here)
    assert states["full, seed 0"]["status"] == "done"
    assert states["without, seed 0"]["status"] == "failed"
    assert states["without, seed 0"]["error"] == "cell 3: ValueError: no meaning at all"
    assert states["without, seed 0"]["attempts"] == 1, "trying again would not help"
    assert "ValueError" in shown(folder_of(path, "without, seed 0"))
    assert set(run_study(path, here)) == {"without, seed 0"}


def test_a_run_without_metrics_has_failed(tmp_path, world, here):
    states = run_study(write_study(tmp_path, "1 + 1", world=world), here, limit=1)
    assert "without metrics.json" in states["full, seed 0"]["error"]
    wrong = WRITE.replace("{'f1': settings['seed']}", "[1]")
    assert "has to be a mapping" in run_study(write_study(tmp_path, wrong, world=world), here,
                                              limit=1)["full, seed 0"]["error"]


@pytest.mark.parametrize("victim", ["os.getpid()", "os.getppid()"], ids=["kernel", "worker"])
def test_what_is_killed_is_tried_once_more(tmp_path, world, here, victim):
    path = write_study(tmp_path, ONCE + f"if first:\n    os.kill({victim}, signal.SIGKILL)", WRITE, world=world)
    states = run_study(path, here, limit=1)
    assert states["full, seed 0"] | {"status": "done", "attempts": 2} == states["full, seed 0"]


@pytest.mark.parametrize("victim", ["os.getpid()", "os.getppid()"], ids=["kernel", "worker"])
def test_what_is_killed_again_has_failed_and_shows_how_far_it_came(tmp_path, world, here, victim):
    cells = ["import os, signal\nprint('so', 'far')", f"os.kill({victim}, signal.SIGKILL)", WRITE]
    path = write_study(tmp_path, *cells, world=world)
    state = run_study(path, here, limit=1)["full, seed 0"]
    assert state["status"] == "failed" and "out of memory, or killed by hand" in state["error"]
    assert ("SIGKILL" in state["error"]) == (victim == "os.getpid()") and state["attempts"] == 2
    folder = folder_of(path, "full, seed 0")
    assert "so far" in shown(folder) and not (folder / ".unfinished.ipynb").exists()
    assert run_study(path, here, retries=0, limit=1)["full, seed 0"]["attempts"] == 3


def test_memory_that_is_not_there_is_an_error_of_that_point_alone(tmp_path, world, here):
    greedy = ("import resource, numpy\nif settings['method.semantics'] == 'off':\n"
              "    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))\n    numpy.ones(2**31)")
    states = run_study(write_study(tmp_path, greedy, WRITE, world=world), here)
    assert "MemoryError" in states["without, seed 0"]["error"] and states["full, seed 0"]["status"] == "done"


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_takes_its_kernel_along_and_what_that_has_started(tmp_path, world, here):
    path = write_study(tmp_path, ONCE + "if first:\n    import subprocess, time\n"
                       "    helper = subprocess.Popen(['sleep', '60'])\n"
                       "    pathlib.Path(out, 'pids').write_text(f'{os.getppid()} {os.getpid()} {helper.pid}')\n"
                       "    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(60)", WRITE, world=world)
    states = run_study(path, here, limit=1)
    folder = folder_of(path, "full, seed 0")
    pids = (folder / "pids").read_text().split()
    assert states["full, seed 0"]["status"] == "done" and states["full, seed 0"]["process"] != int(pids[0])
    assert not any(map(alive, pids))


def test_a_kernel_that_is_killed_leaves_nothing_that_it_has_started(tmp_path, world, here):
    path = write_study(tmp_path, ONCE + "if first:\n    import subprocess\n"
                       "    helper = subprocess.Popen(['sleep', '60'])\n"
                       "    pathlib.Path(out, 'helper').write_text(str(helper.pid))\n"
                       "    os.kill(os.getpid(), signal.SIGKILL)", WRITE, world=world)
    assert run_study(path, here, limit=1)["full, seed 0"]["attempts"] == 2
    assert not alive((folder_of(path, "full, seed 0") / "helper").read_text())


def test_a_library_that_was_edited_since_the_plan_was_made_is_noticed(tmp_path, world, here):
    path = write_study(tmp_path, world=world)
    job = plan_of(path)[0]
    job.record["hashes"] = job.record["hashes"] | {"library": job.record["hashes"]["library"] | {"config.py": "old"}}
    state = here.submit(job.order(tmp_path)).result()
    assert state["status"] == "failed" and "not the one that the run was planned with" in state["error"]
    assert not job.folder.exists()


@pytest.mark.parametrize("edited, when", [("its notebook", "before"), ("notebook.words", "before"),
                                          ("notebook.words", "while")])
def test_what_was_edited_after_the_plan_was_made_fails_the_run(tmp_path, world, here, edited, when):
    words = tmp_path / "words.txt"
    words.write_text("old")
    cell = f"pathlib.Path('{words}').write_text('new')" if when == "while" else ""
    path = write_study(tmp_path, WRITE, cell, world=world, parameters="words = ''", base={"notebook.words": str(words)})
    order = plan_of(path)[0].order(tmp_path)
    if edited == "its notebook":
        (tmp_path / "run.ipynb").write_text((tmp_path / "run.ipynb").read_text().replace("'f1': ", "'f1': 1 + "))
    elif when == "before":
        words.write_text("new")
    state = here.submit(order).result()
    assert state["status"] == "failed"
    assert state["error"] == f"{edited} changed after the run was planned; run the same command again"
    assert (Path(order["folder"]) / "metrics.json").exists() == (when == "while")


def test_connections_that_close_at_the_end_print_no_traceback(here):
    assert not logging.getLogger("distributed.batched").isEnabledFor(logging.ERROR)


def test_nothing_listens_beyond_this_machine(here):
    family = psutil.Process().children(recursive=True)
    listening = {address.laddr.ip for process in [psutil.Process(), *family] for address in process.net_connections()
                 if address.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_no_run_sees_what_another_one_did(tmp_path, world, here):
    spoil = ("import os, sys, random, math, numpy, torch, warnings, d2vlm_lab.ideas.grounding as g\n"
             "found = ['mine' in globals(), os.environ.get('MINE'), hasattr(g, 'mine'), math.pi > 4, "
             "'mine' in sys.path, os.path.exists('mine.txt'), torch.initial_seed() in (7, 8), "
             "numpy.random.rand() == 0.5507979025745755, torch.get_num_threads(), "  # the first one after seed 3
             "str(torch.get_default_dtype()), len(warnings.filters), os.getcwd()]\n"
             "print('FOUND', found)\n"
             "mine = os.environ['MINE'] = g.mine = 'x'; math.pi = 5; sys.path.append('mine')\n"
             "torch.manual_seed(settings['seed'] + 7); numpy.random.seed(3); torch.set_num_threads(1)\n"
             "torch.set_default_dtype(torch.float64); warnings.simplefilter('ignore'); os.chdir(out)\n"
             "open('mine.txt', 'w').close()\nout = '.'")
    path = write_study(tmp_path, spoil, WRITE, world=world, seeds=[0, 1])
    assert len(run_study(path, here)) == 4
    found = {re.search(r"FOUND (.*?])\\?n", shown(job.folder)).group(1) for job in plan_of(path)}
    assert len(found) == 1 and found.pop().startswith("[False, None, False, False, False, False, False, False, 2, ")


def test_a_run_keeps_freed_memory_although_workers_of_dask_do_not(tmp_path, world, here):
    path = write_study(tmp_path, "import os\nprint('TRIM', os.environ.get('MALLOC_TRIM_THRESHOLD_'), 'END')", WRITE,
                       world=world, seeds=[0])
    run_study(path, here)
    assert all("TRIM None END" in shown(job.folder) for job in plan_of(path))


def test_a_run_has_the_threads_of_its_share(tmp_path, world, here):
    busy = ("import os, torch\na = torch.rand(600, 600)\nassert torch.get_num_threads() == 2\n"
            "parts = [a @ a for _ in range(20)]\nassert all(torch.allclose(p, parts[0]) for p in parts)\n"
            "assert not torch.cuda.is_available() or torch.rand(2, device='cuda').sum() > 0\n"
            "assert not os.path.exists('/proc/self/task') or len(os.listdir('/proc/self/task')) > 2\n"
            "loss = (torch.nn.Linear(600, 600)(a) ** 2).mean()\nloss.backward()")
    states = run_study(write_study(tmp_path, busy, WRITE, world=world), here)
    assert [state.get("error") for state in states.values()] == [None, None]


def test_several_runs_share_a_gpu_where_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(per_gpu=2, cores=8)] == ["4", "6", "4", "6"]
    assert {slot["OMP_NUM_THREADS"] for slot in slots(per_gpu=2, cores=8)} == {"2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert len(slots(per_gpu=3, cores=2)) <= 2, "without a GPU, the cores decide"


MEET = ("import json, os, pathlib, time\ngpu = os.environ['CUDA_VISIBLE_DEVICES']\n"
        "here = pathlib.Path(out).parent / f'{gpu}-{os.getpid()}'\nhere.mkdir()\nend = time.time() + 60\n"
        "while len(list(here.parent.glob('[46]-*'))) < 2:\n    assert time.time() < end\n    time.sleep(0.1)\n"
        "pathlib.Path(out, 'metrics.json').write_text(json.dumps({'gpu': gpu}))")


@pytest.mark.parametrize("elsewhere, gpus, per_gpu", [
    pytest.param(False, "4,6", 1, id="here"), pytest.param(False, "4", 2, id="both on one", marks=pytest.mark.slow),
    pytest.param(True, "4,6", 1, id="two threads of a worker elsewhere", marks=pytest.mark.slow),
    pytest.param(True, "4", 2, id="both on one GPU elsewhere", marks=pytest.mark.slow)])
def test_each_run_at_a_time_has_the_gpu_of_its_slot(tmp_path, world, monkeypatch, elsewhere, gpus, per_gpu):
    """Each run waits until the other one has begun, too."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    path = write_study(tmp_path, MEET, world=world)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0")) if elsewhere else None
        here = stack.enter_context(place(cluster.scheduler_address if elsewhere else "", per_gpu=per_gpu))
        assert here.slots() == 2
        assert {state["status"] for state in run_study(path, here).values()} == {"done"}
    used = [json.loads((job.folder / "environment.json").read_text())["gpu"] for job in plan_of(path)]
    assert sorted(used) == sorted(gpus.split(",") * per_gpu)


def test_a_run_that_another_command_has_under_way_is_not_made_twice(tmp_path, world, here):
    count = "open(pathlib.Path(out).parent / 'count', 'a').write('x'); time.sleep(1)"
    path = write_study(tmp_path, "import pathlib, time\n" + count, WRITE, world=world)
    order = plan_of(path)[0].order(tmp_path)
    states = [future.result() for future in [here.submit(order) for _ in range(2)]]
    assert states[0] == states[1] and (tmp_path / "out" / "tried" / "count").read_text() == "x"


# The grid itself, in a place where the test decides how each run ends.

class Scripted:
    """Ends each run as the test says, at once."""

    def __init__(self, *ends, slots=2):
        self.ends, self.orders, self.slots, self.gone = list(ends), [], lambda: slots, lambda: False

    def submit(self, order):
        self.orders.append(order["record"]["variant"])
        future, end = Future(), self.ends.pop(0)
        if isinstance(end, type):
            future.set_exception(end("gone"))
        elif end is None:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_result(end)
        return future


DONE, KILLED = {"status": "done", "seconds": 2.0}, {"status": "failed", "killed": True, "error": "SIGKILL"}


def run_scripted(path, place, retries=1, out=None):
    progress = Progress(out or io.StringIO(), every=0)
    return Grid(choose(plan_of(path)), place, path.parent, progress, retries).run()


def test_when_shared_work_fails_what_starts_from_it_is_not_run_and_the_rest_is(tmp_path, world):
    path = write_study(tmp_path, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}},
                       variants={"full": {}, "late": {"parts.start": "@sft"}})
    executor = Scripted({"status": "failed", "error": "no"}, DONE)
    states = {job.title: state for job, state in run_scripted(path, executor)}
    assert executor.orders == ["@sft", "full"] and states["full, seed 0"] == DONE
    assert states["late, seed 0"]["error"] == "@sft, seed 0, which it starts from, failed"


def test_a_twin_that_another_command_makes_now_is_waited_for_while_the_rest_goes_on(tmp_path, world):
    first, second = choose(plan_of(write_study(tmp_path, world=world)))
    second.twin, first.done = first, True
    with locked(second.folder / ".lock"):
        grid = Grid([second], Scripted(), tmp_path, Progress(io.StringIO()))
        grid._submit()
        assert grid.waiting == [second] and not grid.ended


def test_lost_workers_and_lost_clusters_fail_the_runs_that_they_had(tmp_path, world):
    path = write_study(tmp_path, world=world)
    ended = run_scripted(path, Scripted(RuntimeError, None))
    assert [state["error"] for _, state in ended] == ["RuntimeError: gone", "the cluster was lost"]
    ended = run_scripted(path, Scripted(KILLED, DONE, KILLED, KILLED), retries=1)
    assert [state["status"] for _, state in ended] == ["done", "failed"]


def test_what_was_submitted_to_a_cluster_that_is_gone_does_not_keep_the_command_waiting(tmp_path, world):
    class Gone(Scripted):
        def submit(self, order):
            return Future()  # which nobody will ever fulfil

    place = Gone()
    place.gone = lambda: True
    ended = run_scripted(write_study(tmp_path, world=world), place)
    assert [state["error"] for _, state in ended] == ["the cluster was lost"] * 2


def test_the_progress_of_the_whole_grid_is_one_line(tmp_path, world):
    path = write_study(tmp_path, world=world)
    out = io.StringIO()
    run_scripted(path, Scripted(DONE, {"status": "failed", "error": "no"}), out=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "0 running, 0 done, 0 failed, 2 waiting; time left: unknown yet"
    assert any(re.fullmatch(r"done +full, seed 0 +\w{12} in 2 s", line) for line in lines)
    assert any(re.fullmatch(r"failed +without, seed 0 +\w{12}: no", line) for line in lines)
    assert lines[-1] == "0 running, 1 done, 1 failed, 0 waiting"


def test_on_a_terminal_the_line_is_refreshed_in_place(tmp_path, world):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    run_scripted(write_study(tmp_path, world=world), Scripted(DONE, DONE), out=out)
    assert out.getvalue().endswith("\r\033[K0 running, 2 done, 0 failed, 0 waiting\n")
    assert out.getvalue().count("\n") == 3, "one line stays for each run, and the last one"


def test_durations_are_in_the_unit_that_fits():
    assert [duration(s) for s in (None, 3, 600, 9000)] == ["unknown time", "3 s", "10 min", "2.5 h"]


def test_signals_are_named():
    from d2vlm_lab.lab.study.point import describe

    assert describe(-signal.SIGSEGV) == "SIGSEGV" and describe(3) == "exit code 3"
