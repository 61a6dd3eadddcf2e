import io
import json
import re
import signal
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from studies import WRITE, alive, folder_of, plan_of, run_study, shown, small_world, write_study

from d2vlm_lab.lab.study.machine import Machine, slots
from d2vlm_lab.lab.study.progress import Progress, duration
from d2vlm_lab.lab.study.runner import Grid, choose, time_left

ONCE = "import os, pathlib, signal\nfirst = not pathlib.Path(out, 'seen').exists()\npathlib.Path(out, 'seen').touch()\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def machine():
    machine = Machine(slots(2, cores=4))
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def state_of(path, title="full, seed 0") -> dict:
    return json.loads((folder_of(path, title) / "state.json").read_text())


def test_a_run_leaves_its_notebook_with_outputs_and_figures_and_all_its_records(tmp_path, world, pool, machine):
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    path = write_study(tmp_path, "print(settings['method.semantics'], videos)", figure, WRITE, world=world,
                       parameters="videos = 3", base={"notebook.videos": 8})
    states = run_study(path, pool, machine)
    assert {title: state["status"] for title, state in states.items()} == dict.fromkeys(states, "done")
    for title, word in (("full, seed 0", "layer 8"), ("without, seed 0", "off 8")):
        folder = folder_of(path, title)
        assert word in shown(folder) and "image/png" in shown(folder) and word in (folder / "log.txt").read_text()
        left = sorted(file.name for file in folder.iterdir())
        assert left == ["environment.json", "log.txt", "metrics.json", "notebook.ipynb", "point.json", "state.json"]
        assert {"torch", "transformers", "threads", "commit"} <= set(json.loads((folder / left[0]).read_text()))
    assert run_study(path, pool, machine) == {}


def test_a_notebook_that_raises_is_kept_with_its_traceback_and_the_others_finish(tmp_path, world, pool, machine):
    bad = "if settings['method.semantics'] == 'off':\n    raise ValueError('no meaning\\nat all')"
    path = write_study(tmp_path, bad, WRITE, world=world)
    states = run_study(path, pool, machine)
    assert states["full, seed 0"]["status"] == "done"
    assert states["without, seed 0"]["status"] == "failed"
    assert states["without, seed 0"]["error"] == "cell 3: ValueError: no meaning at all"
    assert states["without, seed 0"]["attempts"] == 1, "trying again would not help"
    assert "ValueError" in shown(folder_of(path, "without, seed 0"))
    assert set(run_study(path, pool, machine)) == {"without, seed 0"}


def test_a_run_without_metrics_has_failed(tmp_path, world, pool, machine):
    states = run_study(write_study(tmp_path, "1 + 1", world=world), pool, machine, limit=1)
    assert "without metrics.json" in states["full, seed 0"]["error"]
    wrong = WRITE.replace("{'f1': settings['seed']}", "[1]")
    assert "has to be a mapping" in run_study(write_study(tmp_path, wrong, world=world), pool, machine,
                                              limit=1)["full, seed 0"]["error"]


@pytest.mark.parametrize("victim", ["os.getpid()", "os.getppid()"], ids=["kernel", "run"])
def test_what_is_killed_is_tried_once_more(tmp_path, world, pool, machine, victim):
    path = write_study(tmp_path, ONCE + f"if first:\n    os.kill({victim}, signal.SIGKILL)", WRITE, world=world)
    states = run_study(path, pool, machine, limit=1)
    assert states["full, seed 0"] | {"status": "done", "attempts": 2} == states["full, seed 0"]


@pytest.mark.parametrize("victim", ["os.getpid()", "os.getppid()"], ids=["kernel", "run"])
def test_what_is_killed_again_has_failed_and_shows_how_far_it_came(tmp_path, world, pool, machine, victim):
    cells = ["import os, signal\nprint('so', 'far')", f"os.kill({victim}, signal.SIGKILL)", WRITE]
    path = write_study(tmp_path, *cells, world=world)
    state = run_study(path, pool, machine, limit=1)["full, seed 0"]
    assert state["status"] == "failed" and "SIGKILL; out of memory" in state["error"] and state["attempts"] == 2
    folder = folder_of(path, "full, seed 0")
    assert "so far" in shown(folder) and not (folder / ".unfinished.ipynb").exists()
    assert run_study(path, pool, machine, retries=0, limit=1)["full, seed 0"]["attempts"] == 3


def test_memory_that_is_not_there_is_an_error_of_that_point_alone(tmp_path, world, pool, machine):
    greedy = ("import resource, numpy\nif settings['method.semantics'] == 'off':\n"
              "    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))\n    numpy.ones(2**31)")
    states = run_study(write_study(tmp_path, greedy, WRITE, world=world), pool, machine)
    assert "MemoryError" in states["without, seed 0"]["error"] and states["full, seed 0"]["status"] == "done"


@pytest.mark.timeout(120)
def test_the_warm_process_itself_may_be_killed_and_takes_its_runs_along(tmp_path, world, pool, machine):
    before = machine.warm.process.pid
    path = write_study(tmp_path, ONCE + "if first:\n    import subprocess, time\n"
                       "    helper = subprocess.Popen(['sleep', '60'])\n"
                       "    pathlib.Path(out, 'pids').write_text(f'{os.getppid()} {os.getpid()} {helper.pid}')\n"
                       f"    os.kill({before}, signal.SIGKILL)\n    time.sleep(60)", WRITE, world=world)
    states = run_study(path, pool, machine, limit=1)
    assert states["full, seed 0"]["status"] == "done" and machine.warm.process.pid != before
    assert not any(map(alive, (folder_of(path, "full, seed 0") / "pids").read_text().split()))


def test_no_run_sees_what_another_one_did(tmp_path, world, pool, machine):
    spoil = ("import os, sys, random, math, numpy, torch, warnings, d2vlm_lab.ideas.grounding as g\n"
             "found = ['mine' in globals(), os.environ.get('MINE'), hasattr(g, 'mine'), math.pi > 4, "
             "'mine' in sys.path, os.path.exists('mine.txt'), torch.initial_seed(), torch.rand(3).tolist(), "
             "numpy.random.rand(), torch.get_num_threads(), str(torch.get_default_dtype()), len(warnings.filters), "
             "os.getcwd()]\n"
             "print('FOUND', found)\n"
             "mine = os.environ['MINE'] = g.mine = 'x'; math.pi = 5; sys.path.append('mine')\n"
             "torch.manual_seed(settings['seed'] + 7); numpy.random.seed(3); torch.set_num_threads(1)\n"
             "torch.set_default_dtype(torch.float64); warnings.simplefilter('ignore'); os.chdir(out)\n"
             "open('mine.txt', 'w').close()\nout = '.'")
    path = write_study(tmp_path, spoil, WRITE, world=world, seeds=[0, 1])
    assert len(run_study(path, pool, machine)) == 4
    found = {re.search(r"FOUND (.*?])\\?n", shown(job.folder)).group(1) for job in plan_of(path)}
    assert len(found) == 1 and found.pop().startswith("[False, None, False, False, False, False, ")


def test_the_warm_process_has_no_threads_and_its_runs_may_have_several(tmp_path, world, pool, machine):
    busy = ("import os, torch\na = torch.rand(600, 600)\nassert torch.get_num_threads() == 2\n"
            "parts = [a @ a for _ in range(20)]\nassert all(torch.allclose(p, parts[0]) for p in parts)\n"
            "assert not torch.cuda.is_available() or torch.rand(2, device='cuda').sum() > 0\n"
            "assert not os.path.exists('/proc/self/task') or len(os.listdir('/proc/self/task')) > 2\n"
            "loss = (torch.nn.Linear(600, 600)(a) ** 2).mean()\nloss.backward()")
    states = run_study(write_study(tmp_path, busy, WRITE, world=world), pool, machine)
    assert [state.get("error") for state in states.values()] == [None, None]
    assert set(machine.warm.hello["threads"]) <= {"jemalloc_bg_thd"}, "pyarrow's allocator, which may be forked"


def test_each_slot_has_its_share_of_the_cores_or_a_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots(2, cores=8) == [{"OMP_NUM_THREADS": "4"}] * 2
    assert slots(3, cores=2) == [{"OMP_NUM_THREADS": "1"}] * 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(cores=8)] == ["4", "6"]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(3, cores=8)] == ["4", "6", "4"]


def test_a_run_that_another_command_has_under_way_is_not_made_twice(tmp_path, world, machine):
    count = "open(pathlib.Path(out).parent / 'count', 'a').write('x'); time.sleep(1)"
    path = write_study(tmp_path, "import pathlib, time\n" + count, WRITE, world=world)
    order = plan_of(path)[0].order(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        states = [future.result() for future in [pool.submit(machine.execute, order) for _ in range(2)]]
    assert states[0] == states[1] and (tmp_path / "out" / "tried" / "count").read_text() == "x"


# The grid itself, with an executor whose machines are decided by the test.

class Scripted:
    """Ends each run as told, at once."""

    def __init__(self, *ends):
        self.ends, self.orders = list(ends), []

    def submit(self, work, order):
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


def grid(path, executor, retries=1):
    return Grid(choose(plan_of(path)), executor, None, path.parent, retries)


def silent(out=None):
    return Progress(lambda grid: 90.0 if grid.waiting or grid.flying else 0.0, out or io.StringIO(), every=0)


def test_when_shared_work_fails_what_starts_from_it_is_not_run_and_the_rest_is(tmp_path, world):
    path = write_study(tmp_path, world=world, shared={"sft": {"overrides": {"data.world": str(world)}}},
                       variants={"full": {}, "late": {"parts.start": "@sft"}})
    executor = Scripted({"status": "failed", "error": "no"}, DONE)
    states = {job.title: state for job, state in grid(path, executor).run(silent())}
    assert executor.orders == ["@sft", "full"] and states["full, seed 0"] == DONE
    assert states["late, seed 0"]["error"] == "@sft, seed 0, which it starts from, failed"


def test_lost_workers_and_lost_clusters_fail_the_runs_that_they_had(tmp_path, world):
    path = write_study(tmp_path, world=world)
    ended = grid(path, Scripted(RuntimeError, None)).run(silent())
    assert [state["error"] for _, state in ended] == ["RuntimeError: gone", "the cluster was lost"]
    ended = grid(path, Scripted(KILLED, DONE, KILLED, KILLED), retries=1).run(silent())
    assert [state["status"] for _, state in ended] == ["done", "failed"]


def test_the_progress_of_the_whole_grid_is_one_line(tmp_path, world):
    path = write_study(tmp_path, world=world)
    out = io.StringIO()
    grid(path, Scripted(DONE, {"status": "failed", "error": "no"})).run(silent(out))
    lines = out.getvalue().splitlines()
    assert re.fullmatch(r"0 running, 0 done, 0 failed, 2 waiting; 90 s left|0 running.*", lines[0])
    assert any(re.fullmatch(r"done +full, seed 0 +\w{12} in 2 s", line) for line in lines)
    assert any(re.fullmatch(r"failed +without, seed 0 +\w{12}: no", line) for line in lines)
    assert lines[-1] == "0 running, 1 done, 1 failed, 0 waiting"


def test_the_time_left_begins_with_what_was_expected_and_follows_what_runs_of_this_grid_took(tmp_path, world):
    waiting = grid(write_study(tmp_path, world=world), Scripted())
    for job in waiting.waiting:
        job.seconds = 700.0
    assert time_left(waiting, slots=2) == 700
    job = waiting.waiting[0]
    waiting.ended = [(job, {"status": "done", "seconds": seconds}) for seconds in (90.0, 100.0, 100.0, 900.0)]
    assert time_left(waiting, slots=2) == 100


def test_on_a_terminal_the_line_is_refreshed_in_place(tmp_path, world):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    grid(write_study(tmp_path, world=world), Scripted(DONE, DONE)).run(silent(out))
    assert out.getvalue().endswith("\r\033[K0 running, 2 done, 0 failed, 0 waiting\n")
    assert out.getvalue().count("\n") == 3, "one line stays for each run, and the last one"


def test_durations_are_in_the_unit_that_fits():
    assert [duration(s) for s in (None, 3, 600, 9000)] == ["unknown time", "3 s", "10 min", "2.5 h"]


def test_signals_are_named():
    from d2vlm_lab.lab.study.point import describe

    assert describe(-signal.SIGSEGV) == "SIGSEGV" and describe(3) == "exit code 3"
